"""Assessment pipeline: bytes in, `Assessment` out. Pages, command line and training call the same function.

Example: ``assess(path.read_bytes(), load_classifier(folder)).prediction.probability``
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

from core.errors import RadiographError
from imaging.orientation import rotate
from imaging.radiograph import decode_radiograph, squash
from model.anatomy import Anatomy
from model.assessment import Assessment, Heatmap
from model.calibration import predict
from model.engine import Classifier
from model.examination import Examined, examine
from model.explanation import grad_cam
from model.frame_map import framed_map
from model.gate import check, merge_issues, training_ages
from model.operating import operating_point


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
    # A version that was measured on groups of patients answers for the age of each; see `model.measured_groups`.
    ages = None if classifier.find_anatomy else training_ages(classifier.card)
    issues = check(radiograph, ages)
    blocking = {issue.code for issue in issues if issue.blocking}
    # A clipped picture is still judged by the network: half of a bone radiograph is black, and half of an inverted
    # radiograph may be a white border.
    if blocking and (blocking != {"CLIPPED"} or not (classifier.population or classifier.find_anatomy)):
        return Assessment.refused(
            issues,
            classifier.version,
            now,
            time.perf_counter() - started,
            radiograph=radiograph,
            corrections=corrections,
        )
    looked = examine(radiograph, classifier)
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
            anatomy=looked.anatomy,
        )
    prediction = replace(predict(looked.explained[0], classifier.card.calibration, point), purpose=purpose)
    return Assessment(
        looked.radiograph,
        issues,
        prediction,
        evidence_of(looked, classifier),
        classifier.version,
        now,
        time.perf_counter() - started,
        corrections,
        turn=looked.turn,
        population=judged,
        anatomy=looked.anatomy or _lungs_beside(looked, classifier),
        groups=looked.standing.groups,
    )


def _lungs_beside(examined: Examined, classifier: Classifier) -> Anatomy | None:
    """Return the lungs for the zones of the evidence where a version did not look for them itself."""
    if classifier.find_lungs is None or examined.turn:
        return None
    return classifier.find_lungs(squash(examined.radiograph)[None])[0]


def evidence_of(examined: Examined, classifier: Classifier, shape: tuple[int, int] | None = None) -> Heatmap:
    """Return the evidence map of an examined radiograph.

    Parameters
    ----------
    examined
        The radiograph with the output of the network.
    classifier
        The version that examined it.
    shape
        (H, W) of the map; None for that of the radiograph.
    """
    (_, features, weights), film = examined.explained, examined.radiograph
    shape = shape or (film.height, film.width)
    if examined.frame is None or examined.lungs is None:
        return grad_cam(features, weights, shape, layer=classifier.layer)
    return framed_map(
        features, weights, examined.frame, examined.lungs, shape, classifier.input_px, layer=classifier.layer
    )
