"""What is no longer where it was found, and whether it still takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import ConflictError
from provenance.ingest import HeldReport, held, recorded_run
from provenance.logs import room, step
from provenance.version import __version__

if TYPE_CHECKING:
    from provenance.installation import Installation
    from provenance.records import Dataset

_log = room(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class SourcesReport(Brief):
    """What a dataset's sources hold of it, and how many images were retired for what they do not."""

    dataset: Dataset
    held: HeldReport
    retired: int = 0

    @property
    def left(self) -> int:
        """How many images take part that no source holds."""
        return len(self.held.lost) - self.retired


@step(_log, "check sources")
def check_sources(
    workspace: Installation, dataset: Dataset, *, rehash: bool = False, sync: bool = False, force: bool = False
) -> SourcesReport:
    """Look at every place where images of a dataset were found; ``sync`` retires those that none of them holds.

    Raises:
        ConflictError: If ``sync`` would retire all of a set and that is not forced, or anything of a sealed release.
    """
    report = held(workspace, dataset, rehash=rehash)
    keys = report.retirable
    if not sync or not keys:
        return SourcesReport(dataset, report)
    if len(keys) == report.images and not force:
        raise ConflictError(
            f"none of the {report.images:,} images of {dataset.name} is where it was found: nothing was retired",
            hint="is the disk there? where files were moved: provenance relocate OLD NEW; --force retires them all",
        )
    run_id = workspace.catalog.start_run("sync", dataset.dataset_id, None, {"force": force}, __version__)
    counts: dict[str, int] = {}
    with recorded_run(workspace.catalog, run_id, counts, lambda: False):
        counts["retired"] = workspace.catalog.retire(dataset.dataset_id, run_id, keys)
    return SourcesReport(dataset, report, counts["retired"])
