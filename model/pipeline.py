"""The one call that the page, the command line and every other reader make: bytes in, `Assessment` out."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from model.assessment import Assessment, InputIssue
from model.calibration import predict
from model.engine import Classifier
from model.errors import RadiographError
from model.gate import check
from model.gradcam import grad_cam
from model.radiograph import Radiograph, decode_radiograph, network_input


def assess(data: bytes, classifier: Classifier) -> Assessment:
    """Assess the bytes of one image file.

    A file that cannot be read or assessed gives an `Assessment` with a blocking issue whose message a clinician can act
    on, never an exception.
    """
    started, now = time.perf_counter(), datetime.now(UTC)
    try:
        radiograph = decode_radiograph(data)
    except RadiographError as error:
        issue = InputIssue(error.code, True, error.advice)
        return Assessment(None, (issue,), None, None, classifier.version, now, time.perf_counter() - started)
    issues = check(radiograph)
    if any(issue.blocking for issue in issues):
        return Assessment(radiograph, issues, None, None, classifier.version, now, time.perf_counter() - started)
    return _assess_decoded(radiograph, issues, classifier, started, now)


def _assess_decoded(
    radiograph: Radiograph, issues: tuple[InputIssue, ...], classifier: Classifier, started: float, now: datetime
) -> Assessment:
    square = network_input(radiograph, classifier.input_px, classifier.detail_px)
    logits, features, weights = classifier.explain(square[None])
    prediction = predict(float(logits[0]), classifier.card.calibration, classifier.card.operating_point)
    heatmap = grad_cam(features[0], weights[0], (radiograph.height, radiograph.width), layer=classifier.layer)
    return Assessment(radiograph, issues, prediction, heatmap, classifier.version, now, time.perf_counter() - started)
