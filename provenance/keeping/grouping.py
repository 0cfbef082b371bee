"""Other groups for the images of a set or release, by their names on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import ConflictError
from provenance.groups import GroupMatches, GroupRule, group_rule
from provenance.ingest import recorded_run
from provenance.logs import room, step
from provenance.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.installation import Installation
    from provenance.records import Dataset

_log = room(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class RegroupReport(Brief):
    """What was regrouped: how far the rule matched the names on record, and how many images changed their group."""

    name: str
    matches: GroupMatches
    changed: int


@step(_log, "regroup")
def regroup(workspace: Installation, dataset: Dataset, group_from: str, *, force: bool = False) -> RegroupReport:
    """Give all images of a dataset the groups that a rule finds in their names on record; no file is read.

    What no name of an image matches is in no group afterwards. Audits on record keep what they said.

    Raises:
        UsageError: If the rule matches no name and that is not forced.
        ConflictError: If an image's names stand for two groups.
    """
    catalog, rule, matches = workspace.catalog, group_rule(group_from), GroupMatches()
    names = catalog.occurrence_names([dataset.dataset_id])
    groups = {key: _one_group(rule, matches, listed) for key, listed in names.items()}
    matches.require_some(force=force)
    run_id = catalog.start_run("regroup", dataset.dataset_id, None, {"group_from": group_from}, __version__)
    counts: dict[str, int] = {"names": matches.names, "matched": matches.matched, "groups": matches.groups}
    with recorded_run(catalog, run_id, counts, lambda: False):
        counts["changed"] = catalog.regroup(dataset.dataset_id, run_id, groups)
    return RegroupReport(dataset.name, matches, counts["changed"])


def _one_group(rule: GroupRule, matches: GroupMatches, names: Sequence[str]) -> str | None:
    found = {name: group for name in names if (group := matches.ask(rule, name)) is not None}
    if len(set(found.values())) > 1:
        first, second, *_ = found
        raise ConflictError(
            f"one image is in two groups by its names {first!r} and {second!r}",
            hint="one image belongs to one patient or study; nothing was changed",
        )
    return next(iter(found.values()), None)
