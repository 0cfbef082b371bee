"""Cells of ``methods.py`` as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods_scores import Q_LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from methods_scores import Cell

    from provenance.detection import Estimate

    Rows = Mapping[tuple[str, str], Mapping[str, Cell]]

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
LEVEL = 0.05
MISSING = "-"
OUTCOMES = {"leak_established": "leak", "leak_not_established": "no leak shown", "inconclusive": "inconclusive"}


def markdown(cells: Sequence[Cell], releases: Sequence[str], controls: Sequence[str]) -> str:
    """The tables: ranking and labels; error control; what beats chance."""
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.method, cell.space), {})[cell.release] = cell
    sections = [ranking(rows, releases), control(rows, releases), findings(rows, releases, controls)]
    return "\n\n".join(sections)


def written_between_marks(text: str, page: str) -> str:
    """A document with the page between its marks; what stands outside of them is kept."""
    before, begin, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if begin else "\n"
    heading = before if begin else "# Benchmark of methods\n\n"
    return f"{heading}{BEGIN}\n\n{page}\n\n{END}{after}"


def ranking(rows: Rows, releases: Sequence[str]) -> str:
    """AUC, TPR and accuracy of every method."""
    chance = {each.release: each.chance for row in rows.values() for each in row.values() if each.chance}
    bands = "; ".join(f"{name} {chance[name].low:.2f}-{chance[name].high:.2f}" for name in releases if name in chance)
    text = (
        "### Ranking and labels\n\n"
        "Cells: AUC [95 % interval] / TPR at 1 % FPR / accuracy (its chance band). *m*: the method has no rule, its "
        "accuracy is at the median of the pooled scores. n/e: not estimable, with fewer than 100 not-used images (TPR) "
        f"or with equal scores. Chance bands: {bands}.\n\n"
    )
    return text + table(rows, releases, ranked)


def ranked(cell: Cell) -> str:
    """One cell of the first table."""
    band = "" if cell.chance is None else f" ({cell.chance.low:.2f}-{cell.chance.high:.2f})"
    kind = "" if cell.own_labels else " *m*"
    return f"{with_interval(cell.auc)} / {figure(cell.tpr)} / {figure(cell.accuracy)}{band}{kind}"


def control(rows: Rows, releases: Sequence[str]) -> str:
    """Release test, established images, and the paired difference to the seed method's score."""
    levels = ", ".join(f"{q:g}" for q in Q_LEVELS)
    text = (
        "### Error control\n\n"
        "Cells: outcome of the release test, its permutation p / images of `real_unknown` established at q = "
        f"{levels}, those not used in brackets, with `real_not_used` as calibration / AUC less that of the seed "
        "method's score (nearest, efficientnet-lite0) [95 % interval, paired bootstrap], **bold** where it excludes 0. "
        "Methods that learned from the truth have neither p-values nor a test here.\n\n"
    )
    return text + table(rows, releases, controlled)


def controlled(cell: Cell) -> str:
    """One cell of the second table."""
    difference = MISSING if cell.difference is None else with_interval(cell.difference, signed=True)
    if cell.difference is not None and excludes(cell.difference, 0):
        difference = f"**{difference}**"
    if cell.p_value is None:
        return f"learned / {MISSING} / {difference}"
    found = ", ".join(f"{count} ({false})" for count, false in cell.established.values())
    return f"{OUTCOMES[cell.outcome]}, {cell.p_value:.2g} / {found} / {difference}"


def table(rows: Rows, releases: Sequence[str], write: Callable[[Cell], str]) -> str:
    """A row for each method and space, a column for each release."""
    lines = [f"| method | space | {' | '.join(releases)} |", "|---" * (2 + len(releases)) + "|"]
    for (method, space), row in rows.items():
        cells = [write(row[name]) if name in row else MISSING for name in releases]
        lines.append(f"| {method} | {space} | {' | '.join(cells)} |")
    return "\n".join(lines)


def findings(rows: Rows, releases: Sequence[str], controls: Sequence[str]) -> str:
    """What beats chance on which release, corrected for the number of looks."""
    parts = ["### What beats chance\n"]
    parts += [finding({row: cells[name] for row, cells in rows.items() if name in cells}, name) for name in releases]
    parts += [
        false_alarms({row: cells[name] for row, cells in rows.items() if name in cells}, name) for name in controls
    ]
    return "\n".join(parts)


def finding(cells: Mapping[tuple[str, str], Cell], release: str) -> str:
    """The sentence about one release: Holm over the rows with a release test, one for each score."""
    tested = {row: cell for row, cell in cells.items() if cell.p_value is not None and not cell.own_labels}
    apart = sum(excludes(cell.auc, 0.5) for cell in cells.values())
    if not tested:
        return f"- {release}: no row has a release test."
    kept = holm({row: cell.p_value for row, cell in tested.items() if cell.p_value is not None})
    by_space: dict[str, list[str]] = {}
    for method, space in kept:
        by_space.setdefault(space, []).append(f"{method} {figure(tested[method, space].auc)}")
    named = [f"  - {space}: {', '.join(names)}" for space, names in by_space.items()]
    head = (
        f"- {release}: {len(kept)} of {len(tested)} scores with a release test are above chance at level {LEVEL:g} "
        f"after Holm's correction for so many looks{':' if named else '.'}"
    )
    return "\n".join(
        [head, *named, f"  - uncorrected, {apart} of all {len(cells)} intervals exclude 0.5, on either side"]
    )


def false_alarms(cells: Mapping[tuple[str, str], Cell], release: str) -> str:
    """Which rows establish something on a control release: all of it is false."""
    tested = {row: cell for row, cell in cells.items() if cell.established}
    named = [
        f"{method} ({space}) {count} at q = {q}"
        for (method, space), cell in tested.items()
        for q, (count, _) in cell.established.items()
        if count
    ]
    return (
        f"- {release} is a control, where all that is established is false: of {len(tested)} rows at "
        f"{len(Q_LEVELS)} levels each, these establish something: {'; '.join(named) or 'none'}."
    )


def holm(p_values: Mapping[tuple[str, str], float]) -> list[tuple[str, str]]:
    """Rows that Holm's step-down procedure rejects at the level, least p first."""
    kept: list[tuple[str, str]] = []
    for row in sorted(p_values, key=lambda row: p_values[row]):
        if p_values[row] > LEVEL / (len(p_values) - len(kept)):
            break
        kept.append(row)
    return kept


def excludes(estimate: Estimate, value: float) -> bool:
    """Whether an interval leaves a value out."""
    return estimate.low is not None and estimate.high is not None and not estimate.low <= value <= estimate.high


def with_interval(estimate: Estimate, *, signed: bool = False) -> str:
    """``0.52 [0.47, 0.57]``."""
    if estimate.low is None or estimate.high is None:
        return figure(estimate, signed=signed)
    ends = ", ".join(f"{end:+.2f}" if signed else f"{end:.2f}" for end in (estimate.low, estimate.high))
    return f"{figure(estimate, signed=signed)} [{ends}]"


def figure(estimate: Estimate, *, signed: bool = False) -> str:
    """The value, or that there is none."""
    if estimate.value is None:
        return "n/e"
    return f"{estimate.value:+.2f}" if signed else f"{estimate.value:.2f}"
