"""What a workspace holds, read past the product's own queries: the tables by sqlite3, every vector of the index.

Two workspaces that were filled from the same sources must hold the same, whatever happened on the way.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provenance.index import open_index


@dataclass(slots=True)
class Kept:
    """What is the same in every workspace of the same content: nothing made up at random, no times.

    Attributes:
        vectors: ``vector_sha256`` of what is indexed, by dataset and image_id.
        names: Occurrences by dataset, image_id and name: how often each is on record.
        added: How often an image was recorded as added, by dataset and image_id.
        rejects: Name and reason of what was rejected, by dataset.
        seals: Digests of the revisions of each release.
    """

    vectors: dict[tuple[str, str], str] = field(default_factory=dict)
    names: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    added: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejects: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seals: dict[str, list[str]] = field(default_factory=dict)


def rows(workspace: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{workspace / 'catalog.sqlite3'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def kept_in(workspace: Path) -> Kept:
    kept = Kept()
    kept.vectors = {(name, image): sha for name, image, sha in rows(workspace, _INDEXED)}
    kept.names = Counter(rows(workspace, _NAMES))
    kept.added = Counter(rows(workspace, _ADDED))
    kept.rejects = Counter(rows(workspace, _REJECTS))
    for name, digest in rows(workspace, _SEALS):
        kept.seals.setdefault(name, []).append(digest)
    return kept


def lost_in(workspace: Path) -> list[str]:
    """What was acknowledged and is not in the index as it was; empty where nothing is lost."""
    held = _held(workspace)
    problems = []
    for key, point, sha in rows(workspace, _POINTS + " WHERE state = 'indexed'"):
        found = held.get(key, {}).get(point)
        if found != sha:
            problems.append(f"point {point} of {key}: {sha} is on record, the index has {found}")
    return problems


def faults_in(workspace: Path) -> list[str]:
    """Everything in which catalog and index do not agree, once every command has been run to its end."""
    problems = lost_in(workspace)
    held = _held(workspace)
    recorded: Counter[str] = Counter(key for key, _, _ in rows(workspace, _POINTS))
    for key in held.keys() | recorded.keys():
        if len(held.get(key, {})) != recorded[key]:
            problems.append(
                f"collection {key}: {recorded[key]} points on record, {len(held.get(key, {}))} in the index"
            )
    problems += [f"point {point} is {state}" for point, state in rows(workspace, _UNFINISHED)]
    problems += [f"member without a point: {row}" for row in rows(workspace, _WITHOUT_POINT)]
    problems += [f"image without a member: {row}" for row in rows(workspace, _WITHOUT_MEMBER)]
    problems += [f"integrity_check: {row[0]}" for row in rows(workspace, "PRAGMA integrity_check") if row[0] != "ok"]
    problems += [f"foreign_key_check: {row}" for row in rows(workspace, "PRAGMA foreign_key_check")]
    return problems


def copied(workspace: Path, place: Path) -> Path:
    """A copy to look into: opening the index mends what a killed process left, which the next command has to do."""
    return Path(shutil.copytree(workspace, place, copy_function=_copy_data))


def _copy_data(source: str, target: str) -> None:
    """Copies a file without its holes: the index's files are large, and nearly all of them is empty."""
    with Path(source).open("rb") as read, Path(target).open("wb") as written:
        size = os.fstat(read.fileno()).st_size
        written.truncate(size)
        start = 0
        while start < size:
            try:
                start = os.lseek(read.fileno(), start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    break
                raise
            stop = os.lseek(read.fileno(), start, os.SEEK_HOLE)
            os.pwrite(written.fileno(), os.pread(read.fileno(), stop - start, start), start)
            start = stop
    shutil.copystat(source, target)


def _held(workspace: Path) -> dict[str, dict[str, str]]:
    """The sha256 of every vector that the index holds, by collection and point."""
    if not (workspace / "index").is_dir():
        return {}
    held: dict[str, dict[str, str]] = {}
    with open_index(f"local:{workspace / 'index'}") as index:
        for key in index.collections():
            held[key] = {}
            for points in index.iterate(key):
                for point, vector, payload in zip(points.ids, points.vectors, points.payloads, strict=True):
                    digest = hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()
                    held[key][point] = digest if digest == payload["vector_sha256"] else f"{digest}, {payload}"
    return held


_OF_DATASETS = "JOIN datasets d USING (dataset_id) JOIN image_identities i USING (image_key)"
_INDEXED = """
    SELECT d.name, i.image_id, p.vector_sha256 FROM points p JOIN collections c USING (collection_key)
    JOIN datasets d USING (dataset_id) JOIN image_identities i USING (image_key) WHERE p.state = 'indexed'"""
_NAMES = f"SELECT d.name, i.image_id, o.name FROM occurrences o {_OF_DATASETS}"
_ADDED = f"SELECT d.name, i.image_id FROM events e {_OF_DATASETS} WHERE e.kind = 'added'"
_REJECTS = "SELECT d.name, r.name, r.reason FROM rejects r JOIN datasets d USING (dataset_id)"
_SEALS = "SELECT d.name, s.release_digest FROM release_seals s JOIN datasets d USING (dataset_id) ORDER BY s.revision"
_POINTS = "SELECT collection_key, point_id, vector_sha256 FROM points"
_UNFINISHED = "SELECT point_id, state FROM points WHERE state <> 'indexed'"
_WITHOUT_POINT = """
    SELECT m.dataset_id, m.image_key FROM memberships m WHERE NOT EXISTS (
        SELECT 1 FROM points p JOIN collections c USING (collection_key)
        WHERE p.image_key = m.image_key AND c.dataset_id = m.dataset_id)"""
_WITHOUT_MEMBER = "SELECT image_key FROM images EXCEPT SELECT image_key FROM memberships"
