"""Assessment by a version that frames films by their lungs: orientation, refusals, doubt, and measured groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from imaging.film import Radiograph
from model.anatomy import Anatomy
from model.assessment import Assessment, Population
from model.card import GroupResult, Measure
from model.engine import Classifier, ForwardPass
from model.examination import examine
from model.measured_groups import AGE
from model.networks.architectures import ANATOMY_PX, POSES
from model.pipeline import assess, evidence_of
from model.population import Judgement, Limits
from model.stability import measure_stability
from tests.assessments import VALIDATION
from tests.dicoms import phantom_dicom, stored_values
from tests.fake_classifier import PX, fake_card, framed_classifier, usual_anatomy, usual_lungs
from tests.phantoms import as_png, chest

Grey = npt.NDArray[np.uint8]


def marked(quarters: int = 0, inverted: bool = False) -> Grey:
    """Draw a film with one white corner, at the upper left of the upright picture."""
    picture = np.clip(chest(1, (400, 400)), 10, 200)
    for side in (slice(0, 60), slice(-60, None)):
        picture[side, :60] = picture[side, -60:] = 10
    picture[:60, :60] = 250
    lying = np.ascontiguousarray(np.rot90(picture, -quarters))
    return 255 - lying if inverted else lying


def by_corner(square: Grey, sureness: float = 0.9) -> Anatomy:
    """Tell how a picture of `marked` is turned, and give it the usual lungs."""
    corners = np.array([square[3, 3], square[3, -4], square[-4, -4], square[-4, 3]])
    is_inverted = bool(np.median(corners) > 128)
    pose = POSES.index((int(np.argmin(corners) if is_inverted else np.argmax(corners)), is_inverted))
    poses = np.full(8, (1 - sureness) / 7, np.float32)
    poses[pose] = sureness
    return Anatomy(usual_lungs(pose), poses, 0.01)


def codes(answer: Assessment) -> list[str]:
    return [issue.code for issue in answer.issues]


def test_an_upright_film_is_assessed_over_its_lungs() -> None:
    answer = assess(as_png(marked()), framed_classifier(by_corner))
    assert answer.issues == () and answer.turn == 0 and answer.corrections == () and answer.prediction is not None
    heatmap, anatomy = answer.heatmap, answer.anatomy
    assert heatmap is not None and anatomy is not None and heatmap.frame is not None
    assert heatmap.frame_cells is not None and heatmap.cells is not None
    assert answer.prediction.logit == pytest.approx(float(heatmap.frame_cells.mean()) - 1.0, abs=1e-4)
    assert answer.prediction.logit == pytest.approx(float(heatmap.cells.mean()) - 1.0, abs=1e-3)
    inside = anatomy.outline(400, 400)
    assert heatmap.values[inside].sum() > 0.9 * heatmap.values.sum()
    assert not heatmap.values[:40, :40].any(), "the white corner is no evidence"


def test_the_map_may_be_drawn_at_another_size() -> None:
    classifier = framed_classifier(by_corner)
    examined = examine(Radiograph(marked(), "0" * 64, "PNG"), classifier)
    whole, small = evidence_of(examined, classifier), evidence_of(examined, classifier, (60, 80))
    assert whole.values.shape == (400, 400) and small.values.shape == (60, 80) and small.cells is not None
    assert np.array_equal(small.cells, np.asarray(whole.cells))
    inside = usual_anatomy(marked()[None])[0].outline(60, 80)
    assert small.values[inside].sum() > 0.85 * small.values.sum()


def test_an_inverted_film_is_corrected_and_says_so() -> None:
    upright = assess(as_png(marked()), framed_classifier(by_corner))
    answer = assess(as_png(marked(inverted=True)), framed_classifier(by_corner))
    assert codes(answer) == ["INVERTED"] and answer.corrections == ("inverted",)
    assert answer.prediction == upright.prediction
    assert answer.radiograph is not None and np.array_equal(answer.radiograph.pixels, marked())


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_film_on_its_side_is_offered_a_turn_and_left_as_it_is(quarters: int, inverted: bool) -> None:
    answer = assess(as_png(marked(quarters, inverted)), framed_classifier(by_corner))
    assert codes(answer) == ["INVERTED", "ROTATED"][not inverted :] and answer.turn == 360 - 90 * quarters
    assert answer.radiograph is not None and np.array_equal(answer.radiograph.pixels, marked(quarters))
    assert answer.anatomy is not None and answer.heatmap is not None
    expected = np.rot90(usual_lungs().max(0) > 127, -quarters)
    assert (answer.anatomy.outline(ANATOMY_PX, ANATOMY_PX) == expected).all()
    inside = answer.anatomy.outline(400, 400)
    assert answer.heatmap.values[inside].sum() > 0.9 * answer.heatmap.values.sum()
    again = assess(as_png(marked(quarters, inverted)), framed_classifier(by_corner), turn=answer.turn)
    assert codes(again) == ["INVERTED"][not inverted :] and again.turn == 0


def test_a_slight_suspicion_changes_nothing_where_lungs_are_found() -> None:
    answer = assess(as_png(marked(1)), framed_classifier(lambda square: by_corner(square, 0.5)))
    assert codes(answer) == [] and answer.turn == 0


def test_before_a_refusal_a_slight_suspicion_is_examined() -> None:
    def find(square: Grey) -> Anatomy:
        found = by_corner(square, 0.5)
        return found if found.orientation == POSES[0] else replace(found, lungs=np.zeros_like(found.lungs))

    answer = assess(as_png(marked(1)), framed_classifier(find))
    assert codes(answer) == ["ROTATED"] and answer.turn == 270


def nothing_found(_: Grey) -> Anatomy:
    return Anatomy(np.zeros((2, ANATOMY_PX, ANATOMY_PX), np.uint8), np.eye(8, dtype=np.float32)[0], 0.2)


def no_chest(_: Grey) -> Anatomy:
    return Anatomy(usual_lungs(), np.eye(8, dtype=np.float32)[0], 0.97)


def one_lung(_: Grey) -> Anatomy:
    lungs = usual_lungs()
    lungs[1] = 0
    return Anatomy(lungs, np.eye(8, dtype=np.float32)[0], 0.1)


@pytest.mark.parametrize("find", [nothing_found, no_chest])
def test_what_has_no_two_lungs_is_refused(find: Any) -> None:
    answer = assess(as_png(marked()), framed_classifier(find))
    assert codes(answer) == ["NOT_A_CHEST_RADIOGRAPH"] and answer.is_refused and answer.heatmap is None
    assert answer.anatomy is not None and "lateral" in answer.reasons[0]


def test_lungs_in_doubt_are_said_and_the_whole_thorax_is_read() -> None:
    def unsure(square: Grey) -> Anatomy:
        return replace(by_corner(square), lungs=usual_lungs(probability=220))

    seen: list[Grey] = []
    answer = assess(as_png(marked()), framed_classifier(unsure, pictures_seen=seen))
    assert codes(answer) == ["LUNGS_UNCERTAIN"] and answer.prediction is not None and not answer.is_outside
    middle = PX
    assert seen[0][middle, middle, 1] == 255, "between the lungs"
    assert (seen[0][2, :, 1] == 0).all(), "but not beside the thorax"
    assert answer.heatmap is not None and answer.heatmap.values[180, 200] > 0
    assert not answer.heatmap.values[:40, :40].any()


@pytest.mark.parametrize(("shift", "cropped"), [(0.0, False), (-0.12, False), (-0.24, True)])
def test_a_lung_that_is_cut_off_by_an_edge_is_said(shift: float, cropped: bool) -> None:
    lungs = np.roll(usual_lungs(), round(shift * ANATOMY_PX), axis=1)
    lungs[:, ANATOMY_PX // 2 :][:, ANATOMY_PX // 4 :] = 0  # what would come in again below
    upright = Anatomy(lungs, np.eye(8, dtype=np.float32)[0], 0.01)
    answer = assess(as_png(marked()), framed_classifier(lambda _: upright))
    assert ("CROPPED" in codes(answer)) is cropped and answer.prediction is not None


class Far:
    """A training population that everything is far from."""

    def judge(self, _gate_features: npt.NDArray[np.float32], _last: npt.NDArray[np.float32]) -> Judgement:
        limits = Limits(1.0, 2.0, 0.5, 0.5, 0.5)
        return Judgement(Population(3.0, 1.0), limits, np.eye(8)[2], 9.0, 0.9)


def far_away(classifier: Classifier) -> Classifier:
    def forward(pictures: Grey) -> ForwardPass:
        logits, features, weights = classifier.explain(pictures)
        return ForwardPass(logits, features, weights, features.mean((1, 2)), features.mean((1, 2)))

    return replace(classifier, forward=forward, population=Far())  # type: ignore[arg-type]


def aged(age: str) -> bytes:
    return phantom_dicom(1, stored=stored_values(marked(), 12), PatientAge=age, PatientBirthDate=None)


def measured(specificity: float, n: int = 100, name: str = "18 years and over") -> GroupResult:
    right = round(n * specificity)
    nothing = Measure(float("nan"), float("nan"), float("nan"))
    rate = Measure(specificity, specificity - 0.08, specificity + 0.05)
    return GroupResult(AGE, name, n, 0, n - right, right, 0, nothing, nothing, rate, False)


def card_with(*groups: GroupResult) -> Any:
    return fake_card(
        preprocessing={"input_px": 2 * PX, "detail_px": 2 * PX, "frame": "lungs"},
        evaluations={"validation": replace(VALIDATION, groups=groups)},
    )


def test_a_film_far_from_the_training_population_is_never_refused_for_it() -> None:
    answer = assess(as_png(marked()), far_away(framed_classifier(by_corner)))
    assert codes(answer) == ["OUTSIDE_POPULATION"] and answer.prediction is not None and answer.turn == 0
    assert "adults" not in answer.issues[0].message, "what earlier versions did is not said of this one"


def test_an_adult_is_inside_where_adults_were_measured_and_read_well() -> None:
    group = measured(0.9)
    answer = assess(aged("041Y"), far_away(framed_classifier(by_corner, card_with(group))))
    assert codes(answer) == [] and not answer.is_outside and answer.groups == (group,)


def test_an_adult_is_outside_where_adults_were_read_badly_however_near_the_film_is() -> None:
    answer = assess(aged("041Y"), framed_classifier(by_corner, card_with(measured(0.3))))
    assert codes(answer) == ["OUTSIDE_POPULATION"]
    assert "specificity 0.30" in answer.issues[0].message and "n = 100 normal" in answer.issues[0].message


def test_an_adult_is_outside_where_adults_were_not_measured() -> None:
    for groups in ((), (measured(0.9, n=12),), (measured(0.9, name="6–12 years"),)):
        answer = assess(aged("041Y"), framed_classifier(by_corner, card_with(*groups)))
        assert codes(answer) == ["OUTSIDE_POPULATION"] and answer.groups == ()
        assert "41 years" in answer.issues[0].message and "not measured" in answer.issues[0].message
    assert codes(assess(aged("004Y"), framed_classifier(by_corner, card_with()))) == []


def test_the_perturbation_test_frames_every_copy() -> None:
    seen: list[Grey] = []
    classifier = framed_classifier(pictures_seen=seen)
    film = Radiograph(marked(), "0" * 64, "PNG")
    found = measure_stability(film, classifier)
    assert len(seen) == 9 and len(found.changes) == 8 and found.low < found.high
