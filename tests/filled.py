"""Workspaces filled with vectors that tests make up, written as an ingest writes them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from provenance.ingest import Writer
from provenance.records import Generator
from provenance.vocabulary import ImageFacts, Membership, SourceItem, Space
from tests.vectors import unit

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from provenance import Workspace
    from provenance.records import NewImage

    Rows = list[tuple[NewImage, npt.NDArray[np.float32]]]


def space_of(dimension: int, parts: int = 1) -> Space:
    return Space("synthetic", "0" * 64, {"seed": 0}, dimension, parts)


def made_up(seed: int, count: int, dimension: int, parts: int = 1) -> npt.NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((count, parts, dimension)) + 0.2)


def rows_of(writer: Writer, name: str, vectors: npt.NDArray[np.float32], first: int = 0) -> Rows:
    found = []
    for number, vector in enumerate(vectors, start=first):
        identity = "sha256:" + hashlib.sha256(f"{name} {number}".encode()).hexdigest()
        file = f"{name}_{number:05}.png"
        item = SourceItem(file, f"/nowhere/{file}", None, 1, 1, 1, number)
        facts = ImageFacts(identity, f"{identity[:-2]}ff", 8, 8, "PNG", "L", 1)
        found.append((writer.row(facts, vector, [item]), vector))
    return found


def writer_of(workspace: Workspace, name: str, space: Space, membership: Membership | None = None) -> Writer:
    """Of a set with this membership, or of a release where there is none."""
    catalog = workspace.catalog
    if membership is None:
        dataset = catalog.create_release(name, Generator("toy", "none", ""), "")
    else:
        dataset = catalog.create_set(name, membership, "")
    return Writer.opened(workspace, dataset.dataset_id, space, "ingest", {})


def fill(
    workspace: Workspace, name: str, vectors: npt.NDArray[np.float32], membership: Membership | None = None
) -> Writer:
    """A set, or a sealed release, of these vectors ``(n, parts, dimension)``, as ``NAME_00000.png`` and so on."""
    writer = writer_of(workspace, name, space_of(vectors.shape[2], vectors.shape[1]), membership)
    writer.write(rows_of(writer, name, vectors))
    if membership is None:
        workspace.catalog.seal(writer.dataset_id, writer.run_id, "sha256:" + "0" * 64, len(vectors))
    return writer


def on_a_server(folder: Path, client: Any, **settings: Any) -> Workspace:
    """A workspace whose index is a server that this client of qdrant-client speaks to, or stands for."""
    from provenance import Workspace
    from provenance.index.server import ServerIndex

    if not folder.exists():
        Workspace.create(folder, index_url="http://127.0.0.1:6333").close()
    workspace = Workspace.open(folder, **settings)
    workspace.__dict__["index"] = ServerIndex(client, url="http://127.0.0.1:6333", retry_wait_seconds=0.001)
    return workspace
