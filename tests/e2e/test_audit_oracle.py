"""An independent oracle: every S_u, S_n, T, label and nearest image again from the exported embeddings, in NumPy."""

from __future__ import annotations

import csv
import gc
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from provenance import AuditRequest, IngestRequest, Policy, Workspace, run_audit, run_ingest
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.errors import NotFoundError
from provenance.exports import export_audit_csv, export_dataset_parquet
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Membership, Population, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.audit import AuditReport

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")

MakeWorkspace = Callable[..., Workspace]
SETS = {"used": Membership.USED, "not_used": Membership.NOT_USED, "unknown": Membership.UNKNOWN}


def ingest_cohort(workspace: Workspace, root: Path, order: tuple[str, ...] = ("used", "not_used", "unknown")) -> None:
    backbone = workspace.load_backbone()
    for name in order:
        request = IngestRequest((root / f"real_{name}",), name, DatasetKind.SET, SETS[name])
        run_ingest(workspace, request, backbone)
    release = IngestRequest((root / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(workspace, release, backbone)


@pytest.fixture(params=["local", "memory", "server"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def workspace_of(make_workspace: MakeWorkspace) -> MakeWorkspace:
    """A workspace on one of the engines; the server's adapter talks to the client library's own local mode."""

    def make(engine: str, name: str = "workspace", **settings: Any) -> Workspace:
        if engine == "local":
            return make_workspace(name, **settings)
        if engine == "memory":
            return make_workspace(name, index_url=f"memory:{uuid.uuid4().hex}", **settings)
        workspace = make_workspace(name, index_url="http://127.0.0.1:6333", **settings)
        workspace.__dict__["index"] = local_mode_server()
        return workspace

    return make


def local_mode_server() -> Any:
    from qdrant_client import QdrantClient

    from provenance.index.server import ServerIndex

    return ServerIndex(QdrantClient(":memory:"))


@dataclass
class Oracle:
    """The paper's equations (2) to (4), written down a second time over exported embeddings."""

    ids: dict[str, list[str]]
    vectors: dict[str, np.ndarray[Any, np.dtype[np.float64]]]

    @classmethod
    def read(cls, workspace: Workspace, folder: Path, names: tuple[str, ...]) -> Oracle:
        ids, vectors = {}, {}
        for name in names:
            file = folder / f"{name}-{uuid.uuid4().hex}.parquet"
            export_dataset_parquet(workspace, workspace.catalog.dataset(name), file)
            table = pq.read_table(file)
            ids[name] = table["image_id"].to_pylist()
            vectors[name] = np.array(table["embedding"].to_pylist(), dtype=np.float64)
        return cls(ids, vectors)

    def maxima(self, subjects: str, references: str) -> tuple[Any, list[str]]:
        cosines = np.clip(self.vectors[subjects] @ self.vectors[references].T, -1, 1)
        nearest = []
        for row in cosines:
            ties = [i for i, c in zip(self.ids[references], row, strict=True) if c > row.max() - 1e-12]
            nearest.append(min(ties))
        return cosines.max(axis=1), nearest

    def cosines(self, subjects: str, references: tuple[str, ...]) -> Any:
        stacked = np.concatenate([self.vectors[name] for name in references])
        return self.vectors[subjects] @ stacked.T


def verdict_rows(workspace: Workspace, report: AuditReport, folder: Path) -> dict[str, dict[str, str]]:
    file = folder / f"{report.audit.audit_id}.csv"
    export_audit_csv(workspace, report.audit, file)
    with file.open(newline="", encoding="utf-8") as stream:
        return {row["subject_id"]: row for row in csv.DictReader(stream)}


@pytest.mark.parametrize("alpha", [0.5, -0.3])
@pytest.mark.parametrize("population", list(Population))
def test_generated_subjects_equal_the_oracle(
    workspace_of: MakeWorkspace, engine: str, cohort: Path, tmp_path: Path, population: Population, alpha: float
) -> None:
    workspace = workspace_of(engine)
    ingest_cohort(workspace, cohort)
    policy = Policy(rule=MuAlphaSigmaRule(alpha, population), top_k=3)
    report = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",), policy=policy))
    oracle = Oracle.read(workspace, tmp_path, ("release", "used", "not_used"))
    s_used, nearest_used = oracle.maxima("release", "used")
    s_not_used, _ = oracle.maxima("release", "not_used")
    scores = np.concatenate([s_used, s_not_used])
    if population is Population.PAIRWISE:
        scores = oracle.cosines("release", ("used", "not_used")).ravel()
    threshold = scores.mean() + alpha * scores.std()
    assert report.audit.population_count == len(scores)
    assert report.audit.mu == pytest.approx(scores.mean(), abs=1e-9)
    assert report.audit.sigma == pytest.approx(scores.std(), abs=1e-9)
    assert report.audit.threshold == pytest.approx(threshold, abs=2e-9)
    rows = verdict_rows(workspace, report, tmp_path)
    assert sorted(rows) == oracle.ids["release"]
    labels = set()
    for position, image_id in enumerate(oracle.ids["release"]):
        row = rows[image_id]
        expected = "used" if s_used[position] > s_not_used[position] and s_used[position] > threshold else "not_used"
        labels.add(expected)
        assert row["label"] == expected
        assert float(row["s_used"]) == pytest.approx(s_used[position], abs=1e-12)
        assert float(row["s_not_used"]) == pytest.approx(s_not_used[position], abs=1e-12)
        if s_used[position] > s_not_used[position]:
            assert row["nearest_id"] == nearest_used[position]
    assert labels == {"used", "not_used"}


def test_real_subjects_equal_the_oracle(workspace_of: MakeWorkspace, engine: str, cohort: Path, tmp_path: Path) -> None:
    workspace = workspace_of(engine)
    ingest_cohort(workspace, cohort)
    policy = Policy(subject=Subject.REAL)
    report = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",), ("unknown",), policy))
    oracle = Oracle.read(workspace, tmp_path, ("release", "used", "not_used", "unknown"))
    expected: dict[str, Any] = {}
    for name in ("used", "not_used", "unknown"):
        scores, nearest = oracle.maxima(name, "release")
        expected |= {i: (s, n) for i, s, n in zip(oracle.ids[name], scores, nearest, strict=True)}
    values = np.array([score for score, _ in expected.values()])
    threshold = values.mean() + 0.5 * values.std()
    assert report.audit.population_count == len(values) == 28
    assert report.audit.threshold == pytest.approx(threshold, abs=2e-9)
    rows = verdict_rows(workspace, report, tmp_path)
    assert rows.keys() == expected.keys()
    for image_id, (score, nearest) in expected.items():
        assert float(rows[image_id]["score"]) == pytest.approx(score, abs=1e-12)
        assert rows[image_id]["label"] == ("used" if score > threshold else "not_used")
        assert rows[image_id]["nearest_id"] == nearest


def test_only_unknown_reals_is_the_inference_of_the_paper(
    make_workspace: MakeWorkspace, cohort: Path, tmp_path: Path
) -> None:
    workspace = make_workspace()
    ingest_cohort(workspace, cohort)
    report = run_audit(workspace, AuditRequest("release", against=("unknown",)))
    oracle = Oracle.read(workspace, tmp_path, ("release", "unknown"))
    scores, _ = oracle.maxima("release", "unknown")
    threshold = scores.mean() + 0.5 * scores.std()
    assert report.audit.population_count == 9
    rows = verdict_rows(workspace, report, tmp_path)
    for image_id, score in zip(oracle.ids["release"], scores, strict=True):
        assert rows[image_id]["label"] == ("used" if score > threshold else "not_used")
        assert rows[image_id]["s_not_used"] == rows[image_id]["s_used"] == ""
        assert float(rows[image_id]["s_against"]) == pytest.approx(score, abs=1e-12)


def test_verdict_digest_does_not_depend_on_engine_order_or_split(
    workspace_of: MakeWorkspace, cohort: Path, tmp_path: Path
) -> None:
    request = AuditRequest("release", ("used",), ("not_used",))
    digests = set()
    orders = [("used", "not_used", "unknown"), ("unknown", "not_used", "used"), ("not_used", "used", "unknown")]
    for engine, order in zip(("local", "memory", "server"), orders, strict=True):
        workspace = workspace_of(engine, engine)
        ingest_cohort(workspace, cohort, order)
        digests.add(run_audit(workspace, request).audit.verdict_digest)
    workspace = workspace_of("local", "split")
    ingest_cohort(workspace, cohort)
    backbone = workspace.load_backbone()
    for part, prefix in (("first", "img_000[0-6]"), ("second", "img_00(0[4-9]|1)")):  # they share 4, 5 and 6
        listed = tmp_path / f"{part}.txt"
        names = sorted(p for p in (cohort / "real_used").iterdir() if re.match(prefix, p.name))
        listed.write_text("\n".join(map(str, names)))
        run_ingest(workspace, IngestRequest((listed,), part, DatasetKind.SET, Membership.USED), backbone)
    split = AuditRequest("release", ("second", "first"), ("not_used",))
    digests.add(run_audit(workspace, split).audit.verdict_digest)
    assert len(digests) == 1
    other = run_audit(
        workspace, AuditRequest("release", ("used",), ("not_used",), policy=Policy(rule=MuAlphaSigmaRule(0.7)))
    )
    assert other.audit.verdict_digest not in digests


def test_pairwise_population_counts_shared_images_once(
    make_workspace: MakeWorkspace, cohort: Path, tmp_path: Path
) -> None:
    workspace = make_workspace()
    ingest_cohort(workspace, cohort)
    backbone = workspace.load_backbone()
    again = IngestRequest((cohort / "real_used",), "again", DatasetKind.SET, Membership.USED)
    assert run_ingest(workspace, again, backbone).counts["copied"] == 12
    policy = Policy(rule=MuAlphaSigmaRule(population=Population.PAIRWISE))
    once = run_audit(workspace, AuditRequest("release", ("used",), policy=policy)).audit
    both = run_audit(workspace, AuditRequest("release", ("again", "used"), policy=policy)).audit
    assert (both.mu, both.sigma, both.population_count) == (once.mu, once.sigma, 9 * 12)
    assert both.verdict_digest == once.verdict_digest


@pytest.mark.postgres
def test_postgres_gives_the_verdicts_of_sqlite(make_workspace: MakeWorkspace, cohort: Path, postgres_url: str) -> None:
    digests = set()
    for name, url in (("sqlite", None), ("postgres", postgres_url)):
        workspace = make_workspace(name, catalog_url=url)
        ingest_cohort(workspace, cohort)
        for policy in (
            Policy(),
            Policy(subject=Subject.REAL),
            Policy(rule=MuAlphaSigmaRule(population=Population.PAIRWISE)),
        ):
            report = run_audit(workspace, AuditRequest("release", ("used",), ("not_used",), policy=policy))
            digests.add((policy.policy_id, report.audit.verdict_digest))
            stored = workspace.catalog.verdicts(report.audit.audit_id)
            assert [v.verdict_sha256 for v in stored] == [v.verdict_sha256 for v in report.verdicts]
    assert len(digests) == 3


@pytest.mark.parametrize("enabled", [True, False])
def test_an_audit_leaves_the_garbage_collector_as_it_was(
    make_workspace: MakeWorkspace, cohort: Path, enabled: bool
) -> None:
    workspace = make_workspace(threads=1)
    ingest_cohort(workspace, cohort)
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        run_audit(workspace, AuditRequest("release", ("used",)))
        assert gc.isenabled() is enabled
        with pytest.raises(NotFoundError):
            run_audit(workspace, AuditRequest("nobody", ("used",)))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
