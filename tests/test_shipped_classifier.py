"""The classifier that ships: its files, and its assessments of forty real radiographs where there are any."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.settings import Settings
from model.assessment import Assessment
from model.engine import Classifier, load_classifier
from model.pipeline import assess
from model.registry import active_version, load_card, verify, version_folder
from tests.phantoms import as_jpeg, as_png, chest


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def classifier(settings: Settings) -> Classifier:
    return load_classifier(version_folder(settings, active_version(settings)))


@pytest.fixture(scope="module")
def assessed(classifier: Classifier) -> Callable[[Path], Assessment]:
    """Assesses a file, each once for all tests here."""
    return functools.cache(lambda path: assess(path.read_bytes(), classifier))


def twenty(test_data: Path, label: str) -> list[Path]:
    """Twenty radiographs of a class, each fifth of its folder."""
    files = sorted((test_data / "kermany" / "test_half" / label).iterdir())[::5][:20]
    assert len(files) == 20
    return files


def test_shipped_files_are_whole_and_small_enough(settings: Settings) -> None:
    version = active_version(settings)
    card = verify(version_folder(settings, version))
    assert card.version == version
    assert (version_folder(settings, version) / card.weights_file).stat().st_size <= 60e6
    assert {"validation", "validation_shifted"} <= set(load_card(settings, version).evaluations)
    assert "children" in card.intended_use and card.limitations and card.data["digest"]


def test_assessment_is_whole_and_repeatable(classifier: Classifier) -> None:
    data = as_png(chest(4, (700, 820), pneumonia=True))
    first, second = assess(data, classifier), assess(data, classifier)
    assert first.prediction and first.heatmap and second.prediction
    assert first.prediction.probability == second.prediction.probability
    assert first.heatmap.values.shape == (700, 820)
    assert first.classifier_version == classifier.version


def test_two_threads_get_the_answers_that_one_gets(classifier: Classifier) -> None:
    from concurrent.futures import ThreadPoolExecutor

    films = [as_png(chest(seed, (256, 256))) for seed in range(6)]

    def probability(data: bytes) -> float:
        prediction = assess(data, classifier).prediction
        assert prediction is not None
        return prediction.probability

    alone = [probability(film) for film in films]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(probability, films)) == pytest.approx(alone, abs=1e-6)


def test_a_refused_file_is_an_answer(classifier: Classifier) -> None:
    answer = assess(b"not a picture", classifier)
    assert answer.is_refused and answer.prediction is None and answer.radiograph is None
    blank = assess(as_png(np.full((300, 300), 90, np.uint8)), classifier)
    assert [issue.code for issue in blank.issues] == ["NEARLY_UNIFORM"] and blank.prediction is None


def test_a_colour_photograph_is_refused(classifier: Classifier) -> None:
    rng = np.random.default_rng(0)
    photo = np.repeat(np.repeat(rng.integers(0, 256, (30, 30, 3), np.uint8), 10, 0), 10, 1)
    answer = assess(as_png(photo), classifier)
    assert answer.prediction is None and answer.heatmap is None
    assert [(issue.code, issue.blocking) for issue in answer.issues] == [("NOT_A_CHEST_RADIOGRAPH", True)]


def test_forty_real_radiographs(
    classifier: Classifier, assessed: Callable[[Path], Assessment], test_data: Path
) -> None:
    """Twenty of each class: most are right, and saving every third again as a JPEG changes little."""
    right, moved = 0, []
    for label in ("NORMAL", "PNEUMONIA"):
        files = twenty(test_data, label)
        for path in files:
            answer = assessed(path)
            assert answer.prediction is not None and answer.heatmap is not None and answer.radiograph is not None
            right += answer.prediction.finding == ("PNEUMONIA" if label == "PNEUMONIA" else "NO_PNEUMONIA")
            if path not in files[::3]:
                continue
            again = assess(as_jpeg(answer.radiograph.pixels, 80), classifier).prediction
            assert again is not None
            moved.append(abs(again.probability - answer.prediction.probability))
    assert right >= 35
    assert float(np.median(moved)) < 0.03


def test_blurring_what_the_map_marks_lowers_the_score_more(
    classifier: Classifier, assessed: Callable[[Path], Assessment], test_data: Path
) -> None:
    """A deletion test (after Petsiuk et al. 2018): blur the marked 15 % of a film, or as much somewhere else."""
    import cv2

    rng = np.random.default_rng(0)
    marked, random = [], []
    for path in twenty(test_data, "PNEUMONIA")[::2]:
        answer = assessed(path)
        assert answer.prediction and answer.heatmap and answer.radiograph
        pixels = answer.radiograph.pixels
        blurred = cv2.GaussianBlur(pixels, (0, 0), 12)
        values = answer.heatmap.values
        shifted = np.roll(values, (int(rng.integers(60, 160)), int(rng.integers(60, 160))), (0, 1))
        for where, kept in ((values, marked), (shifted, random)):
            mask = where >= np.quantile(where, 0.85)
            changed = assess(as_png(np.where(mask, blurred, pixels).astype(np.uint8)), classifier).prediction
            assert changed is not None
            kept.append(answer.prediction.logit - changed.logit)
    assert np.mean(marked) > np.mean(random)


def test_drawn_films_are_unlike_the_training_films_and_still_read(classifier: Classifier) -> None:
    answer = assess(as_png(chest(2, (400, 400))), classifier)
    assert answer.is_outside and answer.prediction is not None and answer.words.startswith("Outside")
    assert answer.population is not None and len(answer.population.neighbours) == 3


def test_the_gate_on_children_adults_and_other_pictures(
    classifier: Classifier, assessed: Callable[[Path], Assessment], test_data: Path
) -> None:
    """A sample of each; `python -m benchmarks.gate` counts all of them."""
    found = [assessed(path) for label in ("NORMAL", "PNEUMONIA") for path in twenty(test_data, label)[:12]]
    assert len(found) >= 20 and not any(one.is_refused for one in found)
    assert sum(one.is_outside for one in found) <= 2
    assert not any({"INVERTED", "ROTATED"} & {issue.code for issue in one.issues} for one in found)
    adults = [assess(path.read_bytes(), classifier) for path in sorted((test_data / "nih_adult").rglob("*.jpg"))[::18]]
    assert len(adults) >= 12 and sum(one.is_refused for one in adults) <= 1
    assert sum(one.is_outside or one.is_refused for one in adults) >= 0.8 * len(adults)
    for folder in ("not_cxr", "dicom/not_chest"):
        assert all(assess(path.read_bytes(), classifier).is_refused for path in (test_data / folder).iterdir())
    assert not any(
        assess(path.read_bytes(), classifier).is_refused for path in (test_data / "dicom" / "chest").iterdir()
    )


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("inverted", [False, True])
def test_real_films_that_lie_or_are_inverted_are_set_right(
    quarters: int,
    inverted: bool,
    classifier: Classifier,
    assessed: Callable[[Path], Assessment],
    test_data: Path,
) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        upright = assessed(twenty(test_data, label)[1])
        assert upright.radiograph is not None and upright.population is not None
        lying = np.rot90(upright.radiograph.pixels, -quarters)
        answer = assess(as_png(np.ascontiguousarray(255 - lying if inverted else lying)), classifier)
        codes = {issue.code for issue in answer.issues}
        assert ("INVERTED" in codes, "ROTATED" in codes) == (inverted, quarters > 0)
        assert answer.turn == -90 * quarters % 360 and answer.prediction is not None
        assert answer.population is not None
        assert answer.population.distance == pytest.approx(upright.population.distance, abs=0.02)
        again = assess(as_png(np.ascontiguousarray(lying)), classifier, turn=answer.turn)
        assert again.prediction is not None and upright.prediction is not None
        assert again.prediction.logit == pytest.approx(upright.prediction.logit, abs=1e-3)


def test_version_can_be_chosen_by_setting(settings: Settings) -> None:
    version = active_version(settings)
    assert active_version(dataclasses.replace(settings, classifier="another")) == "another"
    assert active_version(dataclasses.replace(settings, classifier=version)) == version
