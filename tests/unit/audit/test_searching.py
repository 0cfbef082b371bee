"""Where an audit searches a server's vectors: files or the server, with the same verdicts, and nothing read twice."""

from __future__ import annotations

import shutil
from collections import namedtuple
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from provenance import Workspace
from provenance.audit import AuditRequest, Policy, run_audit
from provenance.errors import UsageError, VectorStoreError
from provenance.vocabulary import Membership, Search, Subject
from tests.filled import fill, made_up
from tests.servers.fake import FakeQdrant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provenance.audit import AuditReport

DIMENSION = 8
SETS = {"used": (1, 30), "asked": (2, 20), "fresh": (3, 25)}
GENERATED = 15
ALL = GENERATED + sum(count for _, count in SETS.values())


def filled(folder: Path, index_url: str = "", parts: int = 1) -> Path:
    with Workspace.create(folder, **({"index_url": index_url} if index_url else {})) as workspace:
        for (name, (seed, count)), membership in zip(SETS.items(), Membership, strict=True):
            place = {Membership.NOT_USED: Membership.UNKNOWN, Membership.UNKNOWN: Membership.NOT_USED}
            fill(workspace, name, made_up(seed, count, DIMENSION, parts), place.get(membership, membership))
        vectors = made_up(4, GENERATED, DIMENSION, parts)
        vectors[:5] = made_up(1, 30, DIMENSION, parts)[:5]
        fill(workspace, "release", vectors)
    return folder


def audited(folder: Path, subject: Subject = Subject.GENERATED, **settings: Any) -> AuditReport:
    with Workspace.open(folder, **settings) as workspace:
        policy = Policy(subject=subject, top_k=3)
        return run_audit(workspace, AuditRequest("release", used=("used",), against=("asked",), policy=policy))


def scored(folder: Path, **settings: Any) -> AuditReport:
    """By a local score: every real image, whatever is known of it."""
    sets: dict[str, Any] = {"used": "used", "against": "asked", "not_used": "fresh"}
    with Workspace.open(folder, **settings) as workspace:
        return workspace.audit("release", **sets, subject="real", rule="calibrated", score="local-nearest")


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as running:
        yield running


def read(server: FakeQdrant) -> int:
    """How many points of images were asked for since the last time, by their ids or all."""
    reads = [asked for asked in server.requests if asked.name in {"retrieve", "scroll"}]
    count = sum(asked.points for asked in reads if asked.collection.startswith("provenance_"))
    server.requests.clear()
    return count


def files(folder: Path) -> list[str]:
    return sorted(file.suffix for file in (folder / "vectors").glob("*"))


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_files_and_server_say_the_same_and_read_nothing_twice(server: FakeQdrant, tmp_path: Path, way: str) -> None:
    here = audited(filled(tmp_path / "here"))
    assert here.audit.findings.searched is Search.FILE
    there = filled(tmp_path / "there", server.grpc_url if way == "grpc" else server.url)
    read(server)
    by_server = audited(there, search="server")
    assert by_server.audit.findings.searched is Search.SERVER
    assert not files(there)
    distinct = {n.image_key for verdict in by_server.verdicts for n in verdict.neighbors}
    candidates = SETS["used"][1] + SETS["asked"][1]  # which are asked for once without their vectors: are all there?
    assert GENERATED + candidates <= read(server) <= GENERATED + candidates + len(distinct)
    by_files = audited(there)
    assert by_files.audit.findings.searched is Search.FILE
    assert read(server) == GENERATED + 50
    warm = audited(there, search="file")
    assert read(server) == 0
    assert {each.audit.verdict_digest for each in (by_server, by_files, warm)} == {here.audit.verdict_digest}
    assert by_files.audit.findings.to_json()["searched"] == "file"
    assert by_server.notes == here.notes
    pairwise = audited(there, Subject.REAL, search="server")
    assert pairwise.audit.verdict_digest == audited(tmp_path / "here", Subject.REAL).audit.verdict_digest


def test_local_scores_are_read_once(server: FakeQdrant, tmp_path: Path) -> None:
    here = scored(filled(tmp_path / "here", parts=2))
    there = filled(tmp_path / "there", server.grpc_url, parts=2)
    read(server)
    cold = scored(there)
    assert read(server) == ALL
    warm = scored(there)
    assert read(server) == 0
    by_server = scored(there, search="server")
    assert read(server) == ALL
    assert {each.audit.verdict_digest for each in (cold, warm, by_server)} == {here.audit.verdict_digest}


def test_files_that_do_not_fit_are_an_error_that_names_the_sizes_or_the_server_searches(
    server: FakeQdrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = filled(tmp_path / "there", server.grpc_url)
    needed = (GENERATED + 50) * 4 * DIMENSION
    small = {"vector_cache_bytes": needed - 1}
    with pytest.raises(VectorStoreError, match=r"65 images take 2\.1 kB, and `vector_cache_bytes` allows 2\.1 kB"):
        audited(there, search="file", **small)
    assert not files(there)
    said = audited(there, **small)
    assert said.audit.findings.searched is Search.SERVER
    assert "The server searched the vectors: 65 images take 2.1 kB" in said.notes[-1]
    assert said.notes == said.audit.findings.notes
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 3000, 3000))
    with pytest.raises(VectorStoreError, match=r"of which 2\.1 kB are new, and half of the 3\.0 kB"):
        audited(there, search="file")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 2 * needed))
    by_files = audited(there, search="file", vector_cache_bytes=needed)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 0))
    warm = audited(there)  # what is there already takes no more of the disk
    assert warm.audit.findings.searched is Search.FILE
    assert {said.audit.verdict_digest, by_files.audit.verdict_digest} == {warm.audit.verdict_digest}


def test_no_server_no_search_by_it(tmp_path: Path) -> None:
    folder = filled(tmp_path / "here")
    with pytest.raises(UsageError, match="in process"):
        audited(folder, search="server")
    assert audited(folder, search="file").audit.findings.searched is Search.FILE


def test_a_collection_that_lost_vectors_is_no_evidence_though_its_file_is_there(
    server: FakeQdrant, tmp_path: Path
) -> None:
    there = filled(tmp_path / "there", server.grpc_url)
    audited(there)
    largest = max(server.collections, key=lambda name: len(server.collections[name].points))
    server.lose(largest, 1)
    for search in ("file", "auto", "server"):
        with pytest.raises(VectorStoreError, match=r"missing|lacks 1 of the 30"):
            audited(there, search=search)
    with Workspace.open(there) as workspace:
        assert len(workspace.list_audits()) == 1
    assert ".unfinished" not in files(there)


@pytest.mark.parametrize("search", ["file", "server"])
def test_a_server_that_dies_in_the_middle_leaves_nothing_half_done(
    server: FakeQdrant, tmp_path: Path, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from provenance.index import connection

    monkeypatch.setattr(connection, "RETRY_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(connection, "LONGEST_WAIT_SECONDS", 0.001)
    there = filled(tmp_path / "there", server.grpc_url)
    server.fail(503, request="retrieve", times=1_000)
    with pytest.raises(VectorStoreError, match="retrieve failed"):
        audited(there, search=search)
    assert not files(there)
    server.resume()
    server.fail(503, request="retrieve", times=2)
    assert audited(there, search=search).audit.verdict_digest == audited(there).audit.verdict_digest


def test_forgotten_vectors_leave_the_files(server: FakeQdrant, tmp_path: Path) -> None:
    there = filled(tmp_path / "there", server.grpc_url)
    audited(there)
    gone = made_up(1, 30, DIMENSION)[7].tobytes()
    holding = [file for file in (there / "vectors").iterdir() if gone in file.read_bytes()]
    assert len(holding) == 1
    with Workspace.open(there) as workspace:
        workspace.forget(workspace.catalog.resolve_image("used_00007.png").image_id)
    assert not files(there)
    assert len(audited(there).datasets) == 3
    assert all(gone not in file.read_bytes() for file in (there / "vectors").iterdir())


def test_what_is_forgotten_while_a_file_is_written_is_not_kept(
    server: FakeQdrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another workspace of the same catalog, whose own files alone it clears."""
    from provenance.audit import evidence

    there = filled(tmp_path / "there", server.grpc_url)
    asked: list[int] = []
    monkeypatch.setattr(evidence.Vectors, "_are_there", lambda _self, members: bool(asked.append(len(members))))
    with pytest.raises(VectorStoreError, match="cleared while it was written"):
        audited(there)
    assert asked == [GENERATED] * 3
    assert not files(there)


def test_the_candidates_of_one_image_are_settled_whole(server: FakeQdrant, tmp_path: Path) -> None:
    """Equal images fill more than what is asked for at first: all of them are candidates."""
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder, url in zip(folders, ("", server.grpc_url), strict=True):
        with Workspace.create(folder, **({"index_url": url} if url else {})) as workspace:
            vectors = np.repeat(made_up(1, 1, DIMENSION), 60, axis=0)
            fill(workspace, "used", vectors, Membership.USED)
            fill(workspace, "asked", made_up(2, 5, DIMENSION), Membership.UNKNOWN)
            fill(workspace, "release", vectors[:2])
    assert audited(folders[0]).audit.verdict_digest == audited(folders[1], search="server").audit.verdict_digest
