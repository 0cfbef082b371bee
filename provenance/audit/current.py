"""An audit reads for a while, and other processes go on: whether what it reads is still what was frozen.

Where an image was forgotten, a set removed or a collection written anew under another key, it begins again with what is
there now. Images that came meanwhile are not part of it, and it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from provenance.audit.plan import AuditPlan
from provenance.errors import ConflictError, ProvenanceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from provenance.audit.inputs import FrozenDataset
    from provenance.audit.plan import JointPlan
    from provenance.audit.rule import OnStep
    from provenance.catalog import Catalog

_READINGS = 5

Answer = TypeVar("Answer")


class _ChangedError(ConflictError):
    """What was frozen is not what is on record now."""


@dataclass(frozen=True, slots=True)
class Before:
    """What was on record when an audit began to read: what stands for all erasures, collections, images by dataset."""

    catalog: Catalog
    erasures: str
    keys: frozenset[str]
    images: Mapping[str, int]

    @classmethod
    def now(cls, catalog: Catalog) -> Before:
        """As it is now."""
        keys = frozenset(live.collection_key for live in catalog.live_collections())
        images = {each.dataset.dataset_id: each.image_count for each in catalog.datasets()}
        return cls(catalog, catalog.erasures(), keys, images)

    def require_same(self, plan: AuditPlan | JointPlan) -> tuple[str, ...]:
        """Makes the audit begin again if what it judges by is gone; gives what to say of images that came meanwhile."""
        after, frozen = Before.now(self.catalog), list(_frozen_in(plan))
        places = {(member.collection_key, member.point_id) for each in frozen for member in each.members}
        if self.lacks(after) and not self.catalog.are_indexed(places):
            raise _ChangedError("what the audit reads was changed by another process")
        names = {each.dataset.dataset_id: each.dataset.name for each in frozen}
        grown = {name: after.images.get(key, 0) - self.images.get(key, 0) for key, name in names.items()}
        return tuple(
            f"{count:,} images came to {name} while this audit read: they are not part of it."
            for name, count in grown.items()
            if count > 0
        )

    def lacks(self, after: Before) -> bool:
        """Whether something is gone since."""
        return self.erasures != after.erasures or not self.keys <= after.keys


def reading_again(catalog: Catalog, on_step: OnStep, audit: Callable[[Before], Answer]) -> Answer:
    """Carries out an audit, and again where something is gone since it began.

    Raises:
        ConflictError: If that happens again and again.
        ProvenanceError: Whatever the audit raises while all is as it was.
    """
    for _ in range(_READINGS):
        before = Before.now(catalog)
        try:
            return audit(before)
        except ProvenanceError:
            if not before.lacks(Before.now(catalog)):
                raise
        on_step("images were forgotten or moved by another process: reading again")
    raise ConflictError(
        "what the audit reads is forgotten or written anew again and again", hint="run it again when that has ended"
    )


def _frozen_in(plan: AuditPlan | JointPlan) -> Iterable[FrozenDataset]:
    for each in [plan] if isinstance(plan, AuditPlan) else plan.answers.values():
        frozen = each.frozen
        yield from (frozen.release, *frozen.sets, *([frozen.reference] if frozen.reference else ()))
