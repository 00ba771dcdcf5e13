"""Films that a version has learned from are found among those of an evaluation, as files and as pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.settings import Settings
from imaging.radiograph import DETAIL_PX, decode_radiograph, squash
from model.registry import active_version, add_version, load_card
from tests.fake_classifier import fake_card
from tests.phantoms import as_jpeg, as_png, chest
from training.data.duplicates import square_fingerprint
from training.data.sample import Sample, digest
from training.runs.learned_films import FILMS, FilmsSeen, films_of, learned_films, save_films, sketches

OLD, NEW = "2026.01.01-1", "2026.01.02-1"
# Of four films three were trained on, and the last one was held out.
PICTURES = [chest(seed, (150, 180), bool(seed % 2)) for seed in range(4)]


def installed(home: Path, version: str, files: list[bytes], held_out: list[bool], start: str = "random") -> Path:
    """Install a version that was trained on these files."""
    read = [decode_radiograph(data) for data in files]
    samples = [Sample(Path(f"{i}"), i % 2, f"p{i}", True, sha256=one.sha256) for i, one in enumerate(read)]
    card = fake_card(version, data={"digest": digest(samples)}, training={"backbone_weights": start})
    folder = add_version(home / "versions", card, lambda path: path.write_text(version))
    prints = [square_fingerprint(squash(one, DETAIL_PX)) for one in read]
    save_films(folder, samples, np.array(held_out), prints)
    return folder


def seen(*files: bytes) -> FilmsSeen:
    films = FilmsSeen()
    for data in files:
        films(decode_radiograph(data))
    return films


@pytest.fixture
def home(tmp_path: Path) -> Path:
    installed(tmp_path, OLD, [as_png(one) for one in PICTURES], [False, False, False, True])
    return tmp_path


def test_files_and_saved_again_copies_are_counted_and_other_children_are_not(home: Path) -> None:
    smaller = cv2.resize(PICTURES[1], (130, 110), interpolation=cv2.INTER_AREA)
    brighter = np.clip(smaller.astype(int) + 4, 0, 255).astype(np.uint8)
    others = [as_png(chest(seed, (150, 180), bool(seed % 2))) for seed in range(40, 44)]
    films = seen(as_png(PICTURES[0]), as_jpeg(brighter, 75), as_jpeg(PICTURES[3], 80), *others)
    found = learned_films(Settings(home), OLD, films)
    assert (found.n, found.trained, found.trained_nearly, found.held_out, found.unknown) == (7, 1, 1, 1, ())
    assert "2 of 7 radiographs were used to train" in found.sentence and "1 as files, 1 as the same" in found.sentence
    assert "calibrated on 1 of 7 radiographs" in found.sentence
    assert learned_films(Settings(home), OLD, seen(*others)).sentence == ""


def test_what_a_version_started_from_has_learned_counts_and_its_calibration_does_not(home: Path) -> None:
    installed(
        home, NEW, [as_png(chest(90, (150, 180))), as_png(chest(91, (150, 180)))], [False, True], f"version {OLD}"
    )
    found = learned_films(Settings(home), NEW, seen(as_png(PICTURES[0]), as_png(PICTURES[3])))
    assert (found.trained, found.held_out) == (1, 0)


def test_a_file_that_does_not_fit_the_card_is_not_believed(home: Path) -> None:
    path = home / "versions" / OLD / FILMS
    with np.load(path) as kept:
        arrays = dict(kept)
    arrays["label"] = 1 - arrays["label"]
    np.savez(path, **arrays)
    found = learned_films(Settings(home), OLD, seen(as_png(PICTURES[0])))
    assert found.unknown == (OLD,) and found.trained == 0 and "not on record" in found.sentence
    path.write_bytes(b"half a file")
    assert learned_films(Settings(home), OLD, seen(as_png(PICTURES[0]))) == dataclasses.replace(found)


def test_a_file_that_is_cut_short_is_not_believed(home: Path) -> None:
    path, settings = home / "versions" / OLD / FILMS, Settings(home)
    card = load_card(settings, OLD)
    assert films_of(settings, card) is not None
    path.write_bytes(path.read_bytes()[:-40])
    assert films_of(settings, card) is None


def test_the_shipped_version_has_its_films_on_record(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    card = load_card(settings, active_version(settings))
    films = films_of(settings, card)
    assert films is not None, "films.npz gives the digest of the data on the card"
    assert len(films.sha256) == len(films.phash) == 5232
    assert int(films.held_out.sum()) == sum(card.data["validation"][name] for name in ("NORMAL", "PNEUMONIA"))


def test_a_sketch_is_no_picture_and_the_same_on_every_machine() -> None:
    thumbnail = np.arange(1024, dtype=np.uint32).reshape(32, 32) * 7919 % 256
    film = dataclasses.replace(square_fingerprint(np.zeros((64, 64), np.uint8)), thumbnail=thumbnail.astype(np.uint8))
    assert sketches([film]).shape == (1, 32)
    assert sketches([film])[0, :4].tolist() == [85, 15, 91, 166]
