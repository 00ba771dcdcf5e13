"""Decoding of one compressed frame by GDCM. It runs in a decoder process (`imaging.decoder_process`) alone.

On some damaged code streams GDCM aborts or reads outside its memory, so no other process may import it.
"""

from __future__ import annotations

from _gdcm import gdcmswig as gdcm  # type: ignore[import-untyped]  # not `gdcm`, which wants its XML files


def decode_frame(stream: bytes, rows: int, columns: int, allocated: int, stored: int, syntax: str) -> bytes:
    """Decode a grey frame.

    Parameters
    ----------
    stream
        The code stream.
    rows, columns
        Size of the frame.
    allocated
        Bits of a word of the result: 8 or 16.
    stored
        Bits of a word that are used.
    syntax
        Transfer syntax UID.

    Returns
    -------
    bytes
        Unsigned little-endian words, row by row.
    """
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stored, stored - 1, 0))
    pixels: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return pixels
