"""Decoder process for one compressed frame: run as a script by `imaging.dicom.codestreams`, never imported.

On some damaged code streams GDCM aborts, reads outside its memory, or takes as much memory and time as the stream asks
for. In this process that harms nothing else: it may write no file, and memory and processor time are bounded. Started
as `python -I -S` with GDCM alone, it costs less than a tenth of a second.

Arguments: the folder that holds GDCM, then rows, columns, bits allocated, bits stored, transfer syntax UID, bytes of
memory, seconds of processor time. The code stream comes on standard input, the pixels leave on standard output as
unsigned little-endian words of 8 or 16 bits; the exit status is 0 only when all of them were written.
"""

from __future__ import annotations

import os
import resource
import sys


def _limit(memory: int, seconds: int) -> None:
    for name, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
    ):
        resource.setrlimit(name, (limit, limit))


def _decode(stream: bytes, rows: int, columns: int, allocated: int, stored: int, syntax: str) -> bytes:
    from _gdcm import gdcmswig as gdcm  # type: ignore[import-untyped]  # not `gdcm`, which wants its XML files

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


def _main(
    folder: str, rows: int, columns: int, allocated: int, stored: int, syntax: str, memory: int, seconds: int
) -> int:
    answer = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # GDCM talks to both
    os.dup2(silence, 2)
    _limit(memory, seconds)
    sys.path.append(folder)
    pixels = memoryview(_decode(sys.stdin.buffer.read(), rows, columns, allocated, stored, syntax))
    if len(pixels) != rows * columns * (allocated // 8):
        return 1
    while pixels:
        pixels = pixels[os.write(answer, pixels) :]
    return 0


if __name__ == "__main__":
    _, where, *size, uid, most, longest = sys.argv
    height, width, bits, used = map(int, size)
    # Without the interpreter's farewell, in which GDCM's own objects are not always freed in peace.
    os._exit(_main(where, height, width, bits, used, uid, int(most), int(longest)))
