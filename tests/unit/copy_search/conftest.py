"""What is measured in ``benchmarks/copies.py`` and not part of the product: found beside it."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of a source distribution", allow_module_level=True)
sys.path.append(str(BENCHMARKS))
