"""Robustness to perturbations: performance on perturbed radiographs at the unchanged operating point.

Perturbations apply to the whole radiograph, its aspect ratio kept, with `CANVAS_PX` along its shorter side. Applied to
the full-size file, compression and noise would vanish when it is reduced for the network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.formatting import format_difference, format_estimate, format_rate
from core.progress import Tick
from imaging.radiograph import Radiograph, squash, to_uint8
from model.calibration import probabilities
from model.card import Measure
from model.engine import Classifier
from training.data.sample import Sample
from training.data.split import groups_of
from training.evaluation.compare import Scores, compare_scores
from training.evaluation.evaluate import Failures, decoded, plain, refuse_empty

Picture = npt.NDArray[np.uint8]
CANVAS_PX = 299
# Aim: no mild perturbation lowers accuracy at the unchanged operating point by more than this.
MILD_LIMIT = 0.05
RESAMPLES = 500
CLEAN = "clean"
_NO_CHANGE = Measure(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A named perturbation: `apply` maps uint8 (h, w) and a random generator to uint8 of any size.

    Mild perturbations are plausible differences between hospitals that do not affect a reader.
    """

    name: str
    mild: bool
    apply: Callable[[Picture, np.random.Generator], Picture]


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """Performance on n perturbed radiographs, with paired differences from the clean ones."""

    name: str
    mild: bool
    n: int
    auroc: Measure
    accuracy: Measure
    sensitivity: Measure
    specificity: Measure
    auroc_change: Measure
    accuracy_change: Measure

    @property
    def holds(self) -> bool:
        """Whether accuracy stays within `MILD_LIMIT` of clean."""
        return self.accuracy_change.value >= -MILD_LIMIT


def brightness(factor: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Multiply grey values."""
    return lambda picture, _: _clipped(picture * factor)


def offset(levels: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Add grey levels."""
    return lambda picture, _: _clipped(picture.astype(np.float32) + levels)


def contrast(factor: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Stretch grey values about their mean."""
    return lambda picture, _: _clipped((picture - picture.mean()) * factor + picture.mean())


def gamma(exponent: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Raise grey values, as fractions of white, to a power; below 1 brightens."""
    return lambda picture, _: _clipped((picture / 255) ** exponent * 255)


def blur(sigma: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Blur with a Gaussian; sigma is in pixels of the radiograph squashed to `CANVAS_PX` a side."""

    def apply(picture: Picture, _: np.random.Generator) -> Picture:
        down, across = (sigma * side / CANVAS_PX for side in picture.shape)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigmaX=across, sigmaY=down), np.uint8)

    return apply


def noise(deviation: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Add Gaussian noise with a standard deviation in grey levels."""
    return lambda picture, rng: _clipped(picture + deviation * rng.standard_normal(picture.shape))


def jpeg(quality: int) -> Callable[[Picture, np.random.Generator], Picture]:
    """Store as a JPEG and read again."""

    def apply(picture: Picture, _: np.random.Generator) -> Picture:
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)

    return apply


def rotation(degrees: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Rotate about the centre, anticlockwise, filling with black."""

    def apply(picture: Picture, _: np.random.Generator) -> Picture:
        height, width = picture.shape
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        return np.asarray(cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_LINEAR), np.uint8)

    return apply


def crop(share: float) -> Callable[[Picture, np.random.Generator], Picture]:
    """Keep the middle `share`, in (0, 1], of either side."""

    def apply(picture: Picture, _: np.random.Generator) -> Picture:
        top, left = (round(side * (1 - share) / 2) for side in picture.shape)
        return picture[top : picture.shape[0] - top, left : picture.shape[1] - left]

    return apply


def reencoded(px: int, quality: int) -> Callable[[Picture, np.random.Generator], Picture]:
    """Return a change that gives every radiograph the side `px` and the JPEG `quality`, against shortcuts."""
    return lambda picture, rng: jpeg(quality)(squash(Radiograph(picture, "", ""), px), rng)


PERTURBATIONS = (
    Perturbation("brightness -20 %", True, brightness(0.8)),
    Perturbation("brightness +20 %", True, brightness(1.2)),
    # A fifth of the scale instead of a fifth of the value: the other meaning of 20 %.
    Perturbation("brightness -51 levels", False, offset(-51)),
    Perturbation("brightness +51 levels", False, offset(51)),
    Perturbation("contrast -20 %", True, contrast(0.8)),
    Perturbation("contrast +20 %", True, contrast(1.2)),
    Perturbation("gamma 0.7", False, gamma(0.7)),
    Perturbation("gamma 1.4", False, gamma(1.4)),
    Perturbation("blur 1 px", True, blur(1.0)),
    Perturbation("blur 2 px", False, blur(2.0)),
    Perturbation("noise 8 levels", False, noise(8.0)),
    Perturbation("JPEG 50", True, jpeg(50)),
    Perturbation("JPEG 20", False, jpeg(20)),
    Perturbation("rotation -10°", True, rotation(-10)),
    Perturbation("rotation +10°", True, rotation(10)),
    Perturbation("crop to 90 %", False, crop(0.9)),
    Perturbation("crop to 80 %", False, crop(0.8)),
    Perturbation("inverted", False, lambda picture, _: 255 - picture),
    Perturbation("all 224 px, JPEG 75", False, reencoded(224, 75)),
)


def robustness(
    classifier: Classifier,
    samples: Sequence[Sample],
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    tick: Tick | None = None,
    resamples: int = RESAMPLES,
) -> tuple[tuple[RobustnessRow, ...], Failures]:
    """Measure the classifier on samples as they are and after each perturbation.

    Parameters
    ----------
    classifier
        Decides at the operating point of its card.
    samples
        Each file is decoded once; the same file always gets the same noise.
    perturbations
        One row each.
    tick
        Called with 1 after each file.
    resamples
        Of patients, for the intervals.

    Returns
    -------
    tuple
        The rows, the clean one first, and the files that could not be read.

    Raises
    ------
    DatasetError
        If no file can be read.
    """
    used: list[Sample] = []
    failures: Failures = []
    logits = []
    for start in range(len(samples)):
        for sample, radiograph in decoded(samples[start : start + 1], failures):
            used.append(sample)
            logits.append(classifier.run(variants(radiograph, classifier, perturbations)))
        if tick is not None:
            tick(1)
    refuse_empty(used)
    labels, patients = np.array([s.label for s in used]), groups_of(used)
    point = classifier.card.operating_point.probability
    clean, *changed = (
        Scores(classifier.version, p, point)
        for p in probabilities(np.stack(logits, axis=1), classifier.card.calibration)
    )

    def row(name: str, mild: bool, scores: Scores) -> RobustnessRow:
        compared = compare_scores(labels, patients, scores, clean, most=0, resamples=resamples)
        figures, change = compared.a.figures, dict(compared.differences)
        if scores is clean:
            change = dict.fromkeys(change, _NO_CHANGE)
        return RobustnessRow(
            name,
            mild,
            len(used),
            figures["auroc"],
            figures["accuracy"],
            figures["sensitivity"],
            figures["specificity"],
            change["auroc"],
            change["accuracy"],
        )

    return (
        row(CLEAN, True, clean),
        *(row(one.name, one.mild, scores) for one, scores in zip(perturbations, changed, strict=True)),
    ), failures


def variants(
    radiograph: Radiograph, classifier: Classifier, perturbations: Sequence[Perturbation]
) -> npt.NDArray[np.uint8]:
    """Return the network input of a radiograph, unperturbed and after each perturbation.

    Parameters
    ----------
    radiograph
        The radiograph; its SHA-256 seeds the perturbations.
    classifier
        Prepares the input.
    perturbations
        The perturbations.

    Returns
    -------
    ndarray
        (1 + perturbations, input_px, input_px), uint8, with 2 channels of films framed by their lungs, which are found
        in each perturbed film.
    """
    canvas = _canvas(to_uint8(radiograph))
    inputs = [classifier.input_of(radiograph)]
    for one in perturbations:
        changed = one.apply(canvas, np.random.default_rng(int(radiograph.sha256[:15], 16)))
        inputs.append(classifier.input_of(Radiograph(changed, radiograph.sha256, radiograph.source_format)))
    return np.stack(inputs)


def _canvas(picture: Picture) -> Picture:
    """Reduce a radiograph to `CANVAS_PX` along its shorter side, each pixel the mean of the area it covers."""
    height, width = picture.shape
    scale = CANVAS_PX / min(height, width)
    if scale >= 1:
        return picture
    return np.asarray(
        cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA), np.uint8
    )


def _clipped(grey: npt.NDArray[Any]) -> Picture:
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def rows_for_card(rows: Sequence[RobustnessRow], split: str) -> tuple[dict[str, Any], ...]:
    """Return `rows`, measured on a `split`, in the form of `ModelCard.robustness`; an undefined measure is None.

    Returns
    -------
    tuple of dict
        One for each row.
    """
    return tuple({"split": split, **plain(asdict(row))} for row in rows)


def robustness_to_json(rows: Sequence[RobustnessRow], version: str, split: str) -> str:
    """Return `rows` of the classifier `version` on a `split` as JSON.

    Each row says whether the perturbation stays within `MILD_LIMIT`.
    """
    return json.dumps(
        {
            "classifier_version": version,
            "mild_limit": MILD_LIMIT,
            "rows": [
                values | {"holds": row.holds} for values, row in zip(rows_for_card(rows, split), rows, strict=True)
            ],
        },
        indent=1,
        ensure_ascii=False,
    )


def robustness_to_text(rows: Sequence[RobustnessRow], version: str, split: str) -> str:
    """Return `rows` of the classifier `version` on a `split` as a table; mild perturbations have a star."""
    lines = [
        f"Robustness to perturbations, {split}: n = {rows[0].n}, classifier {version}",
        f"  {'* mild':<22}  {'AUROC':<19}  {'accuracy':<19}  {'sens.':<5}  {'spec.':<5}  accuracy − clean",
    ]
    lines += [
        f"{'*' if row.mild and row.name != CLEAN else ' '} {row.name:<22}  {format_estimate(row.auroc, 3):<19}  "
        f"{format_estimate(row.accuracy, 3):<19}  {_short(row.sensitivity)}  {_short(row.specificity)}  "
        f"{format_difference(row.accuracy_change) if row.name != CLEAN else ''}".rstrip()
        for row in rows
    ]
    mild = [row for row in rows if row.mild and row.name != CLEAN]
    failing = ", ".join(row.name for row in mild if not row.holds)
    if mild:
        lines.append(
            f"accuracy within {100 * MILD_LIMIT:.0f} points of clean under every mild perturbation: "
            + (f"no ({failing})" if failing else "yes")
        )
    return "\n".join(lines)


def _short(measure: Measure) -> str:
    return format_rate(measure.value, 3).ljust(5)
