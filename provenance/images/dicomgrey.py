"""From the values of a DICOM frame to 8 bits, by one chain: chain 1.

1. Stored values, sign and unused bits as the header says (pydicom).
2. Modality: the LUT of the file's first item, or ``value * slope + intercept``.
3. Window: the stated one (``Canonical.window``); else the file's first VOI LUT; else its first window, by the function
   that it names (PS3.3 C.11.2.1: LINEAR, LINEAR_EXACT, SIGMOID); else, for up to 8 bits without a modality step, all
   that these bits can hold; else the 0.5th to 99.5th percentile of the frame, padding left out.
4. To 255: ``rint``, half to even.
5. MONOCHROME1: 255 less the result.

Functional groups of a frame go before shared ones, and these before the file's own. Colour: YBR as pydicom turns it
into RGB, palettes through their tables, the highest 8 bits of more. Overlays, presentation states and colour profiles
are not applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from provenance.images.frames import BadInput, strips_of
from provenance.vocabulary import WINDOWS, RejectReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom.dataset import Dataset

    from provenance.images.frames import Pixels
    from provenance.vocabulary import Canonical

    Values = np.ndarray[Any, Any]

PERCENTILES = (0.5, 99.5)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_OF_FRAME = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
_OF_FILE = ("ModalityLUTSequence", "VOILUTSequence", "RescaleSlope", "RescaleIntercept")
_OF_WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")


class Shown(NamedTuple):
    """A frame in 8 bits, and the window that it is shown in, in words."""

    pixels: Pixels
    window: str


class _Window(NamedTuple):
    center: float
    width: float
    function: str = "LINEAR"

    @property
    def is_one(self) -> bool:
        finite = np.isfinite(self.center) and np.isfinite(self.width)
        return bool(finite and self.width >= 1 if self.function == "LINEAR" else finite and self.width > 0)

    def levels(self, values: Values) -> Values:
        """0 to 1 (PS3.3 C.11.2.1)."""
        center, width = self.center, self.width
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
        if self.function == "LINEAR":
            center, width = center - 0.5, width - 1
        if width == 0:
            return (values > center).astype(np.float64)
        return np.clip((values - center) / width + 0.5, 0, 1)


def shown(values: Values, properties: Mapping[str, Any], elements: Dataset, number: int, rule: Canonical) -> Shown:
    """One frame by the chain.

    Args:
        values: As pydicom decodes them, (rows, columns) or (rows, columns, 3).
        properties: What they are then (photometric interpretation, bits).
        elements: The file's header.
        number: The frame's, from 1.
        rule: The stated window.

    Raises:
        BadInput: If its values are not finite, the window is of another modality or leaves nothing, or its colours are
            of a kind that is not read here.
    """
    kind, bits = str(properties["photometric_interpretation"]), int(properties.get("bits_stored", 0))
    if kind == "PALETTE COLOR":
        return Shown(_of_palette(values, elements), "")
    if kind == "RGB":
        return Shown(_high_byte(values, bits), "")
    if kind not in _GREY:
        raise BadInput(RejectReason.UNSUPPORTED, "DICOM: its colours are of a kind that is not read here")
    grey, words = _grey(values, bits, _of_frame(elements, number), elements, rule)
    return Shown(255 - grey if kind == "MONOCHROME1" else grey, words)


def _grey(values: Values, bits: int, frame: Dataset, elements: Dataset, rule: Canonical) -> tuple[Pixels, str]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadInput(RejectReason.NOT_FINITE, "DICOM: it holds NaN or infinite values")
    padding = _padding(values, elements)
    slope, intercept = 1.0, 0.0
    if frame.get("ModalityLUTSequence"):
        values, bits = _by_table(values, frame.ModalityLUTSequence[0], elements)
        padding = None
    elif frame.get("RescaleSlope") is not None and frame.get("RescaleIntercept") is not None:
        slope, intercept = _number(frame.RescaleSlope), _number(frame.RescaleIntercept)
        bits = 0 if (slope, intercept) != (1, 0) else bits
    stated = _stated(rule, elements)
    if stated is None and _is_table(frame):
        whole = np.rint(values * slope + intercept).astype(np.int64)
        table, depth = _by_table(whole, frame.VOILUTSequence[0], elements)
        grey: Pixels = np.rint(table.astype(np.float64) / (2**depth - 1) * 255).astype(np.uint8)
        return grey, "VOI LUT"
    window, words = stated or _window_of(frame) or _range_of(values, bits, (slope, intercept), padding)
    grey = _levels(values, window, slope, intercept)
    if stated and grey.size and (grey == grey.flat[0]).all() and (values != values.flat[0]).any():
        detail = f"DICOM: the window {rule.window} leaves nothing of it: all is black or white"
        raise BadInput(RejectReason.UNSUPPORTED, detail)
    return grey, words


def _levels(values: Values, window: _Window, slope: float, intercept: float) -> Pixels:
    """0 to 255; by a table of all values between the least and the greatest, where these are fewer than the pixels."""

    def of(some: Values) -> Values:
        levels: Values = np.rint(window.levels(some.astype(np.float64) * slope + intercept) * 255)
        return levels

    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if high - low < min(values.size, 2**16):
            table = of(np.arange(low, high + 1)).astype(np.uint8)
            return table[values.astype(np.int64) - low] if low else table[values]
    grey = np.empty(values.shape, dtype=np.uint8)
    for rows in strips_of(*values.shape):
        grey[rows] = of(values[rows])
    return grey


def _stated(rule: Canonical, elements: Dataset) -> tuple[_Window, str] | None:
    if not rule.window:
        return None
    if rule.window in WINDOWS and elements.get("Modality") != "CT":
        raise BadInput(
            RejectReason.UNSUPPORTED,
            f"DICOM: the window {rule.window} is one of CT, and this is of another modality: state CENTER,WIDTH",
        )
    center, width = WINDOWS.get(rule.window) or map(float, rule.window.split(","))
    return _Window(center, width), rule.window


def _window_of(frame: Dataset) -> tuple[_Window, str] | None:
    """The first window of a file; one that can't be is none."""
    try:
        center, width = _number(frame.get("WindowCenter")), _number(frame.get("WindowWidth"))
    except (TypeError, ValueError, IndexError):
        return None
    function = str(frame.get("VOILUTFunction") or "LINEAR").upper()
    window = _Window(center, width, function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR")
    return (window, f"{center:g},{width:g}") if window.is_one else None


def _range_of(values: Values, bits: int, rescale: tuple[float, float], padding: Values | None) -> tuple[_Window, str]:
    """What a frame is shown in that has no window."""
    if values.dtype.kind != "f" and 0 < bits <= 8:
        first = -(1 << (bits - 1)) if values.dtype.kind == "i" else 0
        last = first + (1 << bits) - 1
        return _between(first, last), f"{first}:{last}"
    counted = values if padding is None or padding.all() else values[~padding]
    ends = np.percentile(counted, PERCENTILES) * rescale[0] + rescale[1]
    low, high = float(ends.min()), float(ends.max())
    return _between(low, high), f"percentiles {low:g}:{high:g}"


def _between(low: float, high: float) -> _Window:
    return _Window((low + high) / 2, max(high - low, float(np.finfo(np.float32).tiny)), "LINEAR_EXACT")


def _padding(values: Values, elements: Dataset) -> Values | None:
    """Where the file says that a value stands for nothing."""
    first = elements.get("PixelPaddingValue")
    if not isinstance(first, int):
        return None
    last = elements.get("PixelPaddingRangeLimit")
    last = last if isinstance(last, int) else first
    return np.asarray((values >= min(first, last)) & (values <= max(first, last)))


def _is_table(frame: Dataset) -> bool:
    tables = frame.get("VOILUTSequence")
    return bool(tables) and tables[0].get("LUTDescriptor") is not None and tables[0].get("LUTData") is not None


def _by_table(values: Values, item: Dataset, elements: Dataset) -> tuple[Values, int]:
    """Values through a LUT (PS3.3 C.11.1.1.1), and the bits of what it gives."""
    entries, first, depth = (int(each) for each in item.LUTDescriptor)
    entries = entries or 2**16
    if values.dtype.kind == "i" and first >= 2**15:  # a first value of signed pixels, written as if it were unsigned
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if elements.file_meta.TransferSyntaxUID.is_little_endian else ">"
        data = np.frombuffer(data, f"{order}u2")
    table = np.asarray(data, dtype=np.uint16)[:entries]
    if not 8 <= depth <= 16 or len(table) < entries:
        raise BadInput(RejectReason.BROKEN, "DICOM: a lookup table is damaged")
    places = np.clip(values.astype(np.int64) - first, 0, entries - 1)
    return table[places], depth


def _of_palette(values: Values, elements: Dataset) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut

    coloured = apply_color_lut(values, elements)
    return _high_byte(coloured[..., :3], 8 * coloured.dtype.itemsize)


def _high_byte(values: Values, bits: int) -> Pixels:
    if bits > 8:
        values = values >> (bits - 8)
    return np.ascontiguousarray(values, dtype=np.uint8)


def _of_frame(elements: Dataset, number: int) -> Dataset:
    """What says how this frame is to be shown."""
    from pydicom.dataset import Dataset

    told = Dataset()
    for keyword in (*_OF_FILE, *_OF_WINDOW):
        if keyword in elements:
            told[keyword] = elements[keyword]
    for group in (*elements.get("SharedFunctionalGroupsSequence", [])[:1], *_own_groups(elements, number)):
        for sequence, keywords in _OF_FRAME.items():
            for item in group.get(sequence, [])[:1]:
                for keyword in keywords:
                    if keyword in item:
                        told[keyword] = item[keyword]
    return told


def _own_groups(elements: Dataset, number: int) -> list[Dataset]:
    return list(elements.get("PerFrameFunctionalGroupsSequence", [])[number - 1 : number])


def _number(value: Any) -> float:
    """The first of one or several numbers."""
    return float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
