"""A small filled catalog, and makers of what goes into one."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from provenance.catalog import Catalog
from provenance.findings import Findings
from provenance.records import (
    AuditDataset,
    AuditRecord,
    Dataset,
    Generator,
    NeighborRecord,
    NewAudit,
    NewImage,
    VerdictRecord,
)
from provenance.vocabulary import ImageFacts, Label, Membership, Role, SourceItem, Space, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SPACE = Space("resnet50", "ab" * 32, {"version": 1, "mean": [0.485, 0.456, 0.406], "size": 224}, 2048)


def hexdigest(word: object) -> str:
    return hashlib.sha256(str(word).encode()).hexdigest()


@dataclass
class Stage:
    """A catalog with a set, a release and a space, and short ways to fill it."""

    catalog: Catalog
    dataset: Dataset
    release: Dataset
    collection: str
    release_collection: str
    run_id: str
    space: Space = SPACE

    def facts(self, number: object) -> ImageFacts:
        return ImageFacts(
            f"sha256:{hexdigest(number)}", f"sha256:{hexdigest(f'pixels {number}')}", 64, 48, "PNG", "L", 1000
        )

    def item(self, name: str, source: str | None = None, member: str | None = None, **changes: Any) -> SourceItem:
        return replace(SourceItem(name, source or f"/data/{name}", member, 1000, 111, 222, 333), **changes)

    def image(self, number: object, group: str | None = None, items: list[SourceItem] | None = None) -> NewImage:
        facts = self.facts(number)
        point_id = str(uuid.uuid5(uuid.NAMESPACE_URL, facts.image_id))
        found = [self.item(f"real/{number}.png")] if items is None else items
        return NewImage(facts, found, group, point_id, hexdigest(f"vector {number}"))

    def record(self, images: Iterable[NewImage], *, release: bool = False, acknowledge: bool = True) -> None:
        batch = list(images)
        dataset = self.release if release else self.dataset
        collection = self.release_collection if release else self.collection
        self.catalog.record_batch(dataset.dataset_id, collection, self.run_id, batch)
        if acknowledge:
            self.catalog.acknowledge(collection, [image.point_id for image in batch])

    def key(self, number: object) -> str:
        image_id = self.facts(number).image_id
        return self.catalog.lookup([image_id])[image_id]

    def audit(self, subjects: Iterable[object], neighbors: list[object], **changes: Any) -> AuditRecord:
        """Records an audit whose subjects all have the same neighbors, in order, from similarity 0.9 down."""
        self.catalog.ensure_policy("policy:1", "mu-alpha-sigma", {"alpha": 0.5})
        moment = datetime.now(UTC)
        values: dict[str, Any] = {
            "audit_id": uuid.uuid4().hex,
            "dataset_id": self.release.dataset_id,
            "subject": Subject.GENERATED,
            "rule": "mu-alpha-sigma",
            "policy_id": "policy:1",
            "space_id": self.space.space_id,
            "release_digest": "d",
            "mu": 0.1234567890123,
            "sigma": 0.25,
            "alpha": 0.5,
            "population_count": 2**40,
            "threshold": None,
            "verdict_digest": "v",
            "counts": {"used": 1},
            "findings": Findings.from_json({"top_k": 10}),
            "software_version": "1",
            "started_at": moment,
            "finished_at": moment,
            "duration_seconds": 1.5,
        }
        audit = AuditRecord(**(values | changes))
        evidence = [
            NeighborRecord(Role.USED, rank, self.key(number), 0.9 - rank / 100)
            for rank, number in enumerate(neighbors, 1)
        ]
        verdicts = [self.verdict(number, evidence) for number in subjects]
        played = [
            AuditDataset(self.release.dataset_id, Role.RELEASE, self.release.name, "d", 1),
            AuditDataset(self.dataset.dataset_id, Role.USED, self.dataset.name, "e", 2),
        ]
        self.catalog.record_audit(NewAudit(audit, played, verdicts=verdicts))
        return audit

    def verdict(self, number: object, neighbors: list[NeighborRecord], **changes: Any) -> VerdictRecord:
        values: dict[str, Any] = {
            "image_key": self.key(number),
            "subject_role": Role.RELEASE,
            "label": Label.USED,
            "score": 0.1 + 0.2,
            "s_used": 0.89,
            "s_not_used": None,
            "s_against": None,
            "threshold": 0.5,
            "p_value": None,
            "q_value": None,
            "near_threshold": False,
            "verdict_sha256": hexdigest(f"verdict {number}"),
            "neighbors": neighbors,
        }
        return VerdictRecord(**(values | changes))


def make_stage(catalog: Catalog) -> Stage:
    dataset = catalog.create_set("hospital", Membership.USED, "CT")
    release = catalog.create_release("gan-1", Generator("gan", "stylegan2", "3"), "CT")
    catalog.ensure_space(SPACE)
    real, generated = (catalog.ensure_collection(one.dataset_id, SPACE.space_id) for one in (dataset, release))
    run_id = catalog.start_run("ingest", dataset.dataset_id, SPACE.space_id, {"source": "/data"}, "1")
    return Stage(catalog, dataset, release, real, generated, run_id)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    with Catalog.open(catalog_url, create=True) as opened:
        yield opened


@pytest.fixture
def stage(catalog: Catalog) -> Stage:
    return make_stage(catalog)
