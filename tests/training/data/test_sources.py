from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as some

from core.errors import DatasetError
from core.settings import Settings
from imaging.limits import Limits
from tests.dicoms import dx_dicom
from training.data import dataset, sources, uploads
from training.data.sources import data_roots, dataset_at, delete_dataset, find_dataset, list_datasets, with_counts
from training.data.uploads import safe_parts, store_files, unpack_zip

PICTURE = b"not decoded while it is unpacked"
GOOD = ("chest/NORMAL/a.png", "chest/PNEUMONIA/b.JPEG")


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PICTURE)
    return root


def a_zip(*names: str | zipfile.ZipInfo, data: bytes = PICTURE, method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in names:
            archive.writestr(name, data)
    return file


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "server").mkdir()
    return Settings(tmp_path / "var", data_roots=(tmp_path / "server",))


def refused(settings: Settings, file: io.BytesIO, words: str, limits: Limits = uploads.UPLOAD_LIMITS) -> None:
    """The upload is refused with these words, and nothing of it is left on the disk."""
    outside = {path for path in settings.data_dir.parent.rglob("*") if settings.datasets_dir not in path.parents}
    with pytest.raises(DatasetError, match=words) as caught:
        unpack_zip(settings, file, "films.zip", limits=limits)
    assert caught.value.advice
    assert not settings.datasets_dir.exists() or list(settings.datasets_dir.iterdir()) == []
    left = {path for path in settings.data_dir.parent.rglob("*") if settings.datasets_dir not in path.parents}
    assert left - outside <= {settings.data_dir, settings.datasets_dir}


# Folders of the server.


def test_only_folders_below_the_roots_are_found_and_without_listing_their_pictures(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "server"
    folder_of(server / "one", "NORMAL/a.png", "PNEUMONIA/b.png")
    folder_of(server / "two" / "deep", "train/NORMAL/a.png", "train/PNEUMONIA/b.png", "test/NORMAL/c.png")
    folder_of(server / "a" / "b" / "c" / "too_deep", "NORMAL/a.png", "PNEUMONIA/b.png")
    folder_of(server / "half", "NORMAL/a.png")
    folder_of(server / ".hidden", "NORMAL/a.png", "PNEUMONIA/b.png")
    folder_of(tmp_path / "elsewhere", "NORMAL/a.png", "PNEUMONIA/b.png")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or scandir(path))
    found = list_datasets(settings)
    assert [dataset.name for dataset in found] == ["server/one", "server/two/deep", "server/two/deep/train"]
    assert all(dataset.n is None and not dataset.is_upload for dataset in found)
    assert not {"NORMAL", "PNEUMONIA"} & set(listed)
    assert with_counts(found[1]).n == {"train": {"NORMAL": 1, "PNEUMONIA": 1}, "test": {"NORMAL": 1, "PNEUMONIA": 0}}
    assert find_dataset(settings, found[1].id) == found[1] == dataset_at(settings, server / "two" / "deep")


def test_a_root_may_be_a_dataset_itself_and_one_that_is_missing_is_empty(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "films", "NORMAL/a.png", "PNEUMONIA/b.png")
    settings = Settings(tmp_path / "var", data_roots=(root, tmp_path / "nowhere", root))
    assert [dataset.name for dataset in list_datasets(settings)] == ["films"]
    assert data_roots(settings)[-1] == (tmp_path / "var" / "datasets").resolve()


@pytest.mark.parametrize("link", ["dataset", "class", "part"])
def test_a_link_that_leads_out_of_the_roots_is_refused(settings: Settings, tmp_path: Path, link: str) -> None:
    secret = folder_of(tmp_path / "secret", "NORMAL/a.png", "PNEUMONIA/b.png")
    server = tmp_path / "server"
    if link == "dataset":
        (server / "films").symlink_to(secret)
    elif link == "class":
        folder_of(server / "films", "NORMAL/a.png")
        (server / "films" / "PNEUMONIA").symlink_to(secret / "PNEUMONIA")
    else:
        folder_of(server / "films", "NORMAL/a.png", "PNEUMONIA/b.png")
        (server / "films" / "train").symlink_to(secret)
    assert list_datasets(settings) == ()
    with pytest.raises(DatasetError, match="below the data roots"):
        dataset_at(settings, server / "films")


def test_a_link_within_the_roots_names_the_folder_that_it_leads_to(settings: Settings, tmp_path: Path) -> None:
    folder_of(tmp_path / "server" / "one", "NORMAL/a.png", "PNEUMONIA/b.png")
    (tmp_path / "server" / "two").symlink_to(tmp_path / "server" / "one")
    assert [dataset.path for dataset in list_datasets(settings)] == [(tmp_path / "server" / "one").resolve()]


def test_another_folder_cannot_be_had_by_path_or_by_id(settings: Settings, tmp_path: Path) -> None:
    outside = folder_of(tmp_path / "outside", "NORMAL/a.png", "PNEUMONIA/b.png")
    for path in (outside, tmp_path / "server" / ".." / "outside"):
        with pytest.raises(DatasetError, match="below the data roots"):
            dataset_at(settings, path)
    with pytest.raises(DatasetError, match="folder with NORMAL and PNEUMONIA"):
        dataset_at(settings, tmp_path / "server")
    with pytest.raises(DatasetError, match="id of a dataset"):
        find_dataset(settings, "../outside")


def test_the_list_is_bounded(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        folder_of(tmp_path / "server" / f"set{number}", "NORMAL/a.png", "PNEUMONIA/b.png")
    monkeypatch.setattr(sources, "MAX_DATASETS", 5)
    assert len(list_datasets(settings)) == 5
    monkeypatch.setattr(dataset, "MAX_ENTRIES", 3)
    assert len(list_datasets(settings)) == 3


# Uploads.


def test_a_zip_becomes_a_dataset(settings: Settings) -> None:
    told: list[tuple[int, int]] = []
    stored = unpack_zip(
        settings,
        a_zip(
            *GOOD,
            "chest/",
            "chest/readme.txt",
            "chest/NORMAL/.DS_Store",
            "__MACOSX/chest/NORMAL/._a.png",
            "chest/NORMAL/below/c.png",
            "chest/other/d.png",
        ),
        "Röntgen Herbst (1).zip",
        lambda now: told.append((now.done, now.total)),
    )
    assert stored.dataset.name == "Rontgen-Herbst-1" and stored.dataset.is_upload
    assert stored.dataset.path == (settings.datasets_dir / "Rontgen-Herbst-1").resolve()
    assert names_below(stored.dataset.path) == {"NORMAL/a.png", "PNEUMONIA/b.JPEG", "NORMAL/below/c.png"}
    assert stored.dataset.n == {"train": {"NORMAL": 2, "PNEUMONIA": 1}}
    assert stored.left_out == 2, "the text and the picture beside the classes; hidden files are not worth a word"
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert list_datasets(settings) == (sources.replace(stored.dataset, n=None),)


def test_the_zip_of_the_public_dataset_with_its_second_copy_inside(settings: Settings) -> None:
    """The published archive holds everything a second time, one level deeper."""
    inner = [
        f"chest_xray/{part}/{name}/{part}.jpeg" for part in ("train", "val", "test") for name in ("NORMAL", "PNEUMONIA")
    ]
    stored = unpack_zip(settings, a_zip(*inner, *(f"chest_xray/{name}" for name in inner)), "archive.zip")
    assert stored.dataset.n is not None and set(stored.dataset.n) == {"train", "val", "test"}
    assert len(names_below(stored.dataset.path)) == 6 == stored.left_out


def test_two_uploads_of_one_name_are_kept_apart(settings: Settings) -> None:
    first, second = (unpack_zip(settings, a_zip(*GOOD), "films.zip").dataset for _ in range(2))
    assert (first.name, second.name) == ("films", "films-2") and first.id != second.id


def test_a_directory_becomes_a_dataset(settings: Settings) -> None:
    files = [(name, io.BytesIO(name.encode())) for name in (*GOOD, "chest/notes.txt")]
    files[0][1].read()
    stored = store_files(settings, files)
    assert stored.dataset.name == "chest" and stored.left_out == 1
    assert (stored.dataset.path / "NORMAL" / "a.png").read_bytes() == GOOD[0].encode(), "from its beginning"
    assert store_files(settings, files, name="../../etc").dataset.name == "etc"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/NORMAL/a.png", "absolute"),
        ("../NORMAL/a.png", "climbs"),
        ("NORMAL/../../a.png", "climbs"),
        ("..\\NORMAL\\a.png", "backslash"),
        ("C:/NORMAL/a.png", "drive letter"),
        ("NORMAL/C:a.png", "drive letter"),
        ("NORMAL/a\n.png", "control"),
        ("NORMAL/" + 300 * "a" + ".png", "too long"),
        (20 * "a/" + "a.png", "too long"),
        ("__MACOSX/../../a.png", "climbs"),
        (".hidden/../../a.png", "climbs"),
        ("../folder/", "climbs"),
    ],
)
def test_a_name_that_leads_out_refuses_the_whole_upload(settings: Settings, name: str, words: str) -> None:
    refused(settings, a_zip(*GOOD, name), words)
    with pytest.raises(DatasetError, match=words):
        store_files(settings, [(one, io.BytesIO(PICTURE)) for one in (*GOOD, name)])


@trying(deadline=None)
@given(some.text(alphabet=some.sampled_from("ab./\\:C~\0\n é\ud800N"), max_size=40) | some.text(max_size=60))
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    try:
        parts = safe_parts(name)
    except DatasetError:
        return
    folder = PurePosixPath("/data/folder")
    target = os.path.normpath(folder.joinpath(*parts))
    assert target == "/data/folder" or target.startswith("/data/folder/")
    assert len(PurePosixPath(target).parts) == len(folder.parts) + len(parts)
    assert not any(mark in target for mark in ("\\", "\0", "\n")) and "C:" not in parts


def test_links_and_devices_are_refused(settings: Settings) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFIFO):
        entry = zipfile.ZipInfo("chest/NORMAL/link.png")
        entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
        refused(settings, a_zip(*GOOD, entry, data=b"/etc/passwd"), "a link or a device")


def test_an_encrypted_zip_is_refused(settings: Settings) -> None:
    data = bytearray(a_zip(*GOOD).getvalue())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + offset] |= 1
    refused(settings, io.BytesIO(bytes(data)), "encrypted")


@pytest.mark.parametrize(
    "names",
    [
        ("chest/NORMAL/x.png", "chest/NORMAL/X.PNG"),
        ("chest/NORMAL/\u00e9.png", "chest/NORMAL/e\u0301.png"),
        ("chest/NORMAL/x.png", "chest/NORMAL/x.png/y.png"),
        ("chest/NORMAL/x.png", "chest//NORMAL/./x.png"),
    ],
)
def test_names_that_some_file_system_takes_for_one_are_refused(settings: Settings, names: tuple[str, ...]) -> None:
    refused(settings, a_zip(*GOOD, *names), "differ only in case")


@pytest.mark.filterwarnings("ignore:Duplicate name")  # which is what is tried
def test_the_same_name_twice_is_refused(settings: Settings) -> None:
    refused(settings, a_zip(*GOOD, GOOD[0]), "the same name twice")


def test_bounds_hold(settings: Settings) -> None:
    refused(settings, a_zip(*GOOD), "at most 1 files", Limits(entries=1))
    refused(settings, a_zip(*GOOD), "files of at most 9 bytes", Limits(file_bytes=9))
    refused(settings, a_zip(*GOOD), "once it is unpacked", Limits(total_bytes=50))
    bomb = a_zip(*GOOD, data=bytes(12_000_000))
    assert len(bomb.getvalue()) < 40_000
    refused(settings, bomb, "once it is unpacked")
    with pytest.raises(DatasetError, match="at most 1 files"):
        store_files(settings, [(name, io.BytesIO(PICTURE)) for name in GOOD], limits=Limits(entries=1))


def test_a_zip_that_understates_its_sizes_is_refused(settings: Settings) -> None:
    """The header promises ten bytes; what is really in there is what counts."""
    honest = a_zip(*GOOD, data=bytes(9_000_000))
    data = bytearray(honest.getvalue())
    size = (9_000_000).to_bytes(4, "little")
    assert data.count(size) == 4
    refused(settings, io.BytesIO(bytes(data.replace(size, (10).to_bytes(4, "little")))), "whole zip")


def test_what_is_read_counts_not_what_was_promised(settings: Settings) -> None:
    class Lying(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            return min(super().seek(offset, whence), 10)

    files = [(name, Lying(bytes(3_000_000))) for name in GOOD]
    with pytest.raises(DatasetError, match="once it is unpacked"):
        store_files(settings, files, limits=Limits(total_bytes=4_000_000))
    assert list(settings.datasets_dir.iterdir()) == []


def test_an_entry_without_a_name_is_passed_over(settings: Settings) -> None:
    entry = zipfile.ZipInfo("x")
    entry.filename = ""
    assert unpack_zip(settings, a_zip(*GOOD, entry), "films.zip").left_out == 0


def test_a_damaged_zip_is_refused(settings: Settings) -> None:
    data = a_zip(*GOOD, data=os.urandom(5000)).getvalue()
    refused(settings, io.BytesIO(b"no zip"), "whole zip")
    refused(settings, io.BytesIO(b""), "whole zip")
    refused(settings, io.BytesIO(data[:-30]), "whole zip")
    refused(settings, io.BytesIO(data[:400] + b"damage" + data[406:]), "whole zip")
    strange = bytearray(data)
    strange[strange.index(b"PK\1\2") + 10] = 77
    refused(settings, io.BytesIO(bytes(strange)), "ordinary compression")


@trying(deadline=None)
@given(some.data())
def test_no_damage_gets_an_unexpected_error(tmp_path_factory: pytest.TempPathFactory, data: some.DataObject) -> None:
    whole = bytearray(a_zip(*GOOD, method=zipfile.ZIP_STORED).getvalue())
    for _ in range(data.draw(some.integers(1, 4))):
        whole[data.draw(some.integers(0, len(whole) - 1))] = data.draw(some.integers(0, 255))
    settings = Settings(tmp_path_factory.mktemp("fuzz"))
    try:
        stored = unpack_zip(settings, io.BytesIO(bytes(whole)), "x.zip")
    except DatasetError:
        assert not settings.datasets_dir.exists() or list(settings.datasets_dir.iterdir()) == []
    else:
        assert [path.name for path in settings.datasets_dir.iterdir()] == [stored.dataset.name]


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("readme.txt",),
        ("a.png",),
        ("NORMAL/a.png",),
        ("NORMAL/a.png", "PNEUMONIA/b.txt"),
        ("test/NORMAL/a.png", "test/PNEUMONIA/a.png"),
        ("x/NORMAL/a.png", "y/PNEUMONIA/b.png"),
    ],
)
def test_what_is_no_dataset_is_refused(settings: Settings, names: tuple[str, ...]) -> None:
    refused(settings, a_zip(*names), "two folders called NORMAL and PNEUMONIA")


def test_a_disk_without_room_is_noticed_beforehand_and_midway(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=200_000_001))
    refused(settings, a_zip(*GOOD), "what the disk has room for")
    monkeypatch.undo()

    def full(*_: object, **__: object) -> Callable[..., object]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.data.uploads._write", full)
    refused(settings, a_zip(*GOOD), "a full disk")


def test_what_a_killed_upload_left_is_cleared_a_day_later(settings: Settings) -> None:
    old, fresh = (folder_of(settings.datasets_dir / f".unpacking-{name}", "NORMAL/a.png") for name in ("old", "new"))
    os.utime(old, (1, 1))
    assert list_datasets(settings) == ()
    unpack_zip(settings, a_zip(*GOOD), "films.zip")
    assert not old.exists() and fresh.exists()


# Taking pictures back.


def test_an_upload_can_be_deleted_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    upload = unpack_zip(settings, a_zip(*(f"train/{name.split('/', 1)[1]}" for name in GOOD)), "films.zip").dataset
    kept = folder_of(tmp_path / "server" / "films", "NORMAL/a.png", "PNEUMONIA/b.png")
    with pytest.raises(DatasetError, match="unused upload"):
        delete_dataset(settings, upload.id, [upload.path / "train"])
    for path in (kept, upload.path / "train"):
        with pytest.raises(DatasetError, match=r"expected an upload\. Received: a folder"):
            delete_dataset(settings, dataset_at(settings, path).id, [])
    assert (upload.path / "train" / "NORMAL" / "a.png").is_file()
    delete_dataset(settings, upload.id, [kept])
    assert list(settings.datasets_dir.iterdir()) == [] and len(names_below(kept)) == 2
    with pytest.raises(DatasetError, match="id of a dataset"):
        delete_dataset(settings, upload.id, [])


# Uploads in other layouts.


def test_an_upload_in_another_layout_keeps_it_and_its_dicom_files(settings: Settings) -> None:
    names = ("set/chest/train/Normal/IM0001", "set/chest/train/Viral Pneumonia/b.dcm", "set/chest/valid/Normal/c.png")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, dx_dicom(1))
        archive.writestr("set/chest/train/Normal/masks/IM0001.png", PICTURE)
        archive.writestr("set/labels.txt", b"")
    stored = unpack_zip(settings, file, "x.zip")
    assert stored.left_out == 2
    assert names_below(stored.dataset.path) == {name.removeprefix("set/chest/") for name in names}
    assert stored.dataset.n == {"train": {"NORMAL": 1, "PNEUMONIA": 1}, "val": {"NORMAL": 1, "PNEUMONIA": 0}}


def test_an_upload_with_a_table_is_a_dataset_and_follows_its_table(settings: Settings) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("set/films/a.png", "set/films/b.png", "set/notes.txt"):
            archive.writestr(name, PICTURE)
        archive.writestr("set/table.csv", b"path,label\nfilms/a.png,NORMAL\nfilms/b.png,PNEUMONIA\n")
    stored = unpack_zip(settings, file, "x.zip")
    assert names_below(stored.dataset.path) == {"films/a.png", "films/b.png", "table.csv"}
    assert stored.dataset.n == {"train": {"NORMAL": 1, "PNEUMONIA": 1}}
    assert [one.id for one in list_datasets(settings)] == [stored.dataset.id]


def test_an_upload_whose_table_means_nothing_is_refused(settings: Settings) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", PICTURE)
        archive.writestr("table.csv", b"path,label\n../../a.png,NORMAL\n")
    refused(settings, file, "below the table's folder in line 2")
