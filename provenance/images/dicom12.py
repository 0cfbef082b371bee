"""JPEG of 12 bits by GDCM, which reads it, as a plugin of pydicom, which does not ask it to."""

from __future__ import annotations

from typing import Any

LABEL = "gdcm 12 bits"


def register() -> None:
    """Makes it known to pydicom, and keeps GDCM from writing to the terminal."""
    import gdcm
    from pydicom.pixels.decoders.base import JPEGExtended12BitDecoder

    if LABEL not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin(LABEL, (__name__, "decode_frame"))
        for kind in ("DebugOff", "WarningOff", "ErrorOff"):
            getattr(gdcm.Trace, kind)()


def is_available(uid: str) -> bool:
    """See pydicom."""
    return uid == "1.2.840.10008.1.2.4.51"


DECODER_DEPENDENCIES = {"1.2.840.10008.1.2.4.51": ("gdcm>=3.0.10",)}


def decode_frame(src: bytes, runner: Any) -> bytes:
    """One frame, as the plugin of pydicom for all other kinds of JPEG decodes it."""
    import gdcm

    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(src)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(runner.photometric_interpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType("1.2.840.10008.1.2.4.51")))
    bits = runner.bits_allocated, runner.bits_stored, runner.bits_stored - 1, runner.pixel_representation
    image.SetPixelFormat(gdcm.PixelFormat(runner.samples_per_pixel, *bits))
    return bytes(image.GetBuffer().encode("utf-8", "surrogateescape"))
