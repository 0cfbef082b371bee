"""Every rule and score, in several embedding spaces, over every release with known truth: one table.

    python benchmarks/methods.py --cache ~/.cache/methods            # all of it; writes docs/benchmarks/methods.*
    python benchmarks/methods.py --quick                             # three spaces, rough intervals; prints only
    python benchmarks/methods.py --only pixels                       # the score that learns; some minutes
    python benchmarks/methods.py --only patches --output /tmp/out    # spaces with "patches" in their names

Images are embedded by the product's own code and vectors kept in ``--cache`` (default: a temporary folder). Tables go
to standard output, progress to standard error. ``--output`` gets methods.md and methods.svg; of a methods.md that
is there, what stands between the two marks is replaced and the rest kept. ``--json`` has every figure, unrounded.
Everything is seeded. The networks take most of the time; with the vectors cached it is some minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from methods_data import Embeddings, TruthAudit, find_audits
from methods_figure import draw
from methods_page import markdown, written_between_marks
from methods_scores import LOCAL, SEED_RULE, Cell, Plan, Scored, Truth, judge, method_order, methods_of, sum_of_z

from provenance.errors import ProvenanceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
DOCUMENTS = ROOT / "docs" / "benchmarks"
BACKBONE_FILE = "resnet50_caffe_msra_c4.onnx"
SEED_SPACE = "efficientnet-lite0"
FILE_SPACE = "ResNet-50 to res4f (ONNX file)"
SPACES = (
    SEED_SPACE,
    FILE_SPACE,
    "efficientnet-lite0@64",
    "patches-64-64@64",
    "patches-24-8@64",
    "patches-16-8@64",
    "highpass-16-8@64",
    "efficientnet-lite0:blocks.4/7@64",
    "pixels",
)
QUICK_SPACES = (SEED_SPACE, "patches-24-8@64", "pixels")
VIEWS = ("patches-24-8@64", "highpass-16-8@64")
SUM_OF_VIEWS = "local, sum of z (second look)"
QUICK = {"resamples": 300, "permutations": 499}


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass
class Run:
    """What was scored so far, and what every judgement needs."""

    audits: Sequence[TruthAudit]
    plan: Plan
    scored: dict[tuple[str, str], dict[str, Scored]] = field(default_factory=dict)

    def control_of(self, audit: TruthAudit) -> TruthAudit | None:
        """The release of a generator that saw none of an audit's reals."""
        if audit.is_control:
            return None
        return next((each for each in self.audits if each.is_control and each.cohort.name == audit.cohort.name), None)

    def reference_of(self, audit: TruthAudit) -> TruthAudit | None:
        """The release that referenced scores are less: the own control, else any."""
        if audit.is_control:
            return None
        return self.control_of(audit) or next((each for each in self.audits if each.is_control), None)

    def score(self, space: str, embeddings: Embeddings) -> None:
        """All methods of one space on all releases."""
        for audit in self.audits:
            started, reference = time.perf_counter(), self.reference_of(audit)
            found = methods_of(
                embeddings.of_cohort(audit.cohort),
                embeddings.of_release(audit.release),
                None if reference is None else embeddings.of_release(reference.release),
                audit.cohort.members,
                self.plan.seed,
            )
            for method, scored in found.items():
                self.scored.setdefault((method, space), {})[audit.name] = scored
            tell(f"  {space}: {audit.name}: {len(found)} methods in {time.perf_counter() - started:.1f} s")

    def add_sum_of_views(self) -> None:
        """The sum of two local views, where both were scored."""
        views = [self.scored.get((LOCAL, space), {}) for space in VIEWS]
        shared = [audit.name for audit in self.audits if all(audit.name in view for view in views)]
        if shared:
            by_release = {name: sum_of_z([view[name] for view in views]) for name in shared}
            self.scored[SUM_OF_VIEWS, " + ".join(VIEWS)] = by_release

    def judged(self) -> list[Cell]:
        """A cell for each method, space and release, in the table's order."""
        order = method_order()
        places = {name: order.index(name) if name in order else len(order) for name, _ in self.scored}
        rows = list(self.scored)
        spaces = list(dict.fromkeys(space for _, space in rows))
        rows.sort(key=lambda row: (spaces.index(row[1]), places[row[0]]))
        cells = []
        for number, row in enumerate(rows, start=1):
            cells += [self._cell(row, audit) for audit in self.audits if audit.name in self.scored[row]]
            if number % 20 == 0 or number == len(rows):
                tell(f"judged {number} of {len(rows)} rows")
        return cells

    def _cell(self, row: tuple[str, str], audit: TruthAudit) -> Cell:
        found, control = self.scored[row], self.control_of(audit)
        cohort = audit.cohort
        is_baseline = row in ((SEED_RULE, SEED_SPACE), ("nearest", SEED_SPACE))
        baseline = None if is_baseline else self.scored.get((SEED_RULE, SEED_SPACE), {}).get(audit.name)
        return judge(
            found[audit.name],
            Truth(cohort.members, cohort.is_subject, cohort.is_calibration, audit.is_control),
            self.plan,
            control=None if control is None else found.get(control.name),
            baseline=baseline,
            name=(*row, audit.name),
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of releases with known truth")
    parser.add_argument("--backbone-file", type=Path, help="ONNX network; default: weights/ beside the data")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only spaces with one of these in their names")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK_SPACES)}, rough intervals")
    parser.add_argument("--cache", type=Path, help="folder that keeps vectors for the next run")
    parser.add_argument("--output", type=Path, help="folder of the files; default: docs/benchmarks, of a full run only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure, with its interval and reason")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of the networks")
    return parser.parse_args()


def wanted_spaces(given: argparse.Namespace, file: Path) -> list[str]:
    """Names of the spaces to run; the file's is left out where there is no file."""
    spaces = [each for each in SPACES if not given.only or any(text in each for text in given.only)]
    if given.quick:
        spaces = [each for each in spaces if each in QUICK_SPACES]
    if given.backbone_file and not file.is_file():
        raise UsageError(f"there is no backbone file {file}")
    if FILE_SPACE in spaces and not file.is_file():
        tell(f"left out: {FILE_SPACE}: there is no {file}")
        spaces.remove(FILE_SPACE)
    return spaces


def run_all(given: argparse.Namespace, audits: Sequence[TruthAudit], cache: Path) -> list[Cell]:
    """Embed, score and judge."""
    file = given.backbone_file or given.data.resolve().parent / "weights" / BACKBONE_FILE
    run = Run(audits, Plan(seed=given.seed, **(QUICK if given.quick else {})))
    spaces = wanted_spaces(given, file)
    for number, space in enumerate(spaces, start=1):
        tell(f"space {number} of {len(spaces)}: {space}")
        name = str(file) if space == FILE_SPACE else space
        run.score(space, Embeddings(name, cache, tell, threads=given.threads))
    run.add_sum_of_views()
    return run.judged()


def write(folder: Path, cells: list[Cell], page: str, releases: list[str]) -> None:
    """The table and the figure of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "methods.md"
    path.write_text(written_between_marks(path.read_text("utf-8") if path.exists() else "", page), encoding="utf-8")
    (folder / "methods.svg").write_text(draw(cells, releases), encoding="utf-8")
    tell(f"written: {path} and methods.svg")


def main() -> int:
    try:
        return benchmark(arguments())
    except ProvenanceError as error:
        tell(f"error: {error}\nhint: {error.hint}")
        return error.exit_code


def benchmark(given: argparse.Namespace) -> int:
    started = time.perf_counter()
    audits = find_audits(given.data)
    if given.cache:
        given.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        cells = run_all(given, audits, given.cache or Path(folder))
    if not cells:
        raise UsageError("no space to run", hint=f"--only takes parts of these names: {', '.join(SPACES)}")
    releases = [each.name for each in sorted(audits, key=lambda audit: (audit.is_control, audit.name))]
    page = markdown(cells, releases, [each.name for each in audits if each.is_control])
    print(page)
    if given.json:
        document = {"seed": given.seed, "releases": releases, "cells": [cell.to_json() for cell in cells]}
        given.json.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    output = given.output or (None if given.only or given.quick else DOCUMENTS)
    if output:
        write(output, cells, page, releases)
    tell(f"{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
