"""What goes on record of a DICOM header: docs/privacy.md lists each value with its use, and there are no others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from provenance.vocabulary import MODALITIES, ImageHeader, TechnicalHeader

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from provenance.images.dicomheader import Header

_DIRECTIONS, _COORDINATES = 6, 3
_MOST = 1e9


def kept(header: Header, number: int, window: str, decoder: str) -> ImageHeader:
    """Of one frame: who, which study and series (for keyed hashes), and the technical values that are kept."""
    from pydicom._uid_dict import UID_dictionary

    elements = header.elements
    kind, modality = str(elements.get("SOPClassUID") or ""), str(elements.get("Modality") or "")
    rows, columns = _of_frame(elements, number, "PixelMeasuresSequence", "PixelSpacing", 2) or (None, None)
    thickness = _of_frame(elements, number, "PixelMeasuresSequence", "SliceThickness", 1) or (None,)
    technical = TechnicalHeader(
        decoder=decoder,
        shown_in=window,
        transfer_syntax=header.syntax if header.syntax in UID_dictionary else "",
        sop_class=kind if kind in UID_dictionary else "",
        modality=modality if modality in MODALITIES else "",
        slice_position=_position(elements, number),
        slice_thickness=thickness[0],
        row_spacing=rows,
        column_spacing=columns,
    )
    patient, study, series = (
        str(elements.get(word) or "").strip() for word in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    return ImageHeader(patient, study, series, technical)


def _position(elements: Dataset, number: int) -> float | None:
    """Where a slice lies along the direction across it, in mm (PS3.3 C.7.6.2.1.1)."""
    point = _of_frame(elements, number, "PlanePositionSequence", "ImagePositionPatient", _COORDINATES)
    axes = _of_frame(elements, number, "PlaneOrientationSequence", "ImageOrientationPatient", _DIRECTIONS)
    if point is None or axes is None:
        return None
    across = np.cross(axes[:_COORDINATES], axes[_COORDINATES:])
    return round(float(np.dot(across, point)), 3)


def _of_frame(elements: Dataset, number: int, sequence: str, keyword: str, values: int) -> list[float] | None:
    """Finite numbers of a frame's functional group, the shared one, or the file itself; ``None``: it has none."""
    groups = [
        *elements.get("PerFrameFunctionalGroupsSequence", [])[number - 1 : number],
        *elements.get("SharedFunctionalGroupsSequence", [])[:1],
    ]
    items = [item for group in groups for item in group.get(sequence, [])[:1]]
    for item in (*items, elements):
        value = item.get(keyword)
        try:
            numbers = [float(value)] if values == 1 else [float(each) for each in value]
        except (TypeError, ValueError):
            continue
        if len(numbers) == values and all(math.isfinite(each) and abs(each) < _MOST for each in numbers):
            return numbers
    return None
