"""Assessment pipeline: bytes in, `Assessment` out. Pages, command line and training call the same function.

Example: ``assess(path.read_bytes(), load_classifier(folder)).prediction.probability``
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from core.errors import RadiographError
from imaging.orientation import invert_grayscale, rotate
from imaging.radiograph import Radiograph, decode_radiograph
from model.assessment import Assessment, InputIssue
from model.calibration import predict
from model.engine import Classifier, Float
from model.explanation import grad_cam
from model.gate import check, check_population, inverted_issue, merge_issues, rotated_issue, training_ages
from model.networks.architectures import POSES
from model.operating import operating_point
from model.population import Judgement

UPRIGHT = POSES[0]


def assess(data: bytes, classifier: Classifier, *, turn: int = 0, purpose: str = "default") -> Assessment:
    """Assess the bytes of one file.

    A file that cannot be read or assessed gives an assessment with a blocking issue, never an exception.

    Parameters
    ----------
    data
        Content of a DICOM or image file.
    classifier
        The classifier version.
    turn
        Clockwise rotation to apply first: 0, 90, 180 or 270 degrees.
    purpose
        Purpose of the operating point, one of `core.settings.PURPOSES`.

    Returns
    -------
    Assessment
        A prediction with its evidence map, or blocking issues.

    Raises
    ------
    ValueError
        If `turn` is another angle.
    ClassifierError
        If the version has no operating point for the purpose.
    """
    started, now = time.perf_counter(), datetime.now(UTC)
    point = operating_point(classifier.card, purpose)
    try:
        radiograph = rotate(decode_radiograph(data), turn)
    except RadiographError as error:
        return Assessment.refused(error, classifier.version, now, time.perf_counter() - started)
    corrections = (f"turned by {turn}°",) if turn else ()
    ages = training_ages(classifier.card)
    issues = check(radiograph, ages)
    blocking = {issue.code for issue in issues if issue.blocking}
    # A clipped picture is still judged by the network: half of a bone radiograph is black, and half of an inverted
    # radiograph may be a white border.
    if blocking and (blocking != {"CLIPPED"} or classifier.population is None):
        return Assessment.refused(
            issues,
            classifier.version,
            now,
            time.perf_counter() - started,
            radiograph=radiograph,
            corrections=corrections,
        )
    looked = _corrected(_examine(radiograph, classifier), classifier)
    if looked.is_inverted:
        corrections, issues = (*corrections, "inverted"), check(looked.radiograph, ages)
    issues = merge_issues(issues, looked.issues)
    judged = looked.judgement.population if looked.judgement else None
    if any(issue.blocking for issue in issues):
        return Assessment.refused(
            issues,
            classifier.version,
            now,
            time.perf_counter() - started,
            radiograph=looked.radiograph,
            corrections=corrections,
            population=judged,
        )
    film, (logit, features, weights) = looked.radiograph, looked.explained
    prediction = replace(predict(logit, classifier.card.calibration, point), purpose=purpose)
    heatmap = grad_cam(features, weights, (film.height, film.width), layer=classifier.layer)
    return Assessment(
        film,
        issues,
        prediction,
        heatmap,
        classifier.version,
        now,
        time.perf_counter() - started,
        corrections,
        turn=looked.turn,
        population=judged,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Examined:
    """A radiograph with the output of the network for it.

    Attributes
    ----------
    radiograph
        The radiograph that the network read.
    explained
        Logit, feature map and the weights of its channels.
    judgement
        Judgement of the upright radiograph; None for versions without a population.
    issues
        Issues from the judgement and the corrections.
    is_inverted
        Whether the grayscale was inverted.
    turn
        Clockwise rotation that would bring it upright, in degrees.
    """

    radiograph: Radiograph
    explained: tuple[float, Float, Float]
    judgement: Judgement | None
    issues: tuple[InputIssue, ...] = ()
    is_inverted: bool = False
    turn: int = 0


def _examine(radiograph: Radiograph, classifier: Classifier) -> _Examined:
    square = classifier.input_of(radiograph)[None]
    if classifier.forward is None or classifier.population is None:
        logits, features, weights = classifier.explain(square)
        return _Examined(radiograph, (float(logits[0]), features[0], weights[0]), None)
    seen = classifier.forward(square)
    return _Examined(
        radiograph,
        (float(seen.logits[0]), seen.features[0], seen.weights[0]),
        classifier.population.judge(seen.gate_features[0], seen.last[0]),
    )


def _corrected(film: _Examined, classifier: Classifier) -> _Examined:
    """Correct inverted grayscale, find the orientation, and judge the radiograph as it would be upright.

    The distance from the training population only holds for upright radiographs. A suspected correction is therefore
    applied and examined again, and rejected when it does not bring the radiograph nearer to the population.
    """
    judgement = film.judgement
    if judgement is None:
        return film
    ages = training_ages(classifier.card)
    as_it_is = replace(film, issues=check_population(judgement, ages))
    quarters, is_inverted = judgement.orientation
    # Before a refusal the slightest suspicion is examined: the picture may only be rotated.
    suspected = judgement.is_inverted or judgement.is_turned or (judgement.is_not_chest and judgement.pose[0] < 0.5)
    if not suspected or (quarters, is_inverted) == UPRIGHT:
        return as_it_is
    turn = 90 * (-quarters % 4)
    shown = invert_grayscale(film.radiograph) if is_inverted else film.radiograph
    upright = _examine(rotate(shown, turn), classifier)
    found = upright.judgement
    if (
        found is None
        or found.is_not_chest
        or found.orientation != UPRIGHT
        or found.population.distance >= judgement.population.distance
    ):
        return as_it_is
    issues = (*check_population(found, ages), *((inverted_issue(film.radiograph),) if is_inverted else ()))
    if not turn:
        return replace(upright, issues=issues, is_inverted=is_inverted)
    lying = _examine(shown, classifier) if is_inverted else film
    return replace(lying, judgement=found, issues=(*issues, rotated_issue(turn)), is_inverted=is_inverted, turn=turn)
