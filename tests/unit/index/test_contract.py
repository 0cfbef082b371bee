"""Opening by URL, ids and digests, and what an import costs."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from provenance.errors import UsageError
from provenance.index import CollectionSpec, checked_vectors, open_index, point_id, vector_digest


def test_point_ids_depend_on_image_and_space_and_never_change() -> None:
    assert point_id("sha256:aa", "space:bb") == "e5bb08b5-cf4a-5f81-85c5-e95c39a8f2e8"
    assert len({point_id("a", "b"), point_id("a", "c"), point_id("b", "a"), point_id("ab", "")}) == 4


def test_the_vector_digest_is_over_little_endian_bytes() -> None:
    vector = np.array([[0.6, -0.8]], dtype=np.float32)
    wanted = hashlib.sha256(bytes.fromhex("9a99193fcdcc4cbf")).hexdigest()
    assert vector_digest(vector) == wanted
    assert vector_digest(vector.astype(">f4")) == wanted
    assert vector_digest(np.repeat(vector, 2, axis=1)[:, ::2]) == wanted


def test_checked_vectors_are_contiguous_and_unchanged() -> None:
    vectors = np.eye(4, dtype=np.float32).reshape(2, 2, 4)[::-1]
    checked = checked_vectors(vectors, CollectionSpec("set", 4, 2))
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, vectors)


@pytest.mark.parametrize("url", ["", "local:", "ftp://host", "http:", "C:\\index", "qdrant"])
def test_a_url_that_names_no_engine_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="names no vector index") as raised:
        open_index(url)
    assert "local:PATH" in raised.value.hint


def test_a_named_memory_store_is_the_same_each_time() -> None:
    with open_index("memory:here") as index:
        index.create(CollectionSpec("set", 3))
        identity = index.store_uuid
    with open_index("memory:here") as again, open_index("memory:") as other:
        assert (again.collections(), again.store_uuid) == (["set"], identity)
        assert (other.collections(), other.store_uuid == identity) == ([], False)


def test_importing_the_room_imports_no_engine() -> None:
    code = "import sys, provenance.index; print({'qdrant_edge', 'qdrant_client', 'grpc', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
