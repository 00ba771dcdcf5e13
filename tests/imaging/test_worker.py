"""Decoder processes: what a file may take of them, and what becomes of the next file."""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate

from core.errors import RadiographError
from imaging import worker
from imaging.film import Pixels
from imaging.intake import list_archive
from imaging.limits import LIMITS
from imaging.picture_decoder import read_picture
from imaging.pictures import decode_picture
from imaging.radiograph import decode_radiograph, decode_square, squash
from imaging.worker import Pool
from tests.dicoms import encoded, phantom_dicom
from tests.jpegs import many_scans
from tests.mutations import drawn_seeds
from tests.phantoms import as_jpeg, as_png, chest

FILM = chest(4, (60, 72))
GREY = np.full((3000, 3000), 100, np.uint8)


def refusal(of: Callable[[], object], code: str) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        of()
    error = caught.value
    assert error.code == code and str(error).startswith("expected ") and "Received: " in str(error)
    assert error.advice.endswith(".") and error.advice.count(". ") == 0
    return error


def decode(pool: Pool, data: bytes, task: worker.Task = "picture", numbers: tuple[int | str, ...] = ()) -> Pixels:
    return pool.decode(task, data, numbers, str)[0].pixels


def processor() -> float:
    """Return the processor time of this process and of those that it has waited for, in seconds."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture
def pools() -> Iterator[Callable[..., Pool]]:
    made: list[Pool] = []

    def make(**options: object) -> Pool:
        made.append(Pool(**options))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


# --- Files that take too much ----------------------------------------------------------------------------------------


def as_dicom(stream: bytes, size: tuple[int, int]) -> bytes:
    dataset = dcmread(io.BytesIO(phantom_dicom(stored=FILM, bits=8, syntax="JPEG baseline")))
    dataset.Rows, dataset.Columns = size
    dataset.PixelData = encapsulate([stream])
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


def from_zip(data: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("film.jpg", data)
    return list_archive(target.getvalue()).members[0].read()


@pytest.mark.parametrize(
    "wrapped",
    [lambda data: data, lambda data: as_dicom(data, GREY.shape), from_zip],
    ids=["alone", "in DICOM", "in a zip"],
)
def test_a_jpeg_of_two_thousand_scans_is_refused_at_once(wrapped):
    data = wrapped(many_scans(GREY, 2_006))  # each scan takes six milliseconds
    assert len(data) < 100_000
    worker.shut_down()  # the processor time of a process counts once it has ended
    before = processor()
    error = refusal(lambda: decode_radiograph(data), "UNSUPPORTED")
    worker.shut_down()
    assert "100 scans" in str(error) and "passes" in error.advice
    assert processor() - before < 5


def test_no_more_than_a_hundred_scans_are_decoded():
    assert LIMITS.scans == 100
    assert decode_radiograph(many_scans(FILM, 100)).pixels.shape == FILM.shape
    refusal(lambda: decode_radiograph(many_scans(FILM, 101)), "UNSUPPORTED")


def test_metadata_and_what_follows_the_end_are_not_taken_for_scans():
    data = as_jpeg(FILM)
    comment = b"\xff\xda" * 150
    data = data[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment + data[2:] + comment
    np.testing.assert_array_equal(decode_radiograph(data).pixels, decode_radiograph(as_jpeg(FILM)).pixels)


def test_scans_that_take_too_long_end_with_the_budget(pools):
    pool = pools(seconds=1)
    wide = many_scans(np.full((6000, 6000), 100, np.uint8), 100)
    before = processor()
    error = refusal(lambda: decode(pool, wide), "TOO_LARGE")
    assert "within 1 s of processor time" in str(error) and "too long" in error.advice
    np.testing.assert_array_equal(decode(pool, as_png(FILM)), FILM)
    pool.close()
    assert processor() - before < 6  # a little over one second, and two starts


def tiled_tiff(side: int) -> bytes:
    """A TIFF of 64 × 64 px in one tile of `side` × `side` zeros, packed to one byte in 64 (PackBits)."""
    tile = b"\x81\0" * (side * side // 128)
    tags = [(256, 64), (257, 64), (258, 8), (259, 32773), (262, 1), (277, 1), (322, side), (323, side)]
    tags += [(324, 8), (325, len(tile))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(tile)) + tile + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_tile_of_more_than_a_gigabyte_is_refused():
    assert decode_radiograph(tiled_tiff(128)).pixels.shape == (64, 64)
    data = tiled_tiff(33_024)
    before = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    error = refusal(lambda: decode_radiograph(data), "TOO_LARGE")
    assert "memory" in str(error) and "memory" in error.advice
    worker.shut_down()
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        assert resource.getrusage(who).ru_maxrss * 1024 < before * 1024 + 400_000_000
    assert decode_radiograph(as_png(FILM)).pixels.shape == FILM.shape


def test_a_png_that_unpacks_beyond_the_limit_of_memory_is_refused(pools):
    pool = pools(memory=60_000_000)
    bomb = as_png(np.zeros((6000, 6000), np.uint16))
    assert len(bomb) < 200_000
    for _ in range(2):
        assert "60 MB of memory" in str(refusal(lambda: decode(pool, bomb), "TOO_LARGE"))
        np.testing.assert_array_equal(decode(pool, as_png(FILM)), FILM)


def test_the_largest_picture_of_the_costliest_kind_is_within_the_limits():
    target = io.BytesIO()
    picture = np.repeat(chest(0, (600, 600)).repeat(10, 0).repeat(10, 1)[..., None], 3, 2)
    Image.fromarray(picture).save(target, "JPEG", progressive=True, subsampling=0)
    assert decode_radiograph(target.getvalue()).pixels.size == LIMITS.pixels


# --- Decoders that end -----------------------------------------------------------------------------------------------


def program(folder: Path, what: str) -> Path:
    """A decoder that does `what` for a file of the three bytes "end", and decodes every other."""
    path = folder / "program.py"
    path.write_text(
        "import json, os, signal, sys, time\n"
        "given = json.loads(sys.argv[1])\n"
        "sys.path[:] = given['path']\n"
        "import imaging.decoder_process as ours\n"
        "from imaging.dicom import gdcm_codec\n"
        "picture, frame = ours._picture, gdcm_codec.decode_frame\n"
        "def end():\n"
        f"    {what}\n"
        "ours._picture = lambda data, target: end() if data == b'end' else picture(data, target)\n"
        "gdcm_codec.decode_frame = lambda data, *size: end() if data == b'end' else frame(data, *size)\n"
        "os._exit(ours.main(given))\n",
        encoding="utf-8",
    )
    return path


ENDINGS = {
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", "UNREADABLE", "ends the decoder"),
    "abort": ("os.abort()", "UNREADABLE", "ends the decoder"),
    "exit": ("os._exit(0)", "UNREADABLE", "ends the decoder"),
    "a pixel too many": (
        "return {'shape': [6000, 6001], 'bytes': 2, 'facts': ['PNG', 16, 0.0, False]}",
        "UNREADABLE",
        "ends the decoder",
    ),
    "no pixels": ("return {'shape': [], 'bytes': 1}", "UNREADABLE", "ends the decoder"),
    "nonsense": ("os.write(given['socket'], b'nonsense\\n')", "UNREADABLE", "ends the decoder"),
    "endless loop": ("while True: pass", "TOO_LARGE", "takes longer"),
    "memory": ("bytearray(10**10)", "TOO_LARGE", "takes more"),
}


@pytest.mark.parametrize(("what", "code", "received"), ENDINGS.values(), ids=ENDINGS.keys())
def test_a_file_that_ends_its_decoder_is_refused_and_the_next_is_decoded(what, code, received, pools, tmp_path):
    pool = pools(seconds=1, program=program(tmp_path, what))
    for _ in range(1 if "while" in what else 2):
        assert received in str(refusal(lambda: decode(pool, b"end"), code))
        np.testing.assert_array_equal(decode(pool, as_png(FILM)), FILM)
    assert len(pool.pids()) == 1


@pytest.mark.parametrize(
    ("what", "code", "received"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "UNREADABLE", "SIGSEGV while decoding"),
        ("os.abort()", "UNREADABLE", "SIGABRT while decoding"),
        ("raise RuntimeError", "UNREADABLE", "GDCMError while decoding"),
        ("return b'short'", "UNREADABLE", "GDCMError while decoding"),
        ("while True: pass", "TOO_LARGE", "takes longer"),
        ("bytearray(10**10)", "UNREADABLE", "GDCMError while decoding"),
    ],
)
def test_a_frame_that_ends_gdcm_is_refused_and_the_next_is_decoded(what, code, received, pools, tmp_path):
    pool = pools(seconds=1, program=program(tmp_path, what))
    numbers = (*FILM.shape, 8, 8, "1.2.840.10008.1.2.4.81")
    stream = encoded(FILM, 8, "JPEG-LS")
    for _ in range(1 if "while" in what else 2):
        assert received in str(refusal(lambda: decode(pool, b"end", "frame", numbers), code))
        np.testing.assert_array_equal(decode(pool, stream, "frame", numbers), FILM)


def test_a_decoder_that_waits_forever_is_ended(pools, tmp_path):
    pool = pools(program=program(tmp_path, "time.sleep(600)"))
    decode(pool, as_png(FILM))
    (pid,) = pool.pids()
    pool._idle[0].socket.settimeout(0.1)
    refusal(lambda: decode(pool, b"end"), "TOO_LARGE")
    assert not is_running(pid)


def test_a_decoder_that_was_killed_between_two_files_is_replaced(pools):
    pool = pools()
    decode(pool, as_png(FILM))
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(decode(pool, as_png(FILM)), FILM)
    assert pool.pids() and pid not in pool.pids()


def test_a_decoder_is_replaced_after_so_many_files(pools, monkeypatch):
    monkeypatch.setattr(worker, "_FILES", 3)
    pool, pids = pools(), []
    for _ in range(7):
        decode(pool, as_png(FILM))
        pids.append(pool.pids())
    assert pids[0] == pids[1] != pids[3] and pids[2] == pids[5] == ()


def test_a_decoder_that_does_not_start_is_said_to_the_reader(pools, tmp_path, caplog):
    path = tmp_path / "program.py"
    path.write_text("raise SystemExit(1)", encoding="utf-8")
    error = refusal(lambda: decode(pools(program=path), as_png(FILM)), "UNREADABLE")
    assert "to start" in str(error) and "operates" in error.advice and "decoder process" in caplog.text


# --- Processes and threads -------------------------------------------------------------------------------------------


def test_pixels_and_facts_are_those_of_decoding_in_this_process():
    pictures = [data for data in drawn_seeds() if data[128:132] != b"DICM" and data[:2] not in (b"\x02\0", b"\x08\0")]
    assert len(pictures) >= 11
    for data in pictures:
        here, there = read_picture(data), decode_picture(data)
        np.testing.assert_array_equal(here.pixels, there.pixels)
        assert here.pixels.dtype == there.pixels.dtype
        assert (here.source_format, here.bits, here.coloured_share, here.is_one_hue) == (
            there.source_format,
            there.bits,
            there.colour_share,
            there.is_tinted,
        )


def test_a_square_is_that_of_the_whole_film():
    for data in drawn_seeds():
        film = decode_radiograph(data)
        for px in (32, 66, 224):  # smaller than the film, between its sides, larger
            square, digest = decode_square(data, px)
            np.testing.assert_array_equal(square, squash(film, px))
            assert square.dtype == np.uint8 and digest == film.sha256
    refusal(lambda: decode_square(b""), "EMPTY")
    refusal(lambda: decode_square(as_jpeg(FILM)[:500]), "UNREADABLE")
    refusal(lambda: decode_square(many_scans(FILM, 101)), "UNSUPPORTED")


def test_real_films_are_those_of_decoding_in_this_process(test_data):
    for path in sorted((test_data / "kermany" / "val").rglob("*.jpeg")):
        data = path.read_bytes()
        np.testing.assert_array_equal(read_picture(data).pixels, decode_picture(data).pixels)


def test_threads_share_the_decoders_and_each_gets_its_own_film(pools):
    pool, films = pools(most=2), [chest(seed, (200 + seed, 300)) for seed in range(12)]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(3):
            decoded = list(threads.map(lambda film: decode(pool, as_png(film)), films))
            for film, pixels in zip(films, decoded, strict=True):
                np.testing.assert_array_equal(pixels, film)
    assert len(pool.pids()) == 2


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("in vain")


def test_the_slow_files_of_one_visitor_do_not_keep_the_others_waiting(pools, tmp_path):
    """Somebody with many pages had every process busy with files that take ten seconds each."""
    released = tmp_path / "released"
    slow = f"while not os.path.exists({str(released)!r}): time.sleep(0.01)\n    return picture(given_film, target)"
    slow = slow.replace("given_film, target", f"bytes.fromhex({as_png(FILM).hex()!r}), ours._last")
    path = program(tmp_path, slow)
    path.write_text(
        path.read_text().replace(
            "lambda data, target: end() if", "lambda data, target: (setattr(ours, '_last', target), end())[1] if"
        )
    )
    pool = pools(most=3, program=path)

    def of(whose: str, data: bytes) -> Pixels:
        with worker.on_behalf_of(whose):
            return decode(pool, data)

    with ThreadPoolExecutor(9) as threads:
        held = [threads.submit(of, "a", b"end") for _ in range(6)]
        wait_for(lambda: len(pool._busy) == 2 and len(pool._waiting) == 4)
        np.testing.assert_array_equal(of("b", as_png(FILM)), FILM)
        np.testing.assert_array_equal(of("", as_png(FILM)), FILM)
        assert not any(one.done() for one in held)
        others = [threads.submit(of, "b", b"end")]
        wait_for(lambda: len(pool._busy) == 3)
        others.append(threads.submit(of, "c", as_png(FILM)))
        wait_for(lambda: len(pool._waiting) == 5)
        assert pool._next() is None
        released.touch()
        for one in (*held, *others):
            np.testing.assert_array_equal(one.result(30), FILM)
    assert not pool._held and not pool._waiting


def test_those_who_have_fewest_processes_come_first(pools):
    pool = pools(most=4)
    pool._held.update({"a": 2, "b": 1})
    for whose in "aabc":
        pool._waiting.append(worker._Turn(whose))
    order = []
    while (one := pool._next()) is not None:
        pool._waiting.remove(one)
        pool._held[one.whose] += 1
        order.append(one.whose)
    assert order == ["c", "b", "a"], "and the last process is not for those who have all the others"


def test_a_decoder_outlives_the_thread_that_started_it(pools):
    pool = pools()
    thread = threading.Thread(target=decode, args=(pool, as_png(FILM)))
    thread.start()
    thread.join()
    before = pool.pids()
    decode(pool, as_png(FILM))
    assert pool.pids() == before != ()


def _decode_elsewhere(answers: multiprocessing.Queue, seed: int) -> None:
    film = chest(seed, (80, 90))
    answers.put((bool((decode_radiograph(as_png(film)).pixels == film).all()), worker.running()))


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_process_started_from_this_one_has_decoders_of_its_own(method):
    decode_radiograph(as_png(FILM))
    ours = worker.running()
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    others = [context.Process(target=_decode_elsewhere, args=(answers, seed)) for seed in (1, 2)]
    for other in others:
        other.start()
    for _ in others:
        is_right, theirs = answers.get(timeout=60)
        np.testing.assert_array_equal(decode_radiograph(as_png(FILM)).pixels, FILM)
        assert is_right and theirs and not set(theirs) & set(ours)
    for other in others:
        other.join()
    assert worker.running() == ours


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)


def test_none_is_started_before_the_first_file_and_the_process_that_decodes_has_no_tensorflow():
    script = (
        "import sys, imaging.radiograph, model.pipeline; from imaging import worker; print(worker.running());"
        "from tests.phantoms import as_png, chest; imaging.radiograph.decode_radiograph(as_png(chest(0, (60, 60))));"
        "(pid,) = worker.running(); maps = open(f'/proc/{pid}/maps').read();"
        "print('tensorflow' in maps, 'streamlit' in maps, 'PIL' in maps)"
    )
    answer = run(script)
    assert answer.stdout.splitlines() == ["()", "False False True"], answer.stderr


@pytest.mark.parametrize(
    "ending", ["", "import os; os._exit(0)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "1 / 0"]
)
def test_decoders_end_with_the_process_that_started_them(ending):
    script = (
        "from imaging import worker; from imaging.radiograph import decode_radiograph;"
        "from tests.phantoms import as_png, chest; decode_radiograph(as_png(chest(0, (60, 60))));"
        f"print(*worker.running(), flush=True); {ending}"
    )
    answer = run(script)
    (pid,) = map(int, answer.stdout.split())
    assert "Warning" not in answer.stderr
    while is_running(pid):  # without end if it does not end
        time.sleep(0.01)
