"""DICOM that was made here: the chain by hand, equal pixels in other syntaxes, and files that were made to break it."""

from __future__ import annotations

import resource
import struct
import time
import warnings
import zlib

import numpy as np
import pytest

from provenance.images.decode import frames_of
from provenance.images.dicomdir import DicomdirSource
from provenance.images.dicomheader import is_dicom
from provenance.images.frames import BadInput, Reading
from provenance.vocabulary import Canonical, Pages, Rejection, RejectReason
from tests.scans import Dataset, DeflatedExplicitVRLittleEndian, Sequence, in_syntaxes, saved, scan, slice_of, written

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def shown(made, **reading):
    """The pixels of the one frame of a data set."""
    (frame,) = frames_of(written(made), "", Reading(**reading))
    return frame.pixels


def failure(data, **reading):
    """What is said of bytes that are refused."""
    with pytest.raises(BadInput) as refused:
        list(frames_of(data, "", Reading(**reading)))
    return refused.value


def linear(values, center, width):
    """PS3.3 C.11.2.1.2.1, as it stands there."""
    made = np.empty(values.shape)
    for place, value in np.ndenumerate(values.astype(float)):
        if value <= center - 0.5 - (width - 1) / 2:
            made[place] = 0
        elif value > center - 0.5 + (width - 1) / 2:
            made[place] = 255
        else:
            made[place] = ((value - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.rint(made).astype(np.uint8)


def test_the_chain_is_rescale_then_the_first_window_then_inversion():
    made = scan(RAMP, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=[40, 500], WindowWidth=[400, 2000])
    wanted = linear(RAMP * 2.0 - 1024, 40, 400)
    assert np.array_equal(shown(made), wanted)
    made.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(shown(made), 255 - wanted)
    assert np.array_equal(shown(made, canonical=Canonical(window="lung")), 255 - linear(RAMP * 2.0 - 1024, -600, 1500))
    stated = shown(made, canonical=Canonical(window="500,1000"))
    assert np.array_equal(stated, 255 - linear(RAMP * 2.0 - 1024, 500, 1000))
    made.Modality = "MR"
    assert "one of CT" in failure(written(made), canonical=Canonical(window="lung")).detail


def test_without_a_window_it_is_the_percentiles_of_the_image():
    values = RAMP.astype(np.int16) - 2000
    low, high = np.percentile(values, (0.5, 99.5))
    wanted = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    assert np.array_equal(shown(scan(values)), wanted)
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(shown(scan(eight)), eight)


def test_the_same_pixels_in_another_transfer_syntax_are_the_same_pixels():
    files = in_syntaxes(scan(slice_of(1), BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024))
    digests = {name: next(frames_of(data)).facts().pixel_digest for name, data in files.items()}
    assert len(files) == 8
    assert len(set(digests.values())) == 1, digests
    bare = files["explicit"][132:]
    assert next(frames_of(bare)).facts().pixel_digest == digests["explicit"]


def test_frames_are_images_of_their_own_and_each_alone_is_the_same():
    made = written(scan(np.stack([slice_of(seed) for seed in range(5)]), BitsStored=12))
    frames = list(frames_of(made))
    assert [frame.image_id.partition("#")[2] for frame in frames] == list("12345")
    (third,) = frames_of(made, "", Reading(page=3))
    assert third.facts() == frames[2].facts()
    (first,) = frames_of(made, "", Reading(pages=Pages.FIRST))
    assert (first.picture.number, first.picture.left_out) == (None, 4)


NOT_TAKEN = {
    "annotations": {"BurnedInAnnotation": "YES"},
    "recognised": {"RecognizableVisualFeatures": "YES"},
    "secondary capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "a secondary capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"},
    "ultrasound": {"Modality": "US"},
}


@pytest.mark.parametrize("word", NOT_TAKEN)
def test_what_may_hold_a_name_in_its_pixels_is_quarantined_until_it_is_asked_for(word):
    data = written(scan(RAMP, **NOT_TAKEN[word]))
    refused = failure(data)
    assert refused.reason is RejectReason.QUARANTINED
    assert word in refused.detail
    assert len(list(frames_of(data, "", Reading(burned_in=True)))) == 1


def test_a_photograph_is_no_secondary_capture():
    """Its class, 77.1.4, begins with the 7 of that one."""
    assert len(list(frames_of(written(scan(RAMP, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4"))))) == 1


NO_IMAGES = {
    "Basic Text SR Storage": (None, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "Modality": "SR"}),
    "Segmentation Storage": (RAMP, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG"}),
    "localizer": (RAMP, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    "RT Structure Set Storage": (None, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"}),
}


@pytest.mark.parametrize("word", NO_IMAGES)
def test_what_is_no_image_is_skipped_by_its_kind(word):
    values, elements = NO_IMAGES[word]
    refused = failure(written(scan(values, **elements)))
    assert refused.reason is RejectReason.SKIPPED
    assert refused.detail == f"DICOM without an image: {word}"


def test_a_bare_data_set_is_recognised_and_what_looks_a_little_like_it_is_not():
    bare = written(scan(RAMP))[132:]
    assert is_dicom(bare[:512])
    assert not is_dicom(struct.pack("<HH2sH4s", 8, 5, b"CS", 4, b"ISO ") + bytes(100))
    assert not is_dicom(struct.pack("<HHI", 8, 0, 4) + bytes(100))
    assert not is_dicom(b"\x08\0\0\0" * 40)
    assert not is_dicom(b"")


def bomb_of_frames():
    made = scan(RAMP)
    made.NumberOfFrames = 2**31 - 1
    return written(made)


def bomb_of_rows():
    made = scan(RAMP)
    made.Rows = made.Columns = 65535
    return written(made)


def deflated_bomb():
    made = scan(RAMP)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = saved(made)
    at = data.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, wbits=-15)
    return data[:at] + packer.compress(bytes(100 * 2**20)) + packer.flush()


def nested(depth):
    """Sequences in sequences that pydicom would parse, each of undefined length."""
    head = written(scan(RAMP))
    at = head.index(b"\x28\0\x02\0US")
    begin = struct.pack("<HH2sHIHHI", 0x0028, 0x3010, b"SQ", 0, 2**32 - 1, 0xFFFE, 0xE000, 2**32 - 1)
    return head[:at] + begin * depth + head[at:]


def private_of_gigabytes():
    head = written(scan(RAMP))
    at = head.index(b"\x28\0\x02\0US")
    return head[:at] + struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 0xFFFFFFF0) + head[at:]


def many_elements():
    head = written(scan(RAMP))
    at = head.index(b"\x28\0\x02\0US")
    return head[:at] + struct.pack("<HH2sH", 9, 0x1001, b"LO", 0) * 500_000 + head[at:]


def frame_that_is_larger():
    """A JPEG 2000 whose frame is larger than its header says."""
    files = in_syntaxes(scan(slice_of(3, side=64), BitsStored=12))
    return files["JPEG 2000"].replace(
        struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 64), struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 32)
    )


HOSTILE = {
    "frames": (bomb_of_frames, RejectReason.TRUNCATED),
    "rows": (bomb_of_rows, RejectReason.OVERSIZED),
    "deflated": (deflated_bomb, RejectReason.OVERSIZED),
    "nested": (lambda: nested(5000), RejectReason.OVERSIZED),
    "private": (private_of_gigabytes, RejectReason.TRUNCATED),
    "elements": (many_elements, RejectReason.OVERSIZED),
    "larger frame": (frame_that_is_larger, RejectReason.BROKEN),
}


# Of 400,000 steps of Python a tracer makes twice the time: the measuring of coverage leaves those out.
@pytest.mark.parametrize(
    "word", [pytest.param(each, marks=pytest.mark.slow) if each == "elements" else each for each in HOSTILE]
)
def test_what_was_made_to_break_a_reader_is_refused_by_its_header(word):
    make, reason = HOSTILE[word]
    data = make()
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert failure(data).reason is reason
    assert time.process_time() - started < 2  # half a second, on a machine that has nothing else to do
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


@pytest.mark.parametrize(
    "mark", [b"MZ", b"\x7fELF", b"PK\x03\x04", b"\xcf\xfa\xed\xfe", b"#!/bin/sh", b"\x1f\x8b", b"<html>", b"%PDF"]
)
def test_a_preamble_that_is_a_program_or_an_archive_is_refused(mark):
    data = written(scan(RAMP))
    refused = failure(mark + data[len(mark) :])
    assert refused.reason is RejectReason.UNSUPPORTED
    assert "preamble" in refused.detail
    tiff = b"II*\0" + data[4:]
    assert len(list(frames_of(tiff))) == 1  # whole slides have a preamble that is a TIFF


def test_every_cut_is_told_and_no_name_is_in_what_is_said():
    data = written(scan(RAMP, PatientName="Doe^Jane", PatientID="MRN-4711", StudyDate="20250102"))
    for end in range(140, len(data) - 1, 7):
        with pytest.raises(BadInput) as refused:
            list(frames_of(data[:end]))
        assert refused.value.reason in (RejectReason.TRUNCATED, RejectReason.BROKEN)
        assert not {"Jane", "4711", "20250102"} & set(refused.value.detail.replace("'", " ").split())


def directory(folder, *file_ids):
    made = scan(None, SOPClassUID="1.2.840.10008.1.3.10")
    made.DirectoryRecordSequence = Sequence()
    for file_id in file_ids:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        with warnings.catch_warnings(action="ignore"):
            record.ReferencedFileID = file_id
        made.DirectoryRecordSequence.append(record)
    with warnings.catch_warnings(action="ignore"):
        (folder / "DICOMDIR").write_bytes(written(made))
    return DicomdirSource((folder / "DICOMDIR").resolve())


def test_a_dicomdir_names_files_of_its_own_folder_only(tmp_path):
    inside, outside = tmp_path / "disk", tmp_path / "secret.dcm"
    (inside / "A").mkdir(parents=True)
    (inside / "A" / "I1").write_bytes(b"x")
    outside.write_bytes(b"x")
    (inside / "A" / "LINK").symlink_to(outside)
    ids = (["A", "I1"], ["..", "secret.dcm"], ["A", "LINK"], ["A", "GONE"], str(outside))
    found = list(directory(inside, *ids))
    assert [isinstance(each, Rejection) for each in found] == [False, True, True, True, True]
    assert found[0].name == "A/I1"
    assert sum("outside" in each.detail for each in found[1:]) == 3
    data = (inside / "DICOMDIR").read_bytes()
    assert failure(data).detail == "DICOM without an image: Media Storage Directory Storage"
