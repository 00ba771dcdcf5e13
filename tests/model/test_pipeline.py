"""assess(): the order of the checks, and radiographs that are rotated or inverted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.errors import ClassifierError
from model.assessment import Neighbour, Population
from model.card import PurposePoint
from model.engine import Classifier, ForwardPass
from model.listing import line
from model.networks.architectures import POSES
from model.pipeline import assess
from model.population import Judgement, Limits
from tests.dicoms import phantom_dicom, stored_values
from tests.fake_classifier import PX, fake_card, fake_classifier
from tests.phantoms import as_png, chest

LIMITS = Limits(1.0, 2.0, 0.5, 0.5, 0.5)


class Eye:
    """Knows the orientation of a picture of `marked`: it has one white corner, or a black one where it is inverted.

    `right` is the (distance, ood_score) of such a picture upright; of any other it is (3, 6).
    """

    def __init__(self, right: tuple[float, float] = (0.5, -5.0), suspects: bool = True) -> None:
        self.right, self.suspects = right, suspects
        self.looked: list[int] = []

    def judge(self, gate_features: npt.NDArray[np.float32], _last: npt.NDArray[np.float32]) -> Judgement:
        picture = gate_features.reshape(PX, PX)
        corners = np.array([picture[2, 2], picture[2, -3], picture[-3, -3], picture[-3, 2]])
        is_inverted = bool(np.median(corners) > 128)
        quarters = int(np.argmin(corners) if is_inverted else np.argmax(corners))
        pose = POSES.index((quarters, is_inverted))
        self.looked.append(pose)
        distance, ood = self.right if pose == 0 else (3.0, 6.0)
        sure = np.full(8, 0.05) + 0.6 * np.eye(8)[pose if self.suspects else 0]
        return Judgement(Population(distance, 1.0, (Neighbour("NORMAL", 0.1),)), LIMITS, sure, ood, 0.0)


def seeing(eye: Eye, **card: Any) -> Classifier:
    plain = fake_classifier(fake_card(**card))

    def forward(pictures: npt.NDArray[np.uint8]) -> ForwardPass:
        logits, features, weights = plain.explain(pictures)
        return ForwardPass(logits, features, weights, pictures.reshape(len(pictures), -1).astype(np.float32), logits)

    return dataclasses.replace(plain, forward=forward, population=eye)  # type: ignore[arg-type]


def marked(quarters: int = 0, inverted: bool = False) -> npt.NDArray[np.uint8]:
    picture = np.clip(chest(1, (400, 400)), 10, 200)
    for side in (slice(0, 60), slice(-60, None)):
        picture[side, :60] = picture[side, -60:] = 10
    picture[:60, :60] = 250
    lying = np.ascontiguousarray(np.rot90(picture, -quarters))
    return 255 - lying if inverted else lying


def codes(answer: Any) -> list[str]:
    return [issue.code for issue in answer.issues]


def test_an_upright_film_is_looked_at_once() -> None:
    eye = Eye()
    answer = assess(as_png(marked()), seeing(eye))
    assert answer.issues == () and answer.corrections == () and answer.turn == 0 and eye.looked == [0]
    assert answer.population is not None and answer.population.distance == 0.5
    assert [one.label for one in answer.population.neighbours] == ["NORMAL"]


def test_an_inverted_film_is_corrected_and_says_so() -> None:
    upright, eye = assess(as_png(marked()), seeing(Eye())), Eye()
    answer = assess(as_png(marked(inverted=True)), seeing(eye))
    assert codes(answer) == ["INVERTED"] and answer.corrections == ("inverted",) and eye.looked == [4, 0]
    assert answer.prediction == upright.prediction, "the finding is that of the corrected film"
    assert answer.radiograph is not None and np.array_equal(answer.radiograph.pixels, marked())
    assert answer.population == upright.population


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_film_on_its_side_is_offered_a_turn_and_left_as_it_is(quarters: int) -> None:
    answer = assess(as_png(marked(quarters)), seeing(Eye()))
    assert codes(answer) == ["ROTATED"] and answer.turn == 360 - 90 * quarters and answer.corrections == ()
    assert answer.radiograph is not None and np.array_equal(answer.radiograph.pixels, marked(quarters))
    assert f"{answer.turn}° clockwise" in answer.issues[0].message
    assert answer.population is not None and answer.population.distance == 0.5, "judged as it would stand"
    again = assess(as_png(marked(quarters)), seeing(Eye()), turn=answer.turn)
    assert codes(again) == [] and again.turn == 0 and again.corrections == (f"turned by {answer.turn}°",)
    assert again.radiograph is not None and np.array_equal(again.radiograph.pixels, marked())


def test_a_film_inverted_and_on_its_side_is_inverted_only() -> None:
    answer = assess(as_png(marked(1, inverted=True)), seeing(Eye()))
    assert codes(answer) == ["INVERTED", "ROTATED"] and answer.corrections == ("inverted",) and answer.turn == 270
    assert answer.radiograph is not None and np.array_equal(answer.radiograph.pixels, marked(1))
    turned = assess(as_png(marked(1)), seeing(Eye()))
    assert answer.prediction == turned.prediction


def test_an_adult_s_film_on_its_side_is_an_adult_s_film() -> None:
    answer = assess(as_png(marked(2)), seeing(Eye(right=(1.4, 0.0))))
    assert codes(answer) == ["OUTSIDE_POPULATION", "ROTATED"] and answer.is_outside and answer.prediction is not None
    assert codes(assess(as_png(marked()), seeing(Eye(right=(1.4, 0.0))))) == ["OUTSIDE_POPULATION"]


def test_an_adult_by_the_header_is_outside_however_the_film_looks() -> None:
    def aged(age: str) -> bytes:
        return phantom_dicom(1, stored=stored_values(marked(), 12), PatientAge=age, PatientBirthDate=None)

    for eye in (Eye(), Eye(right=(1.4, 0.0))):
        answer = assess(aged("018Y"), seeing(eye))
        assert codes(answer) == ["OUTSIDE_POPULATION", "AGE_OUTSIDE"]
        assert "adult according to the age in the header" in answer.issues[0].message
        assert answer.is_outside and answer.prediction is not None
        assert line(answer)["status"] == "outside" and line(answer)["finding"] is None
    child = assess(aged("017Y"), seeing(Eye()))
    assert codes(child) == ["AGE_OUTSIDE"] and not child.is_outside


def test_raw_detector_data_are_assessed_with_a_warning() -> None:
    data = phantom_dicom(1, stored=stored_values(marked(), 12), PresentationIntentType="FOR PROCESSING")
    answer = assess(data, seeing(Eye()))
    assert codes(answer) == ["FOR_PROCESSING"] and answer.prediction is not None and not answer.issues[0].blocking
    assert "raw detector data" in answer.issues[0].message and "FOR PRESENTATION" in answer.issues[0].message
    assert line(answer)["issues"][0]["code"] == "FOR_PROCESSING"


def test_what_looks_no_better_set_right_stays_what_it_was() -> None:
    for right in ((3.5, 1.0), (2.0, 7.0)):
        answer = assess(as_png(marked(1)), seeing(Eye(right=right)))
        assert codes(answer) == ["NOT_A_CHEST_RADIOGRAPH"] and answer.is_refused and answer.corrections == ()
        assert answer.population is not None and answer.population.distance == 3.0


def test_nothing_is_set_right_without_suspicion() -> None:
    eye = Eye(suspects=False)
    assert codes(assess(as_png(marked(1)), seeing(eye))) == ["NOT_A_CHEST_RADIOGRAPH"] and eye.looked == [1]


def test_a_version_without_its_population_reads_as_before() -> None:
    answer = assess(as_png(marked(inverted=True)), fake_classifier())
    assert answer.issues == () and answer.population is None and answer.prediction is not None


def test_what_the_greys_rule_out_is_not_shown_to_the_network() -> None:
    eye = Eye()
    answer = assess(as_png(np.full((300, 300), 80, np.uint8)), seeing(eye), turn=90)
    assert codes(answer) == ["NEARLY_UNIFORM"] and eye.looked == [] and answer.population is None
    assert answer.corrections == ("turned by 90°",)
    assert codes(assess(b"nothing", seeing(eye))) == ["UNREADABLE"]


def test_of_a_clipped_picture_it_is_still_said_what_it_is() -> None:
    film = marked()
    film[100:] = np.where(film[100:] > 30, 255, film[100:])
    assert codes(assess(as_png(film), seeing(Eye()))) == ["CLIPPED"]
    other = assess(as_png(film), seeing(Eye(right=(3.0, 6.0))))
    assert codes(other) == ["NOT_A_CHEST_RADIOGRAPH", "CLIPPED"] and other.is_refused
    assert codes(assess(as_png(film), fake_classifier())) == ["CLIPPED"]


def test_a_white_border_of_an_inverted_film_is_no_clipping() -> None:
    film = np.zeros((700, 700), np.uint8)
    film[150:550, 150:550] = marked()
    film[:20, :20] = film[40:60, 40:60] = 250
    answer = assess(as_png(255 - film), seeing(Eye()))
    assert codes(answer) == ["INVERTED"] and answer.prediction is not None
    assert codes(assess(as_png(film), seeing(Eye()))) == []


def test_the_purpose_moves_the_operating_point() -> None:
    card = {"purposes": (PurposePoint("rule_in", 0.9, 0.5, 0.99, "by hand"),)}
    answer = assess(as_png(marked()), seeing(Eye(), **card), purpose="rule_in")
    assert answer.prediction is not None
    assert (answer.prediction.operating_point, answer.prediction.purpose) == (0.9, "rule_in")
    with pytest.raises(ClassifierError, match="screening"):
        assess(as_png(marked()), seeing(Eye(), **card), purpose="screening")


def test_another_turn_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="Received: 30"):
        assess(as_png(marked()), seeing(Eye()), turn=30)
