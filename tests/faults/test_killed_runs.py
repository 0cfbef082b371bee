"""25 runs killed by SIGKILL at random moments of an ingest and an audit, each run again by the same command."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from killing import killed_run

if TYPE_CHECKING:
    from pathlib import Path

    from children import Children
    from killing import Undisturbed

RUNS = 25
phases: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(RUNS))
def test_killed_run_goes_on_and_nothing_is_lost_or_double(
    children: Children, peace: Undisturbed, seed: int, tmp_path: Path
) -> None:
    run = killed_run(children, peace, seed, tmp_path)
    phases[run.phase] += 1
    assert run.problems == ()


def test_the_moments_fell_into_real_work() -> None:
    at_work = phases["in the middle of a batch"] + phases["between batches"] + phases["writing a vector file"]
    assert sum(phases.values()) < RUNS or (at_work >= RUNS // 3 and len(phases) >= 3), phases
