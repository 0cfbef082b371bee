"""How often the same images were looked at, and what that does to an error rate.

Whoever audits one release again and again, with other options or other sets, until something shows, finds something by
chance. A *look* is an audit of the same release that gave verdicts which none before it had, whatever its sets: to
leave one out is to look again. The same policy again gives the same ``verdict_digest`` and is no look; an audit of
several answers is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.findings import Weakness
from provenance.vocabulary import Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from provenance.catalog import Catalog
    from provenance.records import AuditDataset

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks at one release, an audit at hand included.

    Attributes:
        number: How many there were; this one counts where it brings anything new.
        repeats: Whether it gives again what is on record.
        policy_since: When its policy came on record, where it was named as declared beforehand; else ``None``.
        before_policy: How many looks there were by then.
        elsewhere: Of looks before it that were over other sets, or other images of them, the names of theirs.
    """

    number: int
    repeats: bool = False
    policy_since: datetime | None = None
    before_policy: int = 0
    elsewhere: tuple[str, ...] = ()

    @property
    def predeclared(self) -> bool:
        """Whether the policy was on record before anybody looked."""
        return self.policy_since is not None and self.before_policy == 0

    def sentences(self, levels: Mapping[str, float]) -> list[str]:
        """What a person should know of it; nothing of a first look that states no rate.

        Args:
            levels: How often one look calls a leak where there is none, by what calls it; those that state no such
                rate are left out.
        """
        nothing = self.number == 1 and not self.repeats and not levels
        return [*([] if nothing else [self._which(levels)]), *self._policy(sum(levels.values()))]

    def _which(self, levels: Mapping[str, float]) -> str:
        before = self.number if self.repeats else self.number - 1
        if self.repeats:
            looks = "1 look" if before == 1 else f"{before:,} looks"
            return f"This repeats an audit on record: {looks} at this release so far, as before{self._where}."
        one = _one_look(levels)
        if not before:
            return f"This is the first look at this release. {one}."
        audits = "1 other audit" if before == 1 else f"{before:,} other audits"
        said = f"This is the {ordinal(self.number)} look at this release: {audits} came before{self._where}."
        if not one or self.predeclared:
            return said
        level = sum(levels.values())
        most, independent = at_most(self.number, level), if_independent(self.number, level)
        return Weakness(
            f"{said} {one}, and at least one of {self.number:,} looks of at most {_percent(most)} "
            f"({_percent(independent)} were they independent)."
        )

    @property
    def _where(self) -> str:
        if not self.elsewhere:
            return ""
        named = "; ".join(list(dict.fromkeys(self.elsewhere))[:_NAMED])
        of_them = "" if self.number == 2 and not self.repeats else f"{len(self.elsewhere):,} of them "
        return f", {of_them}over other sets or images ({named})"

    def _policy(self, level: float) -> list[str]:
        if self.policy_since is None:
            return []
        since = f"Its policy is on record since {self.policy_since:%Y-%m-%d %H:%M:%SZ}"
        if self.predeclared:
            keeps = f": its level of {_percent(level)} holds, however many others there are" if level else ""
            return [f"{since}, before anybody looked{keeps}."]
        looks = "1 look" if self.before_policy == 1 else f"{self.before_policy:,} looks"
        return [f"{since}, but {looks} came before that and may have shaped it: it counts as one look of many."]


def _one_look(levels: Mapping[str, float]) -> str:
    if not levels:
        return ""
    by = f" ({', '.join(f'{_percent(each)} by {name}' for name, each in levels.items())})" if len(levels) > 1 else ""
    return f"Where there is no leak, one look calls one with a chance of at most {_percent(sum(levels.values()))}{by}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


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
    """Count the looks at an audit's release, this audit included, which is not on record yet.

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
    elsewhere: list[str] = []
    for audit in reversed(catalog.audits()):
        if audit.release_digest != release:
            continue
        parts = catalog.parts_of(audit.audit_id).values()
        given = {part.verdict_digest for part in parts} or {audit.verdict_digest}
        if not given <= seen:
            number += 1
            played = catalog.audit_datasets(audit.audit_id)
            elsewhere += [_names_of(played)] if _images_of(played) != mine else []
        seen |= given
        if policy_since is not None and audit.started_at <= policy_since:
            before_policy = number
    repeats = set(verdict_digests) <= seen
    return Looks(number + (not repeats), repeats, policy_since, before_policy, tuple(elsewhere))


def _images_of(datasets: Iterable[AuditDataset]) -> frozenset[tuple[Role, str]]:
    return frozenset((played.role, played.dataset_digest) for played in datasets)


def _names_of(datasets: Iterable[AuditDataset]) -> str:
    sets = [played for role in Role for played in datasets if played.role is role and role is not Role.RELEASE]
    return ", ".join(f"{played.name} as {played.role.value.replace('_', ' ')}" for played in sets)
