"""Audits of vectors on a Qdrant server, in files and by the server, against the same in process; and the server alone.

    python benchmarks/search_server.py --url grpc://127.0.0.1:6334   # 1,000 generated x 20,000 real, 2048 numbers each

Everything is measured in turn in one run, several times; the least of each counts, as others share the processors and
the network. The same synthetic vectors as of ``search.py`` come into a workspace in process and into one at the server,
whose collections are dropped in the end. Every audit gives the same verdict digest. Wait for a server that indexes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import Vectors, audit, clock, fill

if TYPE_CHECKING:
    from collections.abc import Callable

SURPLUS_OF_TEN = 26
BATCH = 64


def audited(place: Path, names: list[str], *, cold: bool = False, **settings: Any) -> str:
    """The digest of an audit by a workspace that is opened for it; cold: none of its vector files are there."""
    from provenance import Workspace

    if cold:
        shutil.rmtree(place / "vectors", ignore_errors=True)
    with Workspace.open(place, **settings) as workspace:
        return str(audit(workspace, names).audit.verdict_digest)


def searched_by_server(place: Path, queries: Any) -> int:
    """The server's own search time: the same queries, in as many requests at once, and nothing else."""
    from provenance import Workspace
    from provenance.index.ahead import ahead

    with Workspace.open(place) as workspace:
        index = workspace.index
        keys = [each.collection_key for each in workspace.catalog.live_collections()]
        key = max(keys, key=index.count)
        blocks = (queries[start : start + BATCH] for start in range(0, len(queries), BATCH))
        return sum(len(found) for found in ahead(lambda block: index.search(key, block, SURPLUS_OF_TEN), blocks, 4))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    from provenance import Workspace

    vectors = Vectors(arguments.dimension)
    here, there = folder / "here", folder / "there"
    for place, settings in ((here, {}), (there, {"index_url": arguments.url})):
        with Workspace.create(place, **settings) as workspace:
            seconds, _, names = clock(lambda w=workspace: fill(w, vectors, arguments.generated, arguments.real, 1))
        print(f"{place.name}: filled in {seconds:.1f} s", flush=True)
    try:
        time.sleep(arguments.wait)
        queries = vectors.generated(0, arguments.generated)
        calls: dict[str, Callable[[], Any]] = {
            "in process, cold": lambda: audited(here, names, cold=True),
            "in process, warm": lambda: audited(here, names),
            "server, file, cold": lambda: audited(there, names, cold=True, search="file"),
            "server, file, warm": lambda: audited(there, names, search="file"),
            "server, server": lambda: audited(there, names, search="server"),
            "server alone": lambda: searched_by_server(there, queries),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        digests = set()
        for number in range(arguments.rounds):
            for name, call in calls.items():
                seconds, _, found = clock(call)
                times[name].append(seconds)
                digests |= {found} - {arguments.generated}
            line = "  ".join(f"{name} {values[-1]:.2f}" for name, values in times.items())
            print(f"round {number + 1}: {line}  load {os.getloadavg()[0]:.2f}", flush=True)
        assert len(digests) == 1, digests
        best = {name: min(values) for name, values in times.items()}
        local = best["in process, warm"]
        print(f"\ncold beyond the local audit: {best['server, file, cold'] - local:.2f} s")
        print(f"warm: {best['server, file, warm'] / local:.2f} of the local audit")
        print(f"by the server: {best['server, server'] / best['server alone']:.2f} of its own search")
    finally:
        with Workspace.open(there) as workspace:
            for each in workspace.catalog.live_collections():
                workspace.index.drop(each.collection_key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--generated", type=int, default=1000)
    parser.add_argument("--real", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait until the server has indexed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


if __name__ == "__main__":
    main()
