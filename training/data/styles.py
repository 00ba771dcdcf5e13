"""Acquisition styles: groups of films that were made alike, and the model that tells the style of a new film.

The features (`training.data.style_features`) hold nothing of the lungs. They are scaled robustly, reduced by principal
components, the marks apart from tone and noise, and divided by k-means with a fixed seed. A film that is farther from
every style than nearly all of those that the styles were made from has no style.

>>> fitted = fit_styles(features)
>>> assign(fitted, features_of_new_films)[0]
'3'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError
from core.json_text import parse_json
from training.data.style_features import StyleFeatures
from training.data.style_words import describe

Matrix = npt.NDArray[np.float64]

# Name of what is near no style, and of a set too small to be divided.
OTHER = "other"
FEWEST_FILMS = 40
MOST_STYLES = 24
_COMPONENTS = 12
# How much each kind of feature counts. Letters name a unit; how our copies of a film were stored says little.
_WEIGHTS = {"marks": 2.0, "picture": 1.5, "file": 0.3}
_CLIP = 4.0
# A new film may be this much farther from its style than 99 % of the style's own films.
_REACH = 1.5
_DIGITS = 5
_NO_SPREAD = 1e-3


@dataclass(frozen=True, slots=True)
class Block:
    """How one kind of features becomes coordinates: (x − centre) / scale, clipped, projected, weighted.

    Attributes
    ----------
    centre, scale
        (features,).
    components
        (coordinates, features): orthonormal rows, divided by the spread of the first coordinate and multiplied by the
        weight of the kind.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class StyleModel:
    """Styles by name, with what tells the style of a film.

    Attributes
    ----------
    names
        Of the styles, the largest first.
    words
        What marks the films of each style, in words.
    centres
        (styles, coordinates).
    reach
        (styles,): the largest distance from the centre at which a film has the style.
    blocks
        For "marks", "picture" and "file".
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    centres: tuple[tuple[float, ...], ...]
    reach: tuple[float, ...]
    blocks: Mapping[str, Block]


def raw_matrix(features: Sequence[StyleFeatures]) -> dict[str, Matrix]:
    """Return the features of n films by kind: marks (n, 196), picture (n, 38) and file (n, 11), float64."""
    return {
        # The square root, because a mark counts as a mark whether it is bright or very bright.
        "marks": np.sqrt(np.stack([one.marks.ravel() for one in features]).astype(np.float64)),
        "picture": np.stack([one.picture() for one in features]).astype(np.float64),
        "file": np.stack([one.file for one in features]).astype(np.float64),
    }


def fit_styles(features: Sequence[StyleFeatures], seed: int = 0) -> StyleModel:
    """Divide films into styles; the same films in the same order always give the same styles.

    Parameters
    ----------
    features
        Of n films. With fewer than 40 there is one style.
    seed
        Of k-means.

    Raises
    ------
    ValueError
        If there are no films.
    """
    from sklearn.cluster import KMeans

    if not features:
        raise ValueError("expected at least one film. Received: none")
    raw = raw_matrix(features)
    blocks = {kind: _block(kind, values) for kind, values in raw.items()}
    coordinates = _project(blocks, raw)
    k = number_of_styles(len(features))
    member = KMeans(k, n_init=4, random_state=seed).fit_predict(coordinates) if k > 1 else np.zeros(len(features), int)
    order = sorted(set(member.tolist()), key=lambda one: (-int((member == one).sum()), one))
    centres = np.stack([coordinates[member == one].mean(0) for one in order])
    own = np.linalg.norm(coordinates[:, None] - centres[None], axis=2)
    farthest = np.array([np.percentile(own[member == one, at], 99) for at, one in enumerate(order)])
    # A small style's own films do not show how far its next one may be: at least as far as in the usual style.
    reach = _REACH * np.maximum(farthest, np.median(farthest)) + 1e-6
    return StyleModel(
        tuple(str(at + 1) for at in range(len(order))),
        tuple(describe(raw, member == one) for one in order),
        tuple(map(_rounded, centres)),
        _rounded(reach),
        blocks,
    )


def number_of_styles(films: int) -> int:
    """Return into how many styles so many `films` are divided: about a third of the square root, at most 24."""
    return 1 if films < FEWEST_FILMS else min(MOST_STYLES, max(2, round(math.sqrt(films) / 3)))


def coordinates_of(fitted: StyleModel, features: Sequence[StyleFeatures]) -> Matrix:
    """Return the coordinates of films under a style model.

    Parameters
    ----------
    fitted
        The style model.
    features
        Of the n films.

    Returns
    -------
    ndarray
        (n, coordinates), float64.
    """
    return _project(fitted.blocks, raw_matrix(features))


def distances(fitted: StyleModel, features: Sequence[StyleFeatures]) -> Matrix:
    """Return the distance of n films from the centre of each style, float64 (n, styles).

    Parameters
    ----------
    fitted
        The style model.
    features
        Of the films.
    """
    places = coordinates_of(fitted, features)
    return np.asarray(np.linalg.norm(places[:, None] - np.array(fitted.centres)[None], axis=2), np.float64)


def assign(fitted: StyleModel, features: Sequence[StyleFeatures]) -> list[str]:
    """Return the name of the style of each film, `OTHER` where none is near.

    Parameters
    ----------
    fitted
        The style model.
    features
        Of the films, which need not be those of the model.
    """
    if not features:
        return []
    apart = distances(fitted, features)
    nearest = apart.argmin(1)
    within = apart[np.arange(len(apart)), nearest] <= np.array(fitted.reach)[nearest]
    return [fitted.names[at] if near else OTHER for at, near in zip(nearest, within, strict=True)]


def _block(kind: str, values: Matrix) -> Block:
    centre = values.mean(0) if kind == "marks" else np.median(values, axis=0)
    if kind == "marks":  # most cells are empty; scaled one by one, the rarest would count most
        scale = np.ones(values.shape[1])
    else:
        low, high = np.percentile(values, (16, 84), axis=0)
        scale = np.maximum((high - low) / 2, np.maximum(values.std(0) / 4, 1e-3))
    centre, scale = np.array(_rounded(centre)), np.array(_rounded(scale))
    scaled = np.clip((values - centre) / scale, -_CLIP, _CLIP) if kind != "marks" else values - centre
    directions = np.linalg.eigh(np.cov(scaled.T))[1].T[::-1][:_COMPONENTS]
    # The sign of a direction is arbitrary: its largest element is made positive.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)
    directions = directions * np.sign(largest)
    spread = float((scaled @ directions[0]).std())
    weight = _WEIGHTS[kind] / spread if spread > _NO_SPREAD else 0.0  # all films are alike in this kind
    return Block(
        tuple(centre.tolist()),
        tuple(scale.tolist()),
        tuple(map(_rounded, directions * weight)),
    )


def _project(blocks: Mapping[str, Block], raw: Mapping[str, Matrix]) -> Matrix:
    parts = []
    for kind, block in blocks.items():
        scaled = (raw[kind] - np.array(block.centre)) / np.array(block.scale)
        if kind != "marks":
            scaled = np.clip(scaled, -_CLIP, _CLIP)
        parts.append(scaled @ np.array(block.components).T)
    return np.hstack(parts)


def _rounded(values: npt.NDArray[Any]) -> tuple[float, ...]:
    """Return numbers with five significant digits: the model is text on a card, and must read back the same."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in np.asarray(values, np.float64).tolist())


def style_model_to_values(fitted: StyleModel) -> dict[str, Any]:
    """Return the style model as values of JSON."""
    return asdict(fitted)


def style_model_from_values(values: Any) -> StyleModel:
    """Read a style model from the values of JSON.

    Raises
    ------
    DatasetError
        If the values are no style model.
    """

    def row(numbers: Any) -> tuple[float, ...]:
        return tuple(float(number) for number in numbers)

    try:
        blocks = {
            str(kind): Block(row(b["centre"]), row(b["scale"]), tuple(map(row, b["components"])))
            for kind, b in values["blocks"].items()
        }
        fitted = StyleModel(
            tuple(map(str, values["names"])),
            tuple(map(str, values["words"])),
            tuple(map(row, values["centres"])),
            row(values["reach"]),
            blocks,
        )
        wide = sum(len(block.components) for block in blocks.values())
        if not (set(blocks) == set(_WEIGHTS) and len(fitted.names) == len(fitted.centres) == len(fitted.reach)):
            raise ValueError("the parts do not fit together")
        if any(len(centre) != wide for centre in fitted.centres):
            raise ValueError("the centres do not fit the components")
        return fitted
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"expected a style model. Received: {error!r}",
            advice="Audit the training data again with python -m training audit --data DIR --json FILE.",
        ) from error


def read_style_model(path: Path) -> StyleModel:
    """Read the style model from the file `path`, which the command `audit` wrote with `--json`.

    Raises
    ------
    DatasetError
        If the file holds no styles.
    """
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        found = values["style_model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"expected an audit with styles as JSON. Received: {path} ({type(error).__name__})",
            advice="Write one with: python -m training audit --data DIR --json FILE",
        ) from error
    return style_model_from_values(found)
