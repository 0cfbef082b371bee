"""DICOM files changed at random, through a worker with its limits: none ends it, and each is taken or refused."""

from __future__ import annotations

import random
import time
from functools import partial

from provenance.embedding import Processes
from provenance.images import PreparationSettings, Prepared, prepare_frames
from provenance.limits import Limits
from provenance.vocabulary import Rejection, RejectReason, SourceItem
from tests.scans import in_syntaxes, scan, slice_of

MUTATIONS = 60
"""Of each transfer syntax."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, taken out, put in or cut off, mostly in the header."""
    changed = bytearray(data)
    end = len(changed) if rng.random() < 0.4 else min(len(changed), 900)
    kind, at = rng.randrange(5), rng.randrange(132, end)
    if kind < 2:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(132, end)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 2:
        del changed[at:]
    elif kind == 3:
        changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xfe\xff\xff\xff"))
    else:
        changed[at:at] = rng.randbytes(rng.randint(1, 24))
    return bytes(changed)


def test_mutated_files_are_taken_or_refused_and_end_no_worker() -> None:
    rng = random.Random(20)
    files = in_syntaxes(scan(slice_of(5), BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024))
    items = []
    for name, data in files.items():
        for number in range(MUTATIONS):
            content = mutated(data, rng)
            items.append(SourceItem(f"{name} {number}", "/archive", f"{name}{number}", len(content), content=content))
    task = partial(prepare_frames, settings=PreparationSettings(burned_in=True))
    dead: list[str] = []

    def failed(item: SourceItem, reason: RejectReason, detail: str) -> Rejection:
        dead.append(f"{item.name}: {detail}")
        return Rejection(item.name, item.source, item.member, item.size_bytes, reason, detail)

    started, answered = time.monotonic(), set()
    for outcome in Processes(2, Limits(memory_bytes=2**30, seconds=5)).streamed(items, task, failed=failed):
        name = outcome.item.name if isinstance(outcome, Prepared) else outcome.name
        answered.add(name.partition("#")[0])
    assert dead == []
    assert answered == {item.name for item in items}
    assert time.monotonic() - started < 120
