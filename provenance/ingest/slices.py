"""Which slices of a series go in: ordered by position before any is embedded, chosen by a rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from provenance.errors import UsageError
from provenance.images import LEFT_OUT, slice_at
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provenance.images import PreparationSettings, Slice
    from provenance.installation import Installation
    from provenance.vocabulary import Found

_Place = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class SliceRule:
    """The middle slice of each series, or every Nth, the first among them.

    Attributes:
        step: N; 0: the middle one, of an even number the one before it.
    """

    step: int

    @classmethod
    def of(cls, text: str | None) -> SliceRule | None:
        """The rule in words: ``middle`` or ``every:N``; ``None`` for ``all``.

        Raises:
            UsageError: If it is none of these.
        """
        if text in (None, "all"):
            return None
        if text == "middle":
            return cls(0)
        word, _, number = text.partition(":")
        if word != "every" or not (number.isascii() and number.isdecimal()) or not 1 <= int(number[:9]) < 10**6:
            raise UsageError(f"--slices {text!r} is none of all, middle and every:N", hint="such as --slices every:5")
        return cls(int(number))

    def chosen(self, ordered: Sequence[_Place]) -> Sequence[_Place]:
        """Those of a series that are taken, in its order."""
        if self.step:
            return ordered[:: self.step]
        return ordered[(len(ordered) - 1) // 2 :][:1]


def in_order(slices: Iterable[tuple[Slice, _Place]]) -> list[_Place]:
    """A series by position; where one has none, by number; then by place."""
    held = list(slices)
    if any(one.position is None for one, _ in held):
        return [place for _, place in sorted(held, key=lambda each: (each[0].number, _by_place(each[1])))]
    return [place for _, place in sorted(held, key=lambda each: (each[0].position or 0.0, _by_place(each[1])))]


def _by_place(place: _Place) -> tuple[str, str]:
    return place[0], place[1] or ""


class Chosen:
    """What of some sources a rule takes: their headers are read once, before anything is embedded."""

    def __init__(
        self, workspace: Installation, items: Iterable[Found], rule: SliceRule, settings: PreparationSettings
    ) -> None:
        series: dict[str, list[tuple[Slice, _Place]]] = {}
        task = partial(slice_at, settings=settings)
        for place, one in workspace.executor.prepared(items, task, failed=lambda *_: (None, None)):
            if place is not None and one is not None:
                series.setdefault(one.series, []).append((one, place))
        self._left_out: set[_Place] = set()
        for slices in series.values():
            ordered = in_order(slices)
            self._left_out |= set(ordered) - set(rule.chosen(ordered))

    def of(self, items: Iterable[Found]) -> Iterator[Found]:
        """The same items, those that are not taken as skipped; what is no slice of a series stays as it is."""
        for item in items:
            if isinstance(item, SourceItem) and (item.source, item.member) in self._left_out:
                facts = item.name, item.source, item.member, item.size_bytes
                yield Rejection(*facts, RejectReason.SKIPPED, LEFT_OUT)
            else:
                yield item
