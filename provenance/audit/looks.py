"""How often the same images were looked at, and what that does to an error rate.

Whoever audits one release again and again with other options, until something shows, finds something by chance. A
*look* is an audit of the same release and the same sets in the same roles that gave verdicts which none before it had:
the same policy again gives the same ``verdict_digest`` and is no look; an audit of several answers is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.findings import Weakness
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from provenance.catalog import Catalog
    from provenance.records import AuditDataset


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks at one release and its sets, an audit at hand included.

    Attributes:
        number: How many there were; this one counts where it brings anything new.
        repeats: Whether it gives again what is on record.
        policy_since: When its policy came on record, where it was named as declared beforehand; else ``None``.
        before_policy: How many looks there were by then.
    """

    number: int
    repeats: bool = False
    policy_since: datetime | None = None
    before_policy: int = 0

    @property
    def predeclared(self) -> bool:
        """Whether the policy was on record before anybody looked."""
        return self.policy_since is not None and self.before_policy == 0

    def notes(self, level: float | None) -> list[str]:
        """``sentences`` where there is anything to know: nothing of a first look that declares nothing."""
        first = self.number == 1 and not self.repeats and self.policy_since is None
        return [] if first else self.sentences(level)

    def sentences(self, level: float | None) -> list[str]:
        """What a person should know of it; ``level``: of the error rate of one look, ``None`` where it has none."""
        return [self._which(level), *self._policy(level)]

    def _which(self, level: float | None) -> str:
        before = self.number if self.repeats else self.number - 1
        if self.repeats:
            looks = "1 look" if before == 1 else f"{before:,} looks"
            return f"This repeats an audit on record: {looks} at this release and these sets so far, as before."
        if not before:
            return "This is the first look at this release and these sets."
        others = "1 audit with other options" if before == 1 else f"{before:,} audits with other options"
        said = f"This is the {ordinal(self.number)} look at this release and these sets: {others} came before."
        if level is None or self.predeclared:
            return said
        most, independent = at_most(self.number, level), if_independent(self.number, level)
        return Weakness(
            f"{said} At a level of {level:g} each, the chance that at least one of {self.number:,} looks finds a leak "
            f"where there is none is at most {most:.1%} ({independent:.1%} were they independent), not {level:.1%}."
        )

    def _policy(self, level: float | None) -> list[str]:
        if self.policy_since is None:
            return []
        since = f"Its policy is on record since {self.policy_since:%Y-%m-%d %H:%M:%SZ}"
        if self.predeclared:
            keeps = "" if level is None else f": its level of {level:g} holds, however many others there are"
            return [f"{since}, before anybody looked{keeps}."]
        looks = "1 look" if self.before_policy == 1 else f"{self.before_policy:,} looks"
        return [f"{since}, but {looks} came before that and may have shaped it: it counts as one look of many."]


def at_most(looks: int, level: float) -> float:
    """The union bound (Bonferroni) on the chance of a false finding in any of several looks, each at ``level``."""
    return min(1.0, looks * level)


def if_independent(looks: int, level: float) -> float:
    """The chance of a false finding in any of several looks, were they independent of each other."""
    return 1.0 - (1.0 - level) ** looks


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ..."""
    teens = number % 100 in (11, 12, 13)
    return f"{number:,}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def looks_at(
    catalog: Catalog,
    datasets: Iterable[AuditDataset],
    verdict_digests: Collection[str],
    policy_since: datetime | None = None,
) -> Looks:
    """Count the looks at an audit's images, this audit included, which is not on record yet.

    Args:
        catalog: Of the audits on record.
        datasets: The audit's, in their roles; their digests count, not their names.
        verdict_digests: The audit's own; of an audit of several answers, those of its parts.
        policy_since: When the policy that was declared beforehand came on record; ``None``: none was.
    """
    mine = _images_of(datasets)
    release = next(digest for role, digest in mine if role is Role.RELEASE)
    seen: set[str] = set()
    number = before_policy = 0
    for audit in reversed(catalog.audits()):
        if audit.release_digest != release or _images_of(catalog.audit_datasets(audit.audit_id)) != mine:
            continue
        parts = catalog.parts_of(audit.audit_id).values()
        given = {part.verdict_digest for part in parts} or {audit.verdict_digest}
        number += not given <= seen
        seen |= given
        if policy_since is not None and audit.started_at <= policy_since:
            before_policy = number
    repeats = set(verdict_digests) <= seen
    return Looks(number + (not repeats), repeats, policy_since, before_policy)


def _images_of(datasets: Iterable[AuditDataset]) -> frozenset[tuple[Role, str]]:
    return frozenset((played.role, played.dataset_digest) for played in datasets)
