"""A run's version beside the classifier in use: which films, who has learned from them, what is found and kept."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import ClassifierError, DatasetError
from core.progress import Progress
from core.settings import Settings
from model.engine import Classifier
from model.promotions import promote
from model.registry import add_version, load_card, read_card
from tests.commands import run as run_command
from tests.commands import run_warm
from tests.comparisons import NEW, OLD, RUN, a_card, a_result, an_audit
from tests.fake_classifier import fake_card, fake_classifier, framed_classifier, usual_lungs
from tests.phantoms import as_png, write_dataset
from training.commands.compare_run import compare_run_and_print, film_names
from training.data.audit import Issue, audit_to_json
from training.data.dataset import scan_folder
from training.data.manifest import write_manifest
from training.data.sample import Sample, digest
from training.data.split import DUPLICATES_TOGETHER, groups_of, hold_out
from training.runs import candidate, estimate, processes
from training.runs.candidate import read_comparison, start_comparison
from training.runs.candidate_result import result_from_json, result_to_json
from training.runs.held_out import TrainingOverlap, held_out_films, read_manifest, training_overlap
from training.runs.side_by_side import compare_run, stratified


def hashed(samples: Sequence[Sample]) -> list[Sample]:
    return [dataclasses.replace(s, sha256=hashlib.sha256(s.path.read_bytes()).hexdigest()) for s in samples]


def make_run(
    settings: Settings, data: Path, version: str, run_id: str = RUN, seed: int = 1, same: Sequence[Sequence[int]] = ()
) -> Path:
    """Write the records of a run on `data` that has made `version`, and the version's card.

    `same` are the places of pictures that are the same, in a split that keeps them together.
    """
    folder = settings.runs_dir / run_id
    folder.mkdir(parents=True)
    found = scan_folder(data)
    train, val = hashed(found.train), hashed(found.val)
    out = hold_out(train, val, 0.4, seed, same)
    samples = [*train, *val]
    write_manifest(folder / "split.csv", samples, out, found, groups_of(samples, same) if same else ())
    (folder / "run.json").write_text(
        json.dumps(
            {
                "data": str(data),
                "out": str(settings.versions_dir),
                "backbone_weights": "random",
                "source": "",
                "promote": False,
                "extra_evaluations": [],
                "notes": [],
            }
        )
    )
    (folder / "version.json").write_text(
        json.dumps({"version": version, "folder": str(settings.versions_dir / version)})
    )
    held = [s for s, held in zip(samples, out, strict=True) if held]
    add_version(
        settings.versions_dir,
        fake_card(
            version,
            training={"seed": seed, "validation_fraction": 0.4, "backbone_weights": "random"},
            data={
                "digest": digest(samples),
                **({DUPLICATES_TOGETHER: True} if same else {}),
                "validation": {
                    name: sum(s.label == label for s in held) for label, name in enumerate(("NORMAL", "PNEUMONIA"))
                },
            },
        ),
        lambda path: path.write_text(version),
    )
    return folder


def load(folder: Path, _: Sequence[str]) -> Classifier:
    """Stand in for the engine: the newer version tells bright films apart at another level."""
    card = read_card(folder)
    return fake_classifier(card, cut=128 if card.version == NEW else 124)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of films, drawn once: train/ with ten of each class, and test/ with six of other children."""
    folder = tmp_path_factory.mktemp("drawn")
    write_dataset(folder / "train", 10, size=(60, 70))
    write_dataset(folder / "test", 6, seed=4, size=(60, 70))
    return folder


@pytest.fixture
def home(tmp_path: Path, drawn: Path) -> tuple[Settings, Path, Path]:
    """An installation with the old version in use and a run that made the new one, and the films."""
    settings = Settings(tmp_path / "var", shipped_weights=tmp_path / "shipped")
    shutil.copytree(drawn / "train", tmp_path / "films")
    add_version(settings.versions_dir, fake_card(OLD), lambda path: path.write_text("old"))
    promote(settings, OLD, who="installer")
    return settings, make_run(settings, tmp_path / "films", NEW), tmp_path / "films"


def asked(settings: Settings, run: Path, against: str = OLD) -> None:
    assert start_comparison(settings, run, against, lambda _folder, _: None)


def test_without_a_test_part_the_patients_held_out_are_compared(home: tuple[Settings, Path, Path]) -> None:
    _settings, run, films = home
    held = held_out_films(run)
    assert held.split == "validation"
    with (run / "split.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "validation"]
    assert [s.path.relative_to(films).as_posix() for s in held.samples] == [row["path"] for row in rows]
    assert {s.label for s in held.samples} == {0, 1}
    trained = {s.patient for s, part in read_manifest(run) if part == "train"}
    assert not trained & {s.patient for s in held.samples}


def test_a_labelled_test_part_goes_first(tmp_path: Path, drawn: Path, home: tuple[Settings, Path, Path]) -> None:
    settings, _, _ = home
    shutil.copytree(drawn, tmp_path / "parts")
    run = make_run(settings, tmp_path / "parts", "2026.01.04-1", "other")
    held = held_out_films(run)
    assert held.split == "test" and len(held.samples) == 12
    assert {s.path.parent.parent.name for s in held.samples} == {"test"} and all(s.sha256 for s in held.samples)
    for path in (tmp_path / "parts" / "test" / "NORMAL").iterdir():
        path.unlink()
    assert held_out_films(run).split == "validation", "a part without one of the classes compares nothing"


def test_a_folder_that_has_changed_is_refused(home: tuple[Settings, Path, Path]) -> None:
    _settings, run, _films = home
    path = held_out_films(run).samples[0].path
    path.write_bytes(as_png(np.zeros((60, 70), np.uint8)))
    with pytest.raises(DatasetError, match="changed since") as refused:
        held_out_films(run)
    assert path.name not in str(refused.value) + refused.value.advice
    path.unlink()
    with pytest.raises(DatasetError, match="changed since"):
        held_out_films(run)
    (run / "split.csv").unlink()
    with pytest.raises(DatasetError, match="split of a training run"):
        held_out_films(run)


def test_a_run_s_own_films_are_unseen_and_another_run_s_are_counted(home: tuple[Settings, Path, Path]) -> None:
    settings, run, films = home
    held = held_out_films(run).samples
    assert training_overlap(settings, NEW, run, held) == TrainingOverlap(0)
    assert training_overlap(settings, OLD, run, held) == TrainingOverlap(0, (OLD,)), "nobody knows what it has seen"
    other = make_run(settings, films, "2026.01.04-1", "other", seed=2)
    trained = {s.sha256 for s, part in read_manifest(other) if part == "train"}
    expected = sum(s.sha256 in trained for s in held)
    assert expected > 0 and training_overlap(settings, "2026.01.04-1", run, held) == TrainingOverlap(expected)


def with_training(settings: Settings, version: str, start: str, **data: object) -> None:
    add_version(
        settings.versions_dir,
        fake_card(version, data=data, training={"seed": 2, "validation_fraction": 0.4, "backbone_weights": start}),
        lambda path: path.write_text(version),
    )


def test_what_a_version_started_from_counts_as_well(home: tuple[Settings, Path, Path]) -> None:
    settings, run, films = home
    make_run(settings, films, "2026.01.04-1", "other", seed=2)
    held = held_out_films(run).samples
    alone = training_overlap(settings, "2026.01.04-1", run, held)
    with_training(settings, "2026.01.05-1", "version 2026.01.04-1")
    assert training_overlap(settings, "2026.01.05-1", run, held) == TrainingOverlap(alone.films, ("2026.01.05-1",))
    with_training(settings, "2026.01.06-1", "version gone-1")
    assert training_overlap(settings, "2026.01.06-1", run, held) == TrainingOverlap(0, ("2026.01.06-1", "gone-1"))


def test_a_version_made_elsewhere_from_the_same_data_is_split_again(home: tuple[Settings, Path, Path]) -> None:
    settings, run, films = home
    other = make_run(settings, films, "2026.01.04-1", "other", seed=2)
    card, held = load_card(settings, "2026.01.04-1"), held_out_films(run).samples
    known = training_overlap(settings, "2026.01.04-1", run, held)
    for path in other.iterdir():
        path.unlink()
    assert training_overlap(settings, "2026.01.04-1", run, held) == known, "its card says how it was split"
    with_training(settings, "2026.01.05-1", "random", **{**card.data, "validation": {"NORMAL": 1, "PNEUMONIA": 1}})
    assert training_overlap(settings, "2026.01.05-1", run, held).unknown == ("2026.01.05-1",), "split in another way"


def test_a_split_is_repeated_with_copies_together_only_where_the_card_says_so(
    home: tuple[Settings, Path, Path],
) -> None:
    settings, run, films = home
    held = held_out_films(run).samples
    copies = [[0, 4, 8], [12, 18]]  # of five patients
    new, old = (
        make_run(settings, films, f"2026.01.0{n}-1", f"other{n}", seed=3, same=same)
        for n, same in ((4, copies), (5, ()))
    )
    assert {p for s, p in read_manifest(new) if p == "train"} and read_manifest(new) != read_manifest(old)
    known = [training_overlap(settings, f"2026.01.0{n}-1", run, held) for n in (4, 5)]
    by_new = training_overlap(settings, "2026.01.04-1", new, held)
    for record in ("split.csv", "version.json"):
        (new / record).rename(new / f"{record}.kept")
        (old / record).unlink()
    assert training_overlap(settings, "2026.01.05-1", run, held) == known[1], "an old card: by patients and files alone"
    assert training_overlap(settings, "2026.01.04-1", run, held).unknown == ("2026.01.04-1",), "no groups on record"
    (new / "split.csv.kept").rename(new / "split.csv")
    assert training_overlap(settings, "2026.01.04-1", new, held) == by_new == known[0], (
        "the groups are those of the run"
    )
    assert training_overlap(settings, "2026.01.05-1", new, held) == known[1]


def test_the_sample_keeps_the_shares_and_the_order_and_never_changes() -> None:
    samples = [Sample(Path(str(i)), int(i % 4 > 0), str(i), True) for i in range(400)]
    chosen = stratified(samples, 100)
    assert len(chosen) == 100 and sum(s.label for s in chosen) == 75
    assert list(chosen) == sorted(chosen, key=samples.index) and chosen == stratified(samples, 100)
    assert stratified(samples[:7], 100) == tuple(samples[:7])
    rare = [Sample(Path(str(i)), int(i > 0), str(i), True) for i in range(500)]
    assert [s.label for s in stratified(rare, 10)].count(0) == 1


def test_a_comparison_is_all_there_and_reads_back(home: tuple[Settings, Path, Path]) -> None:
    settings, run, _films = home
    asked(settings, run)
    seen: list[Progress] = []
    result = compare_run(settings, run, seen.append, load)
    state = read_comparison(run)
    assert state.state == "done" and state.result is not None
    assert result_to_json(state.result) == result_to_json(result)
    assert (result.candidate, result.against, result.split) == (NEW, OLD, "validation")
    held = held_out_films(run).samples
    c = result.comparison
    assert result.n == c.n == len(held) == result.evaluation.n == result.evaluation_against.n
    assert c.a.version == NEW and c.b.version == OLD
    assert result.films_digest == digest(held) and result.left_out == 0
    assert result.patients == tuple(len({s.patient for s in held if s.label == label}) for label in (0, 1))
    assert sum(one.n for one in result.evaluation.reliability) == result.n
    assert [row.name for row in result.robustness] == [row.name for row in result.robustness_against]
    assert result.robustness[0].name == "clean" and len(result.robustness) == 9
    assert result.robustness[0].accuracy.value == pytest.approx(c.a.figures["accuracy"].value)
    assert [film.index for film in result.films] == [film.index for film in c.disagreeing]
    assert (result.learned, result.learned_against) == (TrainingOverlap(0), TrainingOverlap(0, (OLD,)))
    done, total = [one.done for one in seen], {one.total for one in seen}
    assert done == sorted(done) and done[-1] == candidate.forward_passes(len(held)) and total == {0, done[-1]}
    assert candidate.is_current(settings, result)


def test_pictures_are_named_by_place_and_hold_no_file_names(home: tuple[Settings, Path, Path]) -> None:
    settings, run, films = home
    asked(settings, run)
    result = compare_run(settings, run, load=load)
    folder = run / candidate.FOLDER
    assert result.films
    for place, film in enumerate(result.films, 1):
        assert (film.film, film.map, film.map_against) == tuple(
            f"{place:02d}-{what}.png" for what in ("film", "candidate", "in-use")
        )
        plain, own = (cv2.imread(str(folder / name)) for name in (film.film, film.map))
        assert plain.shape == own.shape == (60, 70, 3)
        assert (plain[..., 0] == plain[..., 2]).all() and (own != plain).any()
    kept = "".join(path.read_text(errors="replace") for path in folder.iterdir() if path.suffix != ".png")
    for path in films.rglob("*.jpeg"):
        assert path.stem not in kept


def test_the_remarks_say_what_speaks_against_the_figures(home: tuple[Settings, Path, Path]) -> None:
    settings, run, films = home
    asked(settings, run)
    said = " ".join(compare_run(settings, run, load=load).remarks)
    assert f"the held-out validation patients of {NEW}" in said and "in its favour" in said
    assert f"It is unknown whether these radiographs were used to train {OLD}" in said
    assert f"measured on {len(held_out_films(run).samples)} of them" in said
    third = "2026.01.04-1"
    make_run(settings, films, third, "other", seed=2)
    asked(settings, run, third)
    result = compare_run(settings, run, load=load)
    said = " ".join(result.remarks)
    assert f"{result.learned_against.films} of these radiographs were used to train {third}" in said
    assert "trained on the same dataset" in said
    twin = "2026.01.05-1"
    make_run(settings, films, twin, "twin", seed=1)
    asked(settings, run, twin)
    said = " ".join(compare_run(settings, run, load=load).remarks)
    assert (
        "with the same number of radiographs held out" in said
        and f"used to train {twin}, but it was calibrated" in said
    )


def test_the_map_of_a_version_that_frames_films_lies_on_their_lungs(home: tuple[Settings, Path, Path]) -> None:
    settings, run, _ = home
    asked(settings, run)

    def load_one_framed(folder: Path, trusted: Sequence[str]) -> Classifier:
        if (card := read_card(folder)).version == OLD:
            return load(folder, trusted)
        sides = {"input_px": 80, "detail_px": 80, "frame": "lungs"}
        return framed_classifier(card=dataclasses.replace(card, preprocessing=sides), bias=-1.0)

    result = compare_run(settings, run, load=load_one_framed)
    first = result.films[0]
    film, own = (cv2.imread(str(run / "comparison" / name)) for name in (first.film, first.map))
    changed, lungs = (film != own).any(-1), usual_lungs().max(0)
    lungs = cv2.dilate(cv2.resize(lungs, (film.shape[1], film.shape[0])), np.ones((5, 5), np.uint8)) > 0
    assert not first.map_is_empty and changed.any() and not changed[~lungs].any()


def test_an_unreadable_film_is_left_out_and_said(
    home: tuple[Settings, Path, Path], drawn: Path, tmp_path: Path
) -> None:
    settings, _, _ = home
    shutil.copytree(drawn, tmp_path / "parts")
    (tmp_path / "parts" / "test" / "NORMAL" / "broken.png").write_bytes(b"no picture")
    run = make_run(settings, tmp_path / "parts", "2026.01.04-1", "other")
    asked(settings, run)
    result = compare_run(settings, run, load=load)
    assert (result.n, result.left_out, result.split) == (12, 1, "test")
    assert any("1 radiograph was unreadable and excluded." in one for one in result.remarks)
    names = film_names(run, result)
    assert len(names) == 12 and names == [f"test/{s.path.parent.name}/{s.path.name}" for s in scan_folder(drawn).test]
    assert result_from_json(result_to_json(result)).unreadable == result.unreadable
    assert result.remarks[0].startswith("Compared on the test split: 12 radiographs of ")


def test_starting_clears_the_earlier_result_and_never_runs_twice(home: tuple[Settings, Path, Path]) -> None:
    settings, run, _ = home
    asked(settings, run)
    compare_run(settings, run, load=load)
    started: list[Sequence[str]] = []

    def begin(folder: Path, arguments: Sequence[str]) -> None:
        started.append(arguments)
        assert not list(folder.glob("*.png")) and not (folder / "comparison.json").exists()
        processes.record_process(folder, os.getpid())

    assert start_comparison(settings, run, OLD, begin)
    assert not start_comparison(settings, run, OLD, begin)
    assert started == [("_compare", str(run.resolve()))]
    assert read_comparison(run).state == "running"


def test_what_cannot_be_compared_is_refused(home: tuple[Settings, Path, Path]) -> None:
    settings, run, _ = home
    with pytest.raises(ClassifierError, match="in use, twice"):
        asked(settings, run, NEW)
    with pytest.raises(ClassifierError, match=r"2025\.01\.01-1"):
        asked(settings, run, "2025.01.01-1")
    (run / "version.json").unlink()
    with pytest.raises(ClassifierError, match="has made a version"):
        asked(settings, run)
    assert read_comparison(run).state == "none"


def test_weights_that_change_meanwhile_are_noticed(home: tuple[Settings, Path, Path]) -> None:
    settings, run, _ = home
    asked(settings, run)
    result = compare_run(settings, run, load=load)
    assert not candidate.is_current(settings, dataclasses.replace(result, against_sha256="other"))
    promote(settings, NEW, who="administrator")
    assert not candidate.is_current(settings, result)
    request = run / candidate.FOLDER / candidate.REQUEST
    request.write_text(request.read_text().replace('"against_sha256": "', '"against_sha256": "0'))
    with pytest.raises(ClassifierError, match="with the weights of the request"):
        compare_run(settings, run, load=load)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"comparison": []}', '{"candidate": "a"'])
def test_anything_else_is_not_a_comparison(text: str) -> None:
    with pytest.raises(DatasetError, match="JSON that is not one"):
        result_from_json(text)


def test_undefined_figures_survive_the_file() -> None:
    own, other = a_card(NEW), a_card(OLD)
    result = a_result(own, other, labels=np.ones(120, int))
    text = result_to_json(result)
    assert "NaN" not in text
    again = result_from_json(text)
    assert math.isnan(again.comparison.delong.auroc_a) and math.isnan(again.comparison.differences["auroc"].low)
    assert result_to_json(again) == text


def test_the_estimate_learns_from_earlier_comparisons(home: tuple[Settings, Path, Path]) -> None:
    settings, run, _ = home
    card = a_card(NEW)
    first = estimate.comparison_seconds(settings, card, card)
    assert first == pytest.approx(15 + candidate.forward_passes(120) * (0.005 + 0.1 * 21_802_784 / 22e6))
    folder = run / candidate.FOLDER
    folder.mkdir()
    (folder / candidate.RESULT).write_text(json.dumps({"seconds_each": 0.5}))
    assert estimate.comparison_seconds(settings, card, card) == 15 + candidate.forward_passes(120) * 0.5
    assert candidate.forward_passes(120) == 2 * (120 + 100 * 9)


def test_the_audit_of_a_run_is_read_and_a_damaged_one_is_none(home: tuple[Settings, Path, Path]) -> None:
    _, run, _ = home
    assert candidate.run_audit(run) is None
    audit = an_audit(Issue("LABEL_CONFLICT", True, "One."))
    (run / "audit.json").write_text(audit_to_json(audit))
    found = candidate.run_audit(run)
    assert found is not None and found.issues == audit.issues
    (run / "audit.json").write_text("{")
    assert candidate.run_audit(run) is None


def test_the_command_prints_what_the_page_shows_and_makes_it_once(
    home: tuple[Settings, Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run, films = home
    monkeypatch.setattr("training.commands.compare_run.start_tensorflow", lambda **_: None)
    compared: list[str] = []
    real: Callable[..., object] = compare_run

    def once(settings: Settings, folder: Path, watch: object) -> object:
        compared.append(folder.name)
        assert read_comparison(folder).state == "running"
        return real(settings, folder, watch, load)

    monkeypatch.setattr("training.runs.side_by_side.compare_run", once)
    out = settings.data_dir / "compared.json"
    assert compare_run_and_print(RUN, None, out, settings) == 0
    said = capsys.readouterr().out
    assert f"A {NEW}" in said and f"B {OLD}" in said and "brightness -20 %" in said and "in its favour" in said
    held = held_out_films(run).samples
    worst = result_from_json(out.read_text()).films[0]
    assert held[worst.index].path.relative_to(films).as_posix() in said, "films go by their paths"
    assert result_from_json(out.read_text()).against == OLD
    assert compare_run_and_print(RUN, OLD, None, settings) == 0
    assert compared == [RUN] and f"A {NEW}" in capsys.readouterr().out
    with pytest.raises(DatasetError, match="name of a training run"):
        compare_run_and_print("../" + RUN, None, None, settings)


def test_a_failed_command_leaves_no_result(home: tuple[Settings, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, run, films = home
    monkeypatch.setattr("training.commands.compare_run.start_tensorflow", lambda **_: None)
    next((films / "NORMAL").iterdir()).rename(films / "NORMAL" / "other.jpeg")
    for path in (films / "PNEUMONIA").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError):
        compare_run_and_print(RUN, None, None, settings)
    assert read_comparison(run).state == "none"
    assert "changed since" in processes.read_json(run / candidate.FOLDER / processes.ERROR)["message"]


SMALL = [
    "--architecture",
    "cnn_2_1",
    "--input-px",
    "32",
    "--epochs",
    "1",
    "--validation-fraction",
    "0.3",
    "--augmentation",
    "plain",
]


@pytest.mark.nightly
def test_two_real_versions_through_the_command_and_in_the_background(
    tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, films = tmp_path / "var", drawn / "train"
    settings = Settings(home, shipped_weights=tmp_path / "shipped")
    for name, seed in (("first", 1), ("second", 2)):
        run_warm(
            "training",
            "train",
            "--data",
            str(films),
            "--run-dir",
            str(settings.runs_dir / name),
            "--seed",
            str(seed),
            *SMALL,
            *(["--promote"] if name == "first" else []),
            data_dir=home,
        )
    folder = settings.runs_dir / "second"
    printed = run_command("training", "compare", "second", data_dir=home).stdout
    result = read_comparison(folder).result
    assert result is not None and result.against in printed and result.candidate in printed
    first = read_manifest(settings.runs_dir / "first")
    trained = {s.sha256 for s, part in first if part == "train"}
    held = held_out_films(folder).samples
    assert result.learned_against == TrainingOverlap(sum(s.sha256 in trained for s in held))
    assert result.learned == TrainingOverlap(0)
    card = load_card(settings, result.candidate)
    assert result.evaluation.measures["auroc"].value == pytest.approx(
        card.evaluations["validation"].measures["auroc"].value, abs=1e-6
    )
    assert candidate.is_current(settings, result)

    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(home))
    start_comparison(settings, folder, result.against)
    deadline = time.monotonic() + 300
    while (state := read_comparison(folder)).state == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert state.state == "done" and state.result is not None, state
    again = dataclasses.replace(state.result, made_at=result.made_at, seconds_each=result.seconds_each)
    assert result_to_json(again) == result_to_json(result)
