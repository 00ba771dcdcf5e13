"""The viewer's ES modules under Node.js: their own tests, and that they compute what Python computes."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from model.explanation import evidence_map, peak_evidence
from model.overlay import colour_table, overlay
from pages.reading import transport
from tests import ROOT
from tests.browser.viewer_page import cells, deep_film
from tests.node import evaluate, run_node
from tests.phantoms import chest

SMALL = chest(1, (300, 360))
GRID = 512


def test_the_modules_own_tests_pass() -> None:
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/pages/reading/viewer").glob("*.test.js"))
    done = run_node("--test", *files)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# tests 0" not in done.stdout and "# skipped 0" in done.stdout


def javascript_grid(against: bool) -> npt.NDArray[np.float64]:
    peak = peak_evidence(cells(), (GRID, GRID), against=against)
    values = evaluate(
        "evidence.js", "[...module.evidenceGrid(...data)]", [cells().astype(float).tolist(), peak, against]
    )
    return np.reshape(values, (GRID, GRID))


@pytest.mark.parametrize("against", [False, True])
def test_the_evidence_map_is_the_reports(against: bool) -> None:
    expected = evidence_map(cells(), (GRID, GRID), against=against)
    np.testing.assert_allclose(javascript_grid(against), expected, atol=1e-5)


@pytest.mark.parametrize("level", [0.2, 0.4, 0.6, 0.8, 0.9])
def test_contours_are_the_edges_of_the_regions_above_their_level(level: float) -> None:
    peak = peak_evidence(cells(), (GRID, GRID))
    segments = evaluate(
        "evidence.js",
        "module.contourSegments(module.evidenceGrid(data[0], data[1], false), data[2])",
        [cells().astype(float).tolist(), peak, level],
    )
    points = np.clip(np.reshape(segments, (-1, 2)) * GRID, 0, GRID - 1).astype(int)
    inside = (evidence_map(cells(), (GRID, GRID)) >= level).astype(np.uint8)
    edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert len(points) > 40 and edge[points[:, 1], points[:, 0]].all()
    rows, columns = np.nonzero(cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)))
    near = np.zeros_like(inside)
    near[points[:, 1], points[:, 0]] = 1
    assert cv2.dilate(near, np.ones((5, 5), np.uint8))[rows, columns].all(), "no part of an edge is missing"


@pytest.mark.parametrize("rendering", [0, 1])
def test_a_rendering_is_shown_as_the_file_asks(rendering: int) -> None:
    film = deep_film()
    assert film.deep is not None
    one = film.renderings[rendering]
    table = evaluate(
        "voi_lut.js",
        "[...module.fillDisplayLut(new Uint8Array(65536), module.presetVoi(data[0], data[1].map("
        "table => Uint16Array.from(table))), false)]",
        [
            {"windowCenter": 1, "windowWidth": 2, "rendering": rendering, "isLut": one.window is None},
            [each.curve.tolist() for each in film.renderings],
        ],
    )
    np.testing.assert_array_equal(np.asarray(table)[film.deep], np.round(one.curve[film.deep] / 257))


@pytest.mark.parametrize("pixels", [SMALL, SMALL.astype(np.uint16)[:77, :55] * 200])
def test_pixels_and_tables_arrive_as_they_were_sent(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    tables = [np.arange(300, dtype=np.uint16), np.arange(300, dtype=np.uint16)[::-1] * 200]
    file = base64.b64encode(transport.encode_pixels(pixels, tables)).decode()
    read = evaluate(
        "image.js",
        "(({width, height, pixelData, voiLuts}) => ({width, height, bytes: pixelData.BYTES_PER_ELEMENT, "
        "pixels: [...pixelData], tables: voiLuts.map(one => [...one])}))("
        'module.parsePicture(Uint8Array.from(Buffer.from(data, "base64")).buffer))',
        file,
    )
    assert (read["height"], read["width"], read["bytes"]) == (*pixels.shape, pixels.itemsize)
    np.testing.assert_array_equal(np.reshape(read["pixels"], pixels.shape), pixels)
    np.testing.assert_array_equal(read["tables"], tables)


@pytest.mark.parametrize(("against", "opacity"), [(False, 0.5), (True, 0.7)])
def test_the_overlay_at_100_percent_is_the_reports(against: bool, opacity: float) -> None:
    """One step of the colour table is up to three gray levels; another map differs by tens."""
    height, width = SMALL.shape
    expected = overlay(SMALL, evidence_map(cells(), SMALL.shape, against=against), opacity).astype(int)
    drawn = evaluate(
        "resample.js",
        """(({width, height, pixels, grid, colormap, opacity}) => {
            const along = (count, samples, stride) =>
              module.samplePositions(count, {step: 1, start: 0}, count, samples / count, samples, stride);
            const strength = module.resample(grid, along(width, 512, 1), along(height, 512, 512),
              new Uint8Array(width * height), 255);
            const grays = module.grayPixels(Uint8Array.from({length: 256}, (_, value) => value), new Uint32Array(256));
            const into = new Uint32Array(width * height);
            module.colourPixels(into, width, [0, 0, width, height], pixels, grays,
              {strength, tints: module.tintTable(Uint8Array.from(colormap), opacity)});
            return [...new Uint8Array(into.buffer)];
        })(data)""",
        {
            "width": width,
            "height": height,
            "pixels": SMALL.ravel().tolist(),
            "grid": javascript_grid(against).ravel().tolist(),
            "colormap": colour_table().ravel().tolist(),
            "opacity": opacity,
        },
    )
    difference = np.abs(np.reshape(drawn, (height, width, 4))[..., :3] - expected)
    assert difference.max() <= 4 and difference.mean() < 0.3, (difference.max(), difference.mean())
