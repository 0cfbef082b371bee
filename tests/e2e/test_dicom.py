"""The whole job on DICOM, and that nothing of a header but the listed values stays anywhere."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.runner import refused, run
from tests.scans import Dataset, scan, slice_of, written

if TYPE_CHECKING:
    from pathlib import Path

PLANTED = ("PLANTEDNAME", "MRN4711", "19310407", "1.2.826.4711", "StAnywhere", "PrivateWord", "ACC0815")


def planted(seed: int, patient: int, place: int, **more: object) -> bytes:
    """A slice whose header holds every kind of thing that names somebody."""
    made = scan(
        slice_of(seed),
        BitsStored=12,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=1000,
        WindowWidth=4000,
        PatientName=f"PLANTEDNAME^{patient}",
        PatientID=f"MRN4711-{patient}",
        PatientBirthDate="19310407",
        StudyDate="19310407",
        AccessionNumber="ACC0815",
        InstitutionName="StAnywhere",
        StudyInstanceUID=f"1.2.826.4711.{patient}",
        SeriesInstanceUID=f"1.2.826.4711.{patient}.1",
        SOPInstanceUID=f"1.2.826.4711.{patient}.1.{place}",
        ImagePositionPatient=[0, 0, 5 * place],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        SliceThickness=5,
        PixelSpacing=[0.5, 0.75],
        **more,
    )
    made.private_block(0x0011, "PrivateWord", create=True).add_new(1, "LO", "PrivateWord of PLANTEDNAME")
    item = Dataset()
    item.PatientName = "PLANTEDNAME"
    made.OtherPatientIDsSequence = [item]
    return written(made)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two sets of three patients each, without extensions, and what is no image among them."""
    for name, first in (("used", 0), ("other", 3)):
        for patient in range(first, first + 3):
            folder = tmp_path / "study" / name / f"D{patient}"
            folder.mkdir(parents=True)
            for place in range(3):
                (folder / f"I{place}").write_bytes(planted(10 * patient + place, patient, place))
    used = tmp_path / "study" / "used"
    report = scan(None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", PatientName="PLANTEDNAME", Modality="SR")
    (used / "D0" / "SR").write_bytes(written(report))
    (used / "D0" / "LOC").write_bytes(planted(90, 0, 9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    (used / "D1" / "CUT").write_bytes(planted(91, 1, 9)[:-300])
    (used / "D1" / "SC").write_bytes(planted(92, 1, 9, BurnedInAnnotation="YES"))
    release = tmp_path / "study" / "generated"
    release.mkdir()
    for place in range(4):
        (release / f"G{place}").write_bytes(
            (used / "D0" / "I0").read_bytes() if not place else written(scan(slice_of(70 + place)))
        )
    return tmp_path / "study"


def everything_in(folder: Path) -> bytes:
    """Every byte below, packed ones unpacked too."""
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        found.append(data)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found += [archive.read(name) for name in archive.namelist()]
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                found += [file.read() for each in archive if (file := archive.extractfile(each)) is not None]
        elif data.startswith(b"\x1f\x8b"):
            found.append(gzip.decompress(data))
    return b"\0".join(found)


@pytest.mark.slow
def test_of_a_header_only_the_listed_values_stay_anywhere(study: Path, tmp_path: Path, tiny_backbone: Path) -> None:
    workspace, out = tmp_path / "ws", tmp_path / "out"
    out.mkdir()
    said = [run(workspace, "init", "--backbone-file", str(tiny_backbone))]
    by_patient = ("--group-by", "patient")
    said.append(
        run(
            workspace,
            "-v",
            "ingest",
            str(study / "used"),
            "--set",
            "used",
            "--membership",
            "used",
            *by_patient,
            "--json",
        )
    )
    report = json.loads(said[-1].stdout)
    counts = report["counts"]
    assert (counts["added"], counts["rejected"], counts["skipped"]) == (9, 2, 2)
    assert sorted(one["reason"] for one in report["rejects"]) == ["quarantined", "skipped", "skipped", "truncated"]
    for name, more in (
        ("other", ("--set", "other", "--membership", "not-used", *by_patient)),
        ("generated", ("--release", "r", "--generator", "g")),
    ):
        said.append(run(workspace, "ingest", str(study / name), *more))
    said.append(run(workspace, "audit", "r", "--only", "copies", "--json"))
    audit = json.loads(said[-1].stdout)["audit_id"]
    shown = json.loads(run(workspace, "sets", "show", "used", "--json").stdout)
    assert shown["modality"] == "CT"
    said.append(run(workspace, "report", audit, "--output", str(out / "report.html")))
    said.append(run(workspace, "export", audit, "--format", "csv", "--output", str(out / "copies.csv")))
    said.append(run(workspace, "export", "used", "--format", "parquet", "--output", str(out / "used.parquet")))
    said.append(run(workspace, "backup", str(out / "backup.zip")))
    said.append(run(tmp_path / "again", "restore", str(out / "backup.zip")))
    texts = "".join(result.stdout + result.stderr for result in said).encode()
    held = everything_in(workspace) + everything_in(out) + everything_in(tmp_path / "again") + texts
    assert [word for word in PLANTED if word.encode() in held] == []
    assert b"1.2.840.10008.5.1.4.1.1.2" in held  # the search finds what is there


def test_groups_positions_and_quarantine(study: Path, make_workspace) -> None:
    workspace = make_workspace()
    report = workspace.ingest(study / "used", set="s", membership="used", group_by="series", allow_burned_in=True)
    assert (report.counts["added"], report.counts["rejected"]) == (10, 1)
    catalog = workspace.catalog
    dataset = catalog.dataset("s")
    assert sorted(catalog.group_sizes(dataset.dataset_id).values()) == [3, 3, 4]
    keys = catalog.lookup(catalog.member_ids(dataset.dataset_id)).values()
    headers = catalog.image_headers(list(keys))
    assert len({header.series_key for header in headers.values()}) == 3
    positions = sorted(header.technical.slice_position for header in headers.values())
    assert positions == sorted([0.0, 5.0, 10.0] * 3 + [45.0])
    first = next(iter(headers.values())).technical
    assert (first.modality, first.slice_thickness, first.row_spacing, first.column_spacing) == ("CT", 5.0, 0.5, 0.75)
    assert first.shown_in == "1000,4000"
    assert first.transfer_syntax == "1.2.840.10008.1.2.1"
    again = workspace.ingest(study / "used", set="s", membership="used", group_by="series", allow_burned_in=True)
    assert again.counts["added"] == 0


def test_slices_are_chosen_by_position_series_by_series(study: Path, make_workspace) -> None:
    workspace = make_workspace()
    for rule, taken in (("middle", {5.0}), ("every:2", {0.0, 10.0})):
        report = workspace.ingest(study / "other", set=rule, membership="used", slices=rule)
        ids = workspace.catalog.member_ids(workspace.catalog.dataset(rule).dataset_id)
        headers = workspace.catalog.image_headers(list(workspace.catalog.lookup(ids).values())).values()
        assert {header.technical.slice_position for header in headers} == taken
        assert (report.counts["added"], report.counts["skipped"]) == (3 * len(taken), 3 * (3 - len(taken)))
        assert ["slices left out" in one.name for one in report.rejections] == [True]
        again = workspace.ingest(study / "other", set=rule, membership="used", slices=rule)
        assert (again.counts["added"], again.counts["known"]) == (0, 3 * len(taken))


def test_one_window_for_a_workspace_and_another_space_for_another_window(
    study: Path, tmp_path: Path, tiny_backbone: Path
) -> None:
    source = (str(study / "used"), "--set", "s", "--membership", "used")
    spaces = []
    for name, window in (("a", "lung"), ("b", "40,400"), ("c", "file")):
        run(tmp_path / name, "init", "--backbone-file", str(tiny_backbone), "--window", window)
        spaces.append(json.loads(run(tmp_path / name, "ingest", *source, "--json").stdout)["space_id"])
    assert len(set(spaces)) == 3
    assert "shown in the window lung" in refused(tmp_path / "a", "ingest", *source, "--window", "bone", code=8)
    assert "give one of lung" in refused(tmp_path / "d", "init", "--window", "x")
