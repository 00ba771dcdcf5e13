from __future__ import annotations

import io
import random
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ArchiveError, RadiographError
from imaging import archives
from imaging.archives import Archive, is_archive
from imaging.intake import list_archive, may_be_radiograph, shown_name
from imaging.limits import LIMITS, Limits
from tests.phantoms import as_png

FILM = as_png(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8))
DICOM = b"\0" * 128 + b"DICM" + b"\x02\0\0\0"


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, data in files:
            archive.writestr(name, data)
    return target.getvalue()


def names(data: bytes) -> list[str]:
    return [member.name for member in list_archive(data).members]


def refusal(data: bytes, limits: Limits = LIMITS) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        list_archive(data, limits).members[0].read()
    return caught.value


def test_films_are_listed_in_the_archives_order_and_read_whole() -> None:
    contents = list_archive(zipped(("b/2.png", FILM), ("b/", b""), ("a/1.dcm", DICOM), ("a/deep/er/x.JPG", b"no film")))
    assert [member.name for member in contents.members] == ["b/2.png", "a/1.dcm", "a/deep/er/x.JPG"]
    assert [member.read() for member in contents.members] == [FILM, DICOM, b"no film"]
    assert contents.members[0].read() == FILM, "a member can be read again"
    assert contents.skipped == 0


def test_what_lies_beside_the_films_is_passed_over_and_counted_unless_hidden() -> None:
    contents = list_archive(
        zipped(
            ("README.txt", b"x"),
            ("viewer/Viewer.exe", b"MZ"),
            ("DICOMDIR", DICOM),
            ("notes", b"plain"),
            ("a.docx", b"PK\3\4"),
            ("__MACOSX/._film.png", FILM),
            (".hidden/film.png", FILM),
            ("._film.png", FILM),
            ("film.png", FILM),
        )
    )
    assert [member.name for member in contents.members] == ["film.png"]
    assert contents.skipped == 5


@pytest.mark.parametrize("name", ["IM000001", "DICOM/PAT0/1.2.840.10008.5", "film.xray"])
@pytest.mark.parametrize("data", [FILM, DICOM, b"\xff\xd8\xff\xe0", b"\x08\0\x05\0CS\0\0\0", b"RIFF0000WEBP"])
def test_without_a_known_ending_the_first_bytes_decide(name: str, data: bytes) -> None:
    assert names(zipped((name, data), (name + "2", b"neither a picture nor DICOM" * 9))) == [name]


def test_archives_inside_archives_are_refused_by_name() -> None:
    for name in ("more.zip", "old.7z", "old.TAR.GZ"):
        error = refusal(zipped((name, zipped(("film.png", FILM)))))
        assert error.code == "UNSUPPORTED" and "archive inside an archive" in error.advice


def test_encrypted_members_are_refused_and_the_others_read() -> None:
    data = bytearray(zipped(("secret", FILM), ("film.png", FILM)))
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + flags] |= 1
    secret, film = list_archive(bytes(data)).members
    with pytest.raises(RadiographError) as caught:
        secret.read()
    assert "password" in caught.value.advice and film.read() == FILM


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packing_is_refused(method: int) -> None:
    assert "unusual way" in refusal(zipped(("film.png", FILM), method=method)).advice


def test_a_bomb_is_refused_unread_and_its_neighbours_read() -> None:
    data = zipped(("bomb.png", b"\0" * 20_000_000), ("film.png", FILM))
    bomb, film = list_archive(data).members
    with pytest.raises(RadiographError) as caught:
        bomb.read()
    assert caught.value.code == "TOO_LARGE" and film.read() == FILM


def test_many_files_that_together_are_a_bomb_are_refused() -> None:
    data = zipped(*[(f"{k}.png", b"\0" * 15_000_000) for k in range(3)])
    with pytest.raises(RadiographError) as caught:
        list_archive(data)
    assert caught.value.code == "TOO_LARGE" and "far more" in caught.value.advice


def test_a_member_that_claims_to_be_small_never_takes_more_memory_than_it_claims(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import zlib

    data = bytearray(zipped(("bomb.png", b"\0" * 30_000_000)))
    for signature, size in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(signature) + size
        data[at : at + 4] = struct.pack("<I", 1000)
    most = 0
    genuine = zlib.decompressobj

    class Watched:
        def __init__(self, *arguments: int) -> None:
            self.inner = genuine(*arguments)

        def decompress(self, packed: bytes, length: int = 0) -> bytes:
            nonlocal most
            out = self.inner.decompress(packed, length)
            most = max(most, len(out))
            return out

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    monkeypatch.setattr("zipfile.zlib.decompressobj", Watched)
    assert refusal(bytes(data)).code == "UNREADABLE"
    assert 0 < most <= 4096


def test_sizes_and_numbers_are_bounded() -> None:
    assert refusal(zipped(("a.png", random.Random(1).randbytes(5000))), Limits(file_bytes=4000)).code == "TOO_LARGE"
    assert "5 files" in refusal(zipped(*[(f"{k}.png", b"x") for k in range(6)]), Limits(entries=5)).advice
    assert len(list_archive(zipped(*[(f"{k}.png", b"x") for k in range(5)]), Limits(entries=5)).members) == 5


def test_names_are_never_paths() -> None:
    data = zipped(
        ("../../etc/film.png", FILM),
        ("/etc/film.png", FILM),
        ("C:\\x\\film.png", FILM),
        ("film.png", FILM),
        ("film.png", DICOM),
    )
    members = list_archive(data).members
    assert [member.read() for member in members] == [FILM] * 4 + [DICOM], "each is itself, whatever it is called"


def test_links_are_passed_over() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    contents = list_archive(target.getvalue())
    assert contents.members == () and contents.skipped == 1


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"PK\3\4" + b"\0" * 99, zipped(("film.png", FILM))[:-30]])
def test_damaged_archives_are_refused(data: bytes) -> None:
    with pytest.raises(RadiographError) as caught:
        list_archive(data)
    assert caught.value.code == "UNREADABLE" and "damaged" in caught.value.advice


def test_a_damaged_member_stops_none_of_the_others() -> None:
    data = bytearray(zipped(("a.png", FILM), ("b.png", FILM), method=zipfile.ZIP_STORED))
    data[data.index(FILM) + 40] ^= 1
    damaged, film = list_archive(bytes(data)).members
    with pytest.raises(RadiographError, match="BadZipFile"):
        damaged.read()
    assert film.read() == FILM


def test_an_archive_on_disk_reads_alike_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "films.zip"
    path.write_bytes(zipped(("a/film.png", FILM)))
    (member,) = list_archive(path).members
    assert member.read() == FILM and member.path == "a/film.png"
    member.archive.close()
    assert member.read() == FILM
    member.archive.close()
    assert [one.name for one in tmp_path.rglob("*")] == ["films.zip"]


def test_a_file_is_unpacked_as_a_stream_no_further_than_asked_for() -> None:
    noise = random.Random(2).randbytes(3_000_000)
    archive = Archive(io.BytesIO(zipped(("film.png", noise))))
    (entry,) = archive.entries()
    with archive.open(entry) as read:
        assert read(1000) == noise[:1000] and read(4) == noise[1000:1004]
    assert archive.read(entry) == noise
    with pytest.raises(OSError, match="full disk"), archive.open(entry) as read:
        raise OSError("full disk")  # what fails outside the archive is no damage of it


def test_entries_are_counted_wherever_a_chunk_of_the_file_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(*[(f"{k}.png", b"x") for k in range(40)])
    for chunk in (4, 5, 7, 64, 1 << 20):
        monkeypatch.setattr(archives, "_CHUNK", chunk)
        assert len(Archive(io.BytesIO(data), Limits(entries=40)).entries()) == 40
        with pytest.raises(ArchiveError, match="at most 39 files"):
            Archive(io.BytesIO(data), Limits(entries=39)).entries()


def test_what_is_an_archive_is_told_from_the_bytes() -> None:
    assert is_archive(zipped(("x", b""))) and is_archive(zipped()) and not is_archive(FILM) and not is_archive(b"")
    assert list_archive(zipped()).members == ()


def test_names_for_the_screen_cannot_turn_hide_or_overflow() -> None:
    assert shown_name("a\u202egnp.exe\x1b[31m\n") == "agnp.exe[31m"
    assert shown_name("x" * 500).startswith("…") and len(shown_name("x" * 500)) == 120
    assert shown_name("ward\\3\\film.png") == "ward/3/film.png"


def test_only_files_without_a_known_ending_are_looked_into() -> None:
    def refuse() -> bytes:
        raise AssertionError("looked into")

    assert may_be_radiograph("a/film.dcm", refuse) and not may_be_radiograph("a/film.pdf", refuse)
    assert may_be_radiograph("a/film", lambda: DICOM) and not may_be_radiograph("a/film", lambda: b"")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_archives_raise_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(zipped(("a/film.png", FILM[:200]), ("IM1", DICOM), ("x.txt", b"text")))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(whole) // 2, len(whole)))
    try:
        members = list_archive(bytes(whole[:cut])).members
    except RadiographError as error:
        assert error.advice
        return
    for member in members:
        try:
            assert len(member.read()) <= 1000
        except RadiographError as error:
            assert error.advice and "film" not in str(error)
