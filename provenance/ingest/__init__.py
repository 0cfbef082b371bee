"""The ingest service: source -> decode -> embed -> catalog and index.

``request`` says what goes in, ``run`` takes it batch by batch, ``known`` tells what need not be read again,
``recorded`` makes vectors from what is on record, and ``writing`` holds the order of writes for all of them.
"""

from provenance.ingest.known import KnownFiles
from provenance.ingest.recorded import EmbedReport, Reembedding, run_embed
from provenance.ingest.request import (
    IngestReport,
    IngestRequest,
    OnProgress,
    Progress,
    image_ids_digest,
    layout_requests,
)
from provenance.ingest.run import IngestRun, recorded_run, run_ingest
from provenance.ingest.writing import Writer, payload_of
from provenance.records import Generator

__all__ = [
    "EmbedReport",
    "Generator",
    "IngestReport",
    "IngestRequest",
    "IngestRun",
    "KnownFiles",
    "OnProgress",
    "Progress",
    "Reembedding",
    "Writer",
    "image_ids_digest",
    "layout_requests",
    "payload_of",
    "recorded_run",
    "run_embed",
    "run_ingest",
]
