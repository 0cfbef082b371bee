"""DICOM files as tests need them, made with pydicom; where it is not installed, what asks for them is skipped."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

if not os.environ.get("CI"):  # there it is installed, or the tests are broken
    for name in ("pydicom", "gdcm", "openjpeg", "data_store"):
        pytest.importorskip(name, reason="needs the extra dicom and pydicom-data")

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

__all__ = [
    "Dataset",
    "DeflatedExplicitVRLittleEndian",
    "Sequence",
    "in_syntaxes",
    "saved",
    "scan",
    "slice_of",
    "written",
]
STORED = ExplicitVRLittleEndian


def slice_of(seed: int, side: int = 48) -> np.ndarray:
    """A smooth random slice in 12 bits."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 4096, (6, 6)).astype(np.float32))
    return np.clip(np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)), 0, 4095).astype(np.uint16)


def scan(values: np.ndarray | None, **elements) -> FileDataset:
    """A CT slice (rows, columns), frames of it (n, rows, columns), or colours (rows, columns, 3); or no image."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = STORED
    meta.MediaStorageSOPClassUID = elements.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = elements.get("SOPInstanceUID", "1.2.3.4")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = CTImageStorage, "1.2.3.4", "CT"
    if values is not None:
        is_colour = values.shape[-1] == 3 and values.ndim > 2
        made.SamplesPerPixel = 3 if is_colour else 1
        if is_colour:
            made.PlanarConfiguration = 0
        elif values.ndim == 3:
            made.NumberOfFrames = len(values)
        made.Rows, made.Columns = values.shape[-3:-1] if is_colour else values.shape[-2:]
        made.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
        made.BitsAllocated = 8 * values.dtype.itemsize
        made.BitsStored = elements.pop("BitsStored", made.BitsAllocated)
        made.HighBit = made.BitsStored - 1
        made.PixelRepresentation = int(values.dtype.kind == "i")
        made.PixelData = values.tobytes() + bytes(values.nbytes % 2)
        made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def written(made: Dataset) -> bytes:
    """The bytes of its file."""
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def in_syntaxes(made: FileDataset) -> dict[str, bytes]:
    """One grey image in every lossless transfer syntax that can be written here."""
    from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

    files = {"explicit": written(made)}
    for name, syntax in (("implicit", ImplicitVRLittleEndian), ("deflated", DeflatedExplicitVRLittleEndian)):
        made.file_meta.TransferSyntaxUID = syntax
        files[name] = saved(made)
    made.file_meta.TransferSyntaxUID = STORED
    for name, syntax in (("RLE", RLELossless), ("JPEG 2000", JPEG2000Lossless)):
        packed = _again(files["explicit"])
        packed.compress(syntax, generate_instance_uid=False)
        files[name] = written(packed)
    files |= {name: _by_gdcm(files["explicit"], name) for name in ("JPEGLosslessProcess14_1", "JPEGLSLossless")}
    swapped = _again(files["explicit"])
    swapped.PixelData = np.frombuffer(swapped.PixelData, "<u2").byteswap().tobytes()
    swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    files["big endian"] = saved(swapped, is_little=False)
    return files


def _again(data: bytes) -> FileDataset:
    import pydicom

    return pydicom.dcmread(io.BytesIO(data))


def saved(made: FileDataset, *, is_little: bool = True) -> bytes:
    """The bytes of its file in the syntax that its meta information names."""
    file = io.BytesIO()
    again = Dataset()
    again.update(made)
    again.file_meta, again.preamble = made.file_meta, bytes(128)
    is_implicit = made.file_meta.TransferSyntaxUID.is_implicit_VR
    again.save_as(file, implicit_vr=is_implicit, little_endian=is_little, enforce_file_format=True)
    return file.getvalue()


def _by_gdcm(data: bytes, syntax: str) -> bytes:
    import tempfile
    from pathlib import Path

    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        before, behind = Path(folder, "before"), Path(folder, "behind")
        before.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(before))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(behind))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return behind.read_bytes()
