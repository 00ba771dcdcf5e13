"""Compressed frames: what is checked before decoding, and what comes out."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys

import numpy as np
import pytest

from core.errors import RadiographError
from imaging.dicom import codestreams as under_test
from imaging.dicom.codestreams import decode_stream
from tests.dicoms import encoded, stored_values
from tests.jpegs import extended_jpeg, lossless_jpeg, many_scans
from tests.phantoms import as_jpeg, chest

SIZE = (45, 53)
FILM = chest(2, SIZE)


def refusal(stream: bytes, size: tuple[int, int] = SIZE) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        decode_stream(stream, *size)
    return caught.value


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_predictor_of_lossless_jpeg_is_decoded(predictor, bits):
    values = stored_values(FILM, bits)
    words, precision = decode_stream(lossless_jpeg(values, bits, predictor), *SIZE)
    np.testing.assert_array_equal(words, values)
    assert precision == bits and words.dtype == values.dtype


@pytest.mark.parametrize("bits", [8, 12])
def test_the_extended_process_is_decoded_to_within_its_quantisation(bits):
    values = stored_values(FILM, bits)
    words, precision = decode_stream(extended_jpeg(values, bits, step=1), *SIZE)
    assert precision == bits and np.abs(words.astype(int) - values).max() <= 2


def test_noise_over_the_whole_range_survives_what_is_lossless():
    values = np.random.default_rng(0).integers(0, 65536, SIZE, np.uint16)
    others = [encoded(values, 16, syntax) for syntax in ("JPEG-LS", "JPEG 2000 lossless")]
    for stream in (lossless_jpeg(values, 16), *others):
        np.testing.assert_array_equal(decode_stream(stream, *SIZE)[0], values)


STREAMS = {
    name: encoded(FILM, 8, name)
    for name in ("JPEG baseline", "JPEG extended", "JPEG lossless", "JPEG-LS", "JPEG 2000 lossless")
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_a_stream_of_another_size_than_the_header_says_is_refused_and_not_decoded(stream, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(under_test.worker, "decode", never)
    for size in ((SIZE[0], SIZE[1] + 1), (SIZE[1], SIZE[0]), (4000, 4000)):
        assert "another size" in str(refusal(stream, size))


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_a_stream_without_its_end_is_refused_and_not_decoded(stream, monkeypatch):
    monkeypatch.setattr(under_test.worker, "decode", lambda *_, **__: pytest.fail("decoded"))
    end = stream.rindex(b"\xff\xd9")
    for cut in (end, end - 1, end - 20, len(stream) // 2):
        assert refusal(stream[:cut]).code == "UNREADABLE"
        assert refusal(stream[:cut] + bytes(2000)).code == "UNREADABLE"


def test_boxes_around_a_jpeg_2000_stream_are_passed_over():
    stream = STREAMS["JPEG 2000 lossless"]
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    boxes += struct.pack(">I", len(stream) + 8) + b"jp2c"
    np.testing.assert_array_equal(decode_stream(boxes + stream, *SIZE)[0], FILM)


@pytest.mark.parametrize(
    ("stream", "code", "received"),
    [
        (b"", "UNREADABLE", "no known compression"),
        (b"\xff\xd8", "UNREADABLE", "without its frame"),
        (bytes(500), "UNREADABLE", "no known compression"),
        (b"\xff\x4f\xff\x51", "UNREADABLE", "without its frame"),
        (as_jpeg(np.repeat(FILM[..., None], 3, axis=2)), "UNSUPPORTED", "a colour picture"),
        (
            STREAMS["JPEG baseline"].replace(b"\xff\xc0", b"\xff\xc9", 1),
            "UNSUPPORTED",
            "do not have",
        ),  # arithmetic coding
        (STREAMS["JPEG lossless"].replace(b"\xff\xc3", b"\xff\xc7", 1), "UNSUPPORTED", "do not have"),  # hierarchical
        (
            STREAMS["JPEG 2000 lossless"][:42] + b"\x25" + STREAMS["JPEG 2000 lossless"][43:],
            "UNSUPPORTED",
            "do not have",
        ),
    ],
)
def test_a_stream_that_is_not_read_is_refused_by_name(stream, code, received):
    error = refusal(stream)
    assert error.code == code and received in str(error)


# --- The process that decodes: more in tests/imaging/test_worker.py --------------------------------------------------


def test_without_its_library_the_refusal_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    error = refusal(STREAMS["JPEG-LS"])
    assert error.code == "UNSUPPORTED" and "python-gdcm" in str(error)
    assert decode_stream(STREAMS["JPEG baseline"], *SIZE)[0].shape == SIZE  # needs nothing but PIL


def test_a_jpeg_of_many_scans_is_refused_and_not_decoded(monkeypatch):
    monkeypatch.setattr(under_test.worker, "decode", lambda *_, **__: pytest.fail("decoded"))
    assert "100 scans" in str(refusal(many_scans(FILM, 101)))


def test_no_decoder_is_ever_imported_into_this_process():
    asked = (
        "import sys; from tests.imaging.dicom.test_codestreams import STREAMS, SIZE; before = set(sys.modules);"
        "import imaging.radiograph; from imaging.dicom.codestreams import decode_stream;"
        "[decode_stream(stream, *SIZE) for stream in STREAMS.values()];"
        "print(sorted(name for name in set(sys.modules) - before if 'gdcm' in name or 'jpeg_ls' in name))"
    )
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
