"""Examination of one radiograph: how it is turned, where its lungs lie, and what the network makes of it.

Versions that frame a film by its lungs ask the anatomy network first; earlier ones read the whole film, and ask the
heads of their training population how it is turned.

Example: ``examine(radiograph, classifier).explained`` is logit, feature map and the weights of its channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from imaging.orientation import invert_grayscale, rotate
from imaging.radiograph import Radiograph
from model.anatomy import Anatomy
from model.assessment import InputIssue
from model.engine import Classifier, Float, Pictures
from model.frame_map import frame_of
from model.framing import Frame, framed, pair_with, pooled_lungs
from model.gate import check_population, inverted_issue, rotated_issue, training_ages
from model.gate_by_lungs import check_anatomy, check_group
from model.measured_groups import GroupStanding, group_standing
from model.networks.architectures import POSES
from model.population import Judgement

UPRIGHT = POSES[0]
# From this probability on the picture is taken for turned or inverted, if the lungs are found once it is set right.
SURE_POSE = 0.8
_NO_STANDING = GroupStanding()


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """A radiograph with the output of the networks for it.

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
    anatomy
        Lungs of the radiograph as the network read it; None for versions that do not look for them.
    lungs
        What the features were pooled over, as `model.framing.pooled_lungs` gives it; None for earlier versions.
    frame
        The frame of the feature map; None for versions that read the whole film.
    standing
        What the card measured on radiographs of this one's age and projection.
    """

    radiograph: Radiograph
    explained: tuple[float, Float, Float]
    judgement: Judgement | None
    issues: tuple[InputIssue, ...] = ()
    is_inverted: bool = False
    turn: int = 0
    anatomy: Anatomy | None = None
    lungs: Pictures | None = None
    frame: Frame | None = None
    standing: GroupStanding = _NO_STANDING


def examine(radiograph: Radiograph, classifier: Classifier) -> Examined:
    """Examine a radiograph, with its grayscale corrected and its orientation found.

    Parameters
    ----------
    radiograph
        The radiograph.
    classifier
        The classifier version.
    """
    if classifier.find_anatomy is not None:
        return _by_lungs(radiograph, classifier)
    return _corrected(_whole(radiograph, classifier), classifier)


def _by_lungs(radiograph: Radiograph, classifier: Classifier) -> Examined:
    square = classifier.square_of(radiograph)
    upright, quarters, is_inverted = _set_right(square, classifier)
    if is_inverted:
        radiograph, square = invert_grayscale(radiograph), 255 - square
    anatomy, lungs = upright, pooled_lungs(upright)
    explained, judgement = _passed(_framed(_rotated(square, quarters), lungs, classifier), classifier)
    if quarters:
        # The finding is that of the picture as it lies; only its distance from the population is that of it upright.
        anatomy, lungs = _turned_back(upright, quarters), _lying(lungs, quarters)
        explained, _ = _passed(_framed(square, lungs, classifier), classifier)
    turn, standing = 90 * (-quarters % 4), group_standing(classifier.card, radiograph.header)
    issues = check_anatomy(upright)
    if not any(issue.blocking for issue in issues):
        issues = (
            *check_group(standing, judgement, radiograph.header, training_ages(classifier.card)),
            *issues,
            *((inverted_issue(radiograph),) if is_inverted else ()),
            *((rotated_issue(turn),) if turn else ()),
        )
    frame = frame_of(lungs, classifier.detail_px)
    return Examined(radiograph, explained, judgement, issues, is_inverted, turn, anatomy, lungs, frame, standing)


def _framed(square: Pictures, lungs: Pictures, classifier: Classifier) -> Pictures:
    return framed(pair_with(square, lungs), classifier.input_px)


def _set_right(square: Pictures, classifier: Classifier) -> tuple[Anatomy, int, bool]:
    """Return the lungs of a picture as it would be upright with its grayscale corrected, and how it is turned.

    A suspected correction is applied and examined again, and rejected where it shows no upright chest.
    """
    found = _find(square, classifier)
    quarters, is_inverted = found.orientation
    # Before a refusal the slightest suspicion is examined: the picture may only be rotated.
    if (quarters, is_inverted) == UPRIGHT or (found.is_found and float(found.pose.max()) < SURE_POSE):
        return found, 0, False
    upright = _find(_rotated(255 - square if is_inverted else square, quarters), classifier)
    if upright.orientation != UPRIGHT or upright.is_doubtful:
        return found, 0, False
    return upright, quarters, is_inverted


def _find(square: Pictures, classifier: Classifier) -> Anatomy:
    if classifier.find_anatomy is None:
        raise ValueError(f"expected a version that looks for the lungs. Received: {classifier.version}")
    return classifier.find_anatomy(square[None])[0]


def _rotated(square: Pictures, quarters: int) -> Pictures:
    """Undo clockwise quarter turns."""
    return np.ascontiguousarray(np.rot90(square, quarters))


def _turned_back(upright: Anatomy, quarters: int) -> Anatomy:
    """Return the lungs of a picture turned clockwise by so many quarters, from those of it upright."""
    turned, half = np.rot90(upright.lungs, -quarters, axes=(1, 2)), len(POSES) // 2
    pose = np.concatenate((np.roll(upright.pose[:half], quarters), np.roll(upright.pose[half:], quarters)))
    return replace(upright, lungs=np.ascontiguousarray(turned), pose=pose)


def _lying(lungs: Pictures, quarters: int) -> Pictures:
    """Turn lungs clockwise by so many quarters, both as one, so that the frame is not tilted by one above the other."""
    both = np.rot90(lungs.max(0), -quarters)
    return np.stack((both, both))


def _passed(picture: Pictures, classifier: Classifier) -> tuple[tuple[float, Float, Float], Judgement | None]:
    if classifier.forward is None or classifier.population is None:
        logits, features, weights = classifier.explain(picture[None])
        return (float(logits[0]), features[0], weights[0]), None
    seen = classifier.forward(picture[None])
    judgement = classifier.population.judge(seen.gate_features[0], seen.last[0])
    return (float(seen.logits[0]), seen.features[0], seen.weights[0]), judgement


def _whole(radiograph: Radiograph, classifier: Classifier) -> Examined:
    return Examined(radiograph, *_passed(classifier.input_of(radiograph), classifier))


def _corrected(film: Examined, classifier: Classifier) -> Examined:
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
    upright = _whole(rotate(shown, turn), classifier)
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
    lying = _whole(shown, classifier) if is_inverted else film
    return replace(lying, judgement=found, issues=(*issues, rotated_issue(turn)), is_inverted=is_inverted, turn=turn)
