"""The ingest service: source -> decode -> embed -> catalog and index.

``request`` says what goes in, ``run`` takes it batch by batch, ``embed`` makes vectors from what is on record, and
``record`` tells what need not be read again and holds the order of writes for all of them.
"""

from provenance.ingest.embed import EmbedReport, Reembedding, run_embed
from provenance.ingest.held import HeldReport, LostImage, held, told
from provenance.ingest.record import Writer
from provenance.ingest.request import (
    IngestReport,
    IngestRequest,
    Inside,
    OnProgress,
    Progress,
    image_ids_digest,
    layout_requests,
)
from provenance.ingest.run import recorded_run, require_groups_of_all, run_ingest

__all__ = [
    "EmbedReport",
    "HeldReport",
    "IngestReport",
    "IngestRequest",
    "Inside",
    "LostImage",
    "OnProgress",
    "Progress",
    "Reembedding",
    "Writer",
    "held",
    "image_ids_digest",
    "layout_requests",
    "recorded_run",
    "require_groups_of_all",
    "run_embed",
    "run_ingest",
    "told",
]
