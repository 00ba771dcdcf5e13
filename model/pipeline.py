"""The one call that the page, the command line and every other reader make: bytes in, `Assessment` out."""

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
from model.gate import check, check_population, inverted_issue, merge_issues, rotated_issue
from model.operating import operating_point
from model.population import POSES, Judgement

UPRIGHT = POSES[0]


def assess(data: bytes, classifier: Classifier, *, turn: int = 0, purpose: str = "default") -> Assessment:
    """Assess the bytes of one file, turned clockwise by `turn` degrees first, at the operating point for `purpose`.

    A file that cannot be read or assessed gives an `Assessment` with a blocking issue whose message a clinician can act
    on, never an exception. Raises ValueError for a turn other than 0, 90, 180 and 270, ClassifierError for a purpose
    that the version has no operating point for.
    """
    started, now = time.perf_counter(), datetime.now(UTC)
    point = operating_point(classifier.card, purpose)
    try:
        radiograph = rotate(decode_radiograph(data), turn)
    except RadiographError as error:
        return Assessment.refused(error, classifier.version, now, time.perf_counter() - started)
    corrections = (f"turned by {turn}°",) if turn else ()
    issues = check(radiograph)
    blocking = {issue.code for issue in issues if issue.blocking}
    # Of a clipped picture the network is still asked what it is: half of a bone film is black, and half of an inverted
    # film may be a white border.
    if blocking and (blocking != {"CLIPPED"} or classifier.population is None):
        return Assessment.refused(
            issues,
            classifier.version,
            now,
            time.perf_counter() - started,
            radiograph=radiograph,
            corrections=corrections,
        )
    looked = _set_right(_look(radiograph, classifier), classifier)
    if looked.is_inverted:
        corrections, issues = (*corrections, "inverted"), check(looked.radiograph)
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
class _Looked:
    """A radiograph that the network has seen and what that says of the picture.

    `explained` holds the logit, the feature map and its channels' weights. `turn` is by how many degrees clockwise the
    film should be turned; `judgement` is that of the film set right, None for versions that do not know their
    population.
    """

    radiograph: Radiograph
    explained: tuple[float, Float, Float]
    judgement: Judgement | None
    issues: tuple[InputIssue, ...] = ()
    is_inverted: bool = False
    turn: int = 0


def _look(radiograph: Radiograph, classifier: Classifier) -> _Looked:
    square = classifier.input_of(radiograph)[None]
    if classifier.forward is None or classifier.population is None:
        logits, features, weights = classifier.explain(square)
        return _Looked(radiograph, (float(logits[0]), features[0], weights[0]), None)
    seen = classifier.forward(square)
    return _Looked(
        radiograph,
        (float(seen.logits[0]), seen.features[0], seen.weights[0]),
        classifier.population.judge(seen.gate_features[0], seen.last[0]),
    )


def _set_right(film: _Looked, classifier: Classifier) -> _Looked:
    """Find out how the film lies, exchange its greys where they are inverted, and judge it as it would stand upright.

    How far a film lies from the training population can only be told of one that is upright. What the first look
    suspects is therefore looked at again, set right; when that looks no better the picture stays what it was.
    """
    judgement = film.judgement
    if judgement is None:
        return film
    as_it_is = replace(film, issues=check_population(judgement))
    quarters, is_inverted = judgement.orientation
    # Of a picture that is about to be refused the slightest suspicion is followed: it may only lie on its side.
    suspected = judgement.is_inverted or judgement.is_turned or (judgement.is_not_chest and judgement.pose[0] < 0.5)
    if not suspected or (quarters, is_inverted) == UPRIGHT:
        return as_it_is
    turn = 90 * (-quarters % 4)
    shown = invert_grayscale(film.radiograph) if is_inverted else film.radiograph
    upright = _look(rotate(shown, turn), classifier)
    found = upright.judgement
    if (
        found is None
        or found.is_not_chest
        or found.orientation != UPRIGHT
        or found.population.distance >= judgement.population.distance
    ):
        return as_it_is
    issues = (*check_population(found), *((inverted_issue(film.radiograph),) if is_inverted else ()))
    if not turn:
        return replace(upright, issues=issues, is_inverted=is_inverted)
    lying = _look(shown, classifier) if is_inverted else film
    return replace(lying, judgement=found, issues=(*issues, rotated_issue(turn)), is_inverted=is_inverted, turn=turn)
