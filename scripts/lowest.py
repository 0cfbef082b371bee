"""Prints constraints that pin every run-time dependency to the lowest version that pyproject.toml allows.

    python scripts/lowest.py > lowest.txt

The extras that run (`all`) are among them; tools (`dev`, `bench`) are not: they are free to be new.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

TOOLS = {"all", "bench", "dev"}


def lowest(requirement: str) -> str:
    """``name==floor`` of ``name[extra]>=floor,<ceiling``."""
    found = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)(?:,.*)?", requirement)
    if found is None:
        raise SystemExit(f"{requirement!r} has no lowest version: write name>=version")
    return f"{found[1]}=={found[2]}"


def main() -> None:
    """Every dependency, sorted."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + [each for name in extras.keys() - TOOLS for each in extras[name]]
    sys.stdout.write("".join(f"{lowest(each)}\n" for each in sorted(requirements)))


if __name__ == "__main__":
    main()
