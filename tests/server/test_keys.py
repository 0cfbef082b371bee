"""Keys of a real Qdrant: what a reader's, made as the documentation says, may and may not do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provenance.errors import VectorStoreError
from tests.runner import answer, raising, run
from tests.servers import cohorts, real

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.server, pytest.mark.slow]
SERVERS = Path(__file__).parents[2] / "docs" / "servers.md"
OWNER = "made-up-key-of-the-owner-0123456789"
AUDIT = ("audit", "leaky", "--used", "used", "--not-used", "fresh", "--score", "relative")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[real.Node]:
    node = real.one_node(tmp_path / "qdrant", SERVICE__API_KEY=OWNER, SERVICE__JWT_RBAC="true")
    node.start()
    yield node
    node.kill()


def readers_key() -> str:
    """What the program in the documentation prints."""
    found = re.search(r"```python\n(.*?)```", SERVERS.read_text("utf-8"), re.DOTALL)
    assert found
    words = [sys.executable, "-c", found[1]]
    variables = {**os.environ, "QDRANT_API_KEY": OWNER}
    return subprocess.run(words, env=variables, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_readers_key_serves_what_only_reads(
    node: real.Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.delenv("PROVENANCE_TEST_QDRANT_API_KEY", raising=False)
    monkeypatch.setattr(real, "API_KEY", OWNER)
    monkeypatch.setenv("PROVENANCE_QDRANT_API_KEY", OWNER)
    monkeypatch.setenv("PROVENANCE_QDRANT_API_KEY_HOST", "127.0.0.1")
    images = cohorts.save_leaky(tmp_path / "images")
    workspace = cohorts.begin(tmp_path / "ws", node.url if scheme == "http" else real.grpc_url_of(node.url))
    cohorts.ingest(workspace, images)
    before = answer(workspace, *AUDIT)
    more = cohorts.save(tmp_path / "new", range(900, 905))
    new = ("ingest", str(more), "--set", "new", "--membership", "unknown", "--backbone", cohorts.BACKBONE)

    monkeypatch.setenv("PROVENANCE_QDRANT_API_KEY", readers_key())
    assert cohorts.digests_in(answer(workspace, *AUDIT)) == cohorts.digests_in(before)
    assert {one["name"] for one in answer(workspace, "sets", "list")} == {"used", "fresh", "asked"}
    run(workspace, "reconcile", "--check-only")
    with pytest.raises(VectorStoreError, match="access is required") as raised:
        raising(workspace, *new)
    assert "may only read" in raised.value.hint

    monkeypatch.setenv("PROVENANCE_QDRANT_API_KEY", OWNER)
    run(workspace, *new)
    monkeypatch.setenv("PROVENANCE_QDRANT_API_KEY", readers_key() + "x")
    with pytest.raises(VectorStoreError) as raised:
        raising(workspace, "reconcile", "--check-only")
    assert raised.value.hint.startswith("check the API key")
