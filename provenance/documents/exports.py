"""Files that left the workspace: export, report, check-run."""

from __future__ import annotations

from pathlib import Path

from provenance.documents.document import Document, at
from provenance.documents.rows import RunFileProblem
from provenance.findings import GuessFigures
from provenance.vocabulary import Answer, ExportFormat, RunLabels


class Export(Document):
    """A file with an audit or embeddings; of a run file also whose images are in it, and which could not be.

    ``labels`` says what its rows follow, ``guess`` how good guesses are; ``identical`` counts rows that are 1 only
    because the release holds the image itself.
    """

    file: Path
    format: ExportFormat
    rows: int = at("row_count")
    sets: tuple[str, ...] = at("run_file", "set_names", default=())
    unjudged: tuple[str, ...] = at("run_file", "unjudged", default=())
    forgotten: int = at("run_file", "forgotten_count", default=0)
    inconclusive: int = at("run_file", "inconclusive_count", default=0)
    answer: Answer | None = None
    labels: RunLabels | None = at("run_file", "labels", default=None)
    guess: GuessFigures | None = at("run_file", "guess", default=None)
    identical: int = at("run_file", "identical_count", default=0)


class Report(Document):
    """An audit as one page; of the images of its cases some may be missing, as their sources are gone."""

    file: Path = at("path")
    audit_id: str
    size_bytes: int
    cases: int
    pictures_missing: int


class RunFileCheck(Document):
    """What is wrong with a run file."""

    file: Path
    valid: bool
    rows: int = at("row_count")
    ids: int = at("id_count")
    problems: tuple[RunFileProblem, ...]


DOCUMENTS = {"export": Export, "report": Report, "check-run": RunFileCheck}
