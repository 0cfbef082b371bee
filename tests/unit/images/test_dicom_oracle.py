"""Every file that pydicom and pydicom-data ship: after the chain the same pixels as pydicom's; or why not."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

if not os.environ.get("CI"):  # there it is installed, or the tests are broken
    for name in ("pydicom", "gdcm", "openjpeg", "data_store"):
        pytest.importorskip(name, reason="needs the extra dicom and pydicom-data")

import data_store
import pydicom

from provenance.images.decode import frames_of
from provenance.images.dicomgrey import PERCENTILES
from provenance.images.dicomheader import is_dicom
from provenance.images.frames import BadInput, Reading, rgb_of
from provenance.vocabulary import RejectReason

ROOTS = (Path(pydicom.__file__).parent / "data/test_files", Path(data_store.__file__).parent / "data")
FILES = sorted((root, path) for root in ROOTS for path in root.rglob("*") if path.is_file())
SYNTAXES = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
TAKES_ALL = Reading(burned_in=True)


def decoded(path):
    """What pydicom makes of a file: the data set and its frames; ``None``: it does not decode it."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings(action="ignore"):
        try:
            head = path.read_bytes()[:512]
            dataset = pydicom.dcmread(path, force=is_dicom(head))
            if head[128:132] != b"DICM":  # a bare data set: as it is encoded
                is_implicit, is_little = dataset.original_encoding
                dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(SYNTAXES[bool(is_implicit), bool(is_little)])
            pixels = dataset.pixel_array
        except Exception:  # noqa: BLE001
            return None
    frames = pixels if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels[None]
    return dataset, frames


def flat(dataset, place):
    """A data set with what its functional groups say of one frame in the places where single-frame files say it."""
    shared, own = (dataset.get(f"{kind}FunctionalGroupsSequence") for kind in ("Shared", "PerFrame"))
    groups = [*(shared or [])[:1], *(own or [])[place : place + 1]]
    told = copy.copy(dataset)
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name, []):
                told.update({element.tag: element for element in item})
    return told


def read(path):
    """The frames of a file, or why there are none."""
    try:
        return list(frames_of(path.read_bytes(), path.name, TAKES_ALL)), None
    except BadInput as refused:
        return [], refused


def by_the_chain(dataset, frame):
    """8 bits by the chain as it is documented, with pydicom's own functions; before they are rounded."""
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        coloured = apply_color_lut(frame, dataset)[..., :3]
        return coloured >> (8 * coloured.dtype.itemsize - 8)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        return frame >> (dataset.BitsStored - 8) if dataset.BitsStored > 8 else frame
    values = apply_modality_lut(frame, dataset)
    is_rescaled = values is not frame and (dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")) != (1, 0)
    table = dataset.get("VOILUTSequence")
    if table:
        made = apply_voi_lut(values, dataset)
        levels = made / (2.0 ** table[0].LUTDescriptor[2] - 1)
    elif "WindowWidth" in dataset:
        made = apply_voi_lut(values, dataset)
        bits, is_signed = dataset.BitsStored, dataset.PixelRepresentation
        ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
        if dataset.get("ModalityLUTSequence"):
            ends = (0, 2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1)
        elif "RescaleSlope" in dataset:
            slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
            ends = ends[0] * slope + intercept, ends[1] * slope + intercept
        levels = (made - ends[0]) / (ends[1] - ends[0])
    else:
        if dataset.BitsStored <= 8 and not is_rescaled:
            low, high = 0, 2**dataset.BitsStored - 1
        else:
            counted = frame
            if "PixelPaddingValue" in dataset:
                counted = frame[frame != dataset.PixelPaddingValue]
            low, high = np.percentile(apply_modality_lut(counted, dataset), PERCENTILES)
        levels = np.clip((values.astype(float) - low) / max(high - low, 1e-37), 0, 1)
    levels = levels * 255
    return 255 - levels if kind == "MONOCHROME1" else levels


@pytest.mark.parametrize(("root", "path"), FILES, ids=[path.relative_to(root).as_posix() for root, path in FILES])
def test_a_file_has_the_pixels_that_pydicom_gives_it(root, path):
    expected = decoded(path)
    frames, refused = read(path)
    if refused is not None:
        assert expected is None or refused.reason is RejectReason.SKIPPED, refused.detail
        return
    assert expected is not None, "more than pydicom reads"
    dataset, wanted = expected
    assert len(frames) == len(wanted)
    for place, (frame, values) in enumerate(zip(frames, wanted, strict=True)):
        made = by_the_chain(flat(dataset, place), values)
        wanted_rgb = rgb_of(np.rint(made).astype(np.uint8)) if made.ndim == 2 else made
        got = rgb_of(frame.pixels).astype(int)
        different = got != wanted_rgb
        if made.ndim == 2:  # a half may be rounded either way
            different &= (np.abs(made - np.floor(made) - 0.5) > 1e-6)[..., None]
        assert not different.any(), (different.mean(), np.abs(got - wanted_rgb).max())
