"""A child process that opens one shard, reads what is in it and closes it, within limits that it sets itself.

It is run as a script, in the folder of the collection; the limits hold before the engine is loaded.
"""

from __future__ import annotations

import json
import signal
import sys

ANSWER = "it opens\n"
SHARD_FOLDER = "shard"
_PAGE = 1000


def _read(names: list[str], dimension: int) -> None:
    """Goes through all that the engine holds: points page by page, vectors by a search that compares every one."""
    import qdrant_edge

    shard = qdrant_edge.EdgeShard.load(SHARD_FOLDER)
    offset = None
    while True:
        request = qdrant_edge.ScrollRequest(offset=offset, limit=_PAGE, with_payload=True, with_vector=False)
        _, offset = shard.scroll(request)
        if offset is None:
            break
    for name in names:
        nearest = qdrant_edge.Query.Nearest([0.0] * dimension, using=name or None)
        exact = qdrant_edge.SearchParams(exact=True)
        found = shard.query(qdrant_edge.QueryRequest(limit=_PAGE, query=nearest, params=exact))
        shard.retrieve([point.id for point in found[:10]], with_payload=True, with_vector=True)
    shard.flush()
    shard.close()


def main() -> None:
    """Answers what the parent asks on standard input: ``ANSWER``, or why not."""
    asked = json.loads(sys.stdin.read())
    signal.alarm(asked["seconds"])
    sys.path[:] = asked["path"]
    from provenance.limits import Limits, hold_to

    hold_to(Limits(memory_bytes=asked["memory_bytes"], file_bytes=asked["file_bytes"]))
    try:
        _read(asked["names"], asked["dimension"])
    except BaseException as error:  # noqa: BLE001 - the engine's panics are no Exception
        sys.stdout.write(str(error) or type(error).__name__)
        sys.exit(1)
    sys.stdout.write(ANSWER)


if __name__ == "__main__":
    main()
