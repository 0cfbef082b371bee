"""Runs killed with SIGKILL at random moments, run again by the same command, and compared with undisturbed ones.

    python benchmarks/faults.py --runs 60
    python benchmarks/faults.py --runs 60 --first-seed 1000 --images 200

The longer version of ``tests/faults``: every number that must be the same is compared (counts, digests of sets,
vectors and verdicts, names, events, rejects, seals), every stored vector is digested, and ``reconcile`` looks too.
Prints a line a run, and in the end how the moments fell. Exit code 1 where any run differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "faults"))

from children import Children
from killing import KilledRun, killed_run, undisturbed
from samples import save_backbone, save_cohort


def run_all(arguments: argparse.Namespace, folder: Path) -> list[KilledRun]:
    output = folder / "output"
    output.mkdir()
    children = Children(output)
    cohort = save_cohort(
        folder / "images", used=arguments.images, not_used=arguments.images // 2, generated=arguments.images // 2
    )
    try:
        peace = undisturbed(children, folder, save_backbone(folder / "tiny.onnx"), cohort)
        for command in peace.commands:
            print(f"{command.name}: {command.seconds:.2f} s from its first write to its last, undisturbed")
        return [one_run(children, peace, arguments.first_seed + number, folder) for number in range(arguments.runs)]
    finally:
        children.close()


def one_run(children: Children, peace: object, seed: int, folder: Path) -> KilledRun:
    run = killed_run(children, peace, seed, folder)
    verdict = "as undisturbed" if not run.problems else "DIFFERS: " + "; ".join(run.problems)
    print(f"seed {seed}: {run.command}, {run.phase}, killed after {run.after_seconds:.3f} s: {verdict}", flush=True)
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--images", type=int, default=60, help="used images; half as many not used and generated")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        runs = run_all(arguments, Path(folder))
    for (command, phase), count in sorted(Counter((run.command, run.phase) for run in runs).items()):
        print(f"{count:4d}  {command}: {phase}")
    bad = [run for run in runs if run.problems]
    print(f"{len(runs)} runs killed, {len(runs) - len(bad)} as undisturbed, {time.monotonic() - started:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
