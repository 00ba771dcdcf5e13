"""Damaged files, some hundred of them; `benchmarks/fuzz_radiograph.py` decodes a hundred thousand of the same kind."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from core.errors import RadiographError
from imaging.limits import LIMITS
from imaging.radiograph import decode_radiograph, rendered, to_uint8
from tests.mutations import drawn_seeds, mutated, real_seeds

CODES = {"EMPTY", "UNREADABLE", "UNSUPPORTED", "TOO_SMALL", "TOO_LARGE", "NOT_A_CHEST_RADIOGRAPH", "NOT_FRONTAL"}


def what_became_of(data: bytes) -> str:
    """Decode; nothing but a refusal may leave, and what is decoded is whole."""
    try:
        film = decode_radiograph(data)
    except RadiographError as error:
        assert error.code in CODES and error.advice.endswith(".") and "Received: " in str(error)
        return error.code
    assert min(film.pixels.shape) >= LIMITS.short_side and film.pixels.size <= LIMITS.pixels
    assert to_uint8(film).shape == film.pixels.shape
    for k, rendering in enumerate(film.renderings):
        assert rendering.name and rendering.name.isprintable() and film.deep.max() < rendering.curve.size
        assert np.isfinite(rendering.window or 0).all()
        assert rendered(film, k).pixels.shape == film.deep.shape == film.pixels.shape
    return film.source_format


@pytest.mark.filterwarnings("ignore")  # as in service, where PIL's warnings are not errors
def test_nothing_but_a_refusal_leaves_on_damaged_files():
    seeds = drawn_seeds()
    became = [what_became_of(mutated(index, seeds)) for index in range(600)]
    assert {"UNREADABLE", "UNSUPPORTED", "DICOM"} <= set(became)
    assert 0.1 < became.count("DICOM") / len(became) < 0.6  # else the damage is too little, or too much


@pytest.mark.filterwarnings("ignore")
def test_nothing_but_a_refusal_leaves_on_damaged_real_headers(test_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headers, _ = real_seeds(test_data / "dicom")
    assert len(headers) >= 10
    for index in range(300):
        what_became_of(mutated(index, headers))


def test_the_seeds_themselves_are_whole():
    assert {what_became_of(data) for data in drawn_seeds()} == {"DICOM", "PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"}


def test_a_damaged_file_can_be_made_again():
    seeds = drawn_seeds()
    assert [mutated(index, seeds) for index in range(20)] == [mutated(index, seeds) for index in range(20)]
