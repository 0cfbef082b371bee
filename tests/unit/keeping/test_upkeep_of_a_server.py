"""Reconcile looks after how a server keeps collections: what they allow, and what an administrator is told of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from qdrant_client import QdrantClient, grpc

from provenance import Workspace
from provenance.vocabulary import Membership
from tests.filled import fill, made_up
from tests.servers.fake import FakeQdrant

if TYPE_CHECKING:
    from pathlib import Path

STRICT = grpc.StrictModeConfig(
    enabled=True, search_allow_exact=False, max_query_limit=50, unindexed_filtering_retrieve=False
)


@pytest.mark.parametrize("way", ["url", "grpc_url"])
def test_collections_made_under_rules_that_forbid_their_use_are_allowed_it(tmp_path: Path, way: str) -> None:
    with (
        FakeQdrant(strict=STRICT) as server,
        Workspace.create(tmp_path / "ws", index_url=getattr(server, way)) as opened,
    ):
        fill(opened, "used", made_up(1, 70, 8), Membership.USED)
        for held in server.collections.values():  # as a version made them that asked for nothing of its own
            held.made.strict_mode_config.CopyFrom(STRICT)
            held.made.metadata.clear()
        report = opened.reconcile()
        assert report.is_clean
        assert report.repaired == 2
        again = opened.reconcile()
        assert (again.is_clean, again.repaired, again.findings) == (True, 0, ())
        for held in server.collections.values():
            assert held.made.strict_mode_config.search_allow_exact
            assert held.made.strict_mode_config.enabled  # the rules that are not ours hold on
            assert held.made.metadata["software"].string_value == "provenance"


def test_a_label_tells_ids_and_names_only_where_it_may(tmp_path: Path) -> None:
    """Several catalogs on one server: each collection says whose it is; a repair gives old ones the same."""
    with FakeQdrant() as server:
        for name in ("one", "two"):
            with Workspace.create(tmp_path / name, index_url=server.url) as opened:
                fill(opened, f"clinic-{name}", made_up(1, 5, 8), Membership.USED)
        client = QdrantClient(url=server.url, check_compatibility=False)
        labels = [client.get_collection(f"provenance_{key}").config.metadata or {} for key in _keys(client)]
        assert "clinic" not in json.dumps(labels)
        for name in ("one", "two"):
            with Workspace.open(tmp_path / name) as opened:
                (mine,) = [each for each in labels if each["catalog"] == opened.catalog.catalog_uuid]
                assert mine["set"] == opened.catalog.dataset(f"clinic-{name}").dataset_id
                assert mine["space"] == "synthetic"
        with Workspace.open(tmp_path / "two", index_names=True) as opened:
            assert opened.reconcile().is_clean
        labels = [client.get_collection(f"provenance_{key}").config.metadata or {} for key in _keys(client)]
        assert "clinic-two" in [each["set"] for each in labels]
        assert "clinic-one" not in json.dumps(labels)
        client.close()


def _keys(client: QdrantClient) -> list[str]:
    names = [each.name for each in client.get_collections().collections]
    return sorted(name.removeprefix("provenance_") for name in names if name.startswith("provenance_"))
