"""What the viewer sends to the browser, and how it reads what comes back."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.testing.v1 import AppTest

from imaging.film import Radiograph, Rendering
from model.anatomy import Anatomy
from model.explanation import peak_evidence
from model.framing import WHOLE, Frame
from model.overlay import colour_table
from pages.reading import transport, windows
from pages.reading.viewer import LEVELS, ViewerState, parse_settings
from tests import ROOT
from tests.fake_classifier import usual_lungs
from tests.phantoms import chest

CELLS = np.outer(np.linspace(-1, 2, 8), np.linspace(0.5, 1, 8)).astype(np.float32)


def a_film(
    radiograph: Radiograph | None,
    cells: np.ndarray | None = CELLS,
    size: tuple[int, int] | None = None,
    anatomy: Anatomy | None = None,
    frame: Frame | None = None,
):
    if radiograph is not None:
        size = size or (radiograph.width, radiograph.height)
    kept = SimpleNamespace(radiograph=radiograph, anatomy=anatomy)
    return SimpleNamespace(sha256="a" * 64, size=size, cells=cells, turn=0, kept=kept, frame=frame)


def script():
    import streamlit as st

    from pages.reading.viewer import show_viewer

    given = st.session_state["given"]
    st.session_state["state"] = show_viewer(*given)


def run(*given: object, app: AppTest | None = None) -> AppTest:
    app = app or AppTest.from_function(script, default_timeout=60)
    app.session_state["given"] = given
    app = app.run()
    assert not app.exception
    return app


def data(app: AppTest) -> dict:
    """What the browser was given."""
    found = app.get("bidi_component")
    assert len(found) == 1
    return json.loads(found[0].proto.json)


def deep(renderings: tuple[Rendering, ...] = (), side: int = 40) -> Radiograph:
    values = np.arange(side * side, dtype=np.uint16).reshape(side, side)
    return Radiograph((values >> 4).astype(np.uint8), "b" * 64, "DICOM", deep=values, renderings=renderings)


def unpacked(file: bytes) -> tuple[np.ndarray, list[np.ndarray]]:
    magic, width, height, size, count, length = struct.unpack_from("<4s5I", file)
    assert magic == b"PLV1"
    pixels = np.frombuffer(file, {1: "u1", 2: "<u2"}[size], width * height, 64).reshape(height, width)
    start = 64 + pixels.nbytes + pixels.nbytes % 2
    return pixels, [np.frombuffer(file, "<u2", length, start + 2 * length * index) for index in range(count)]


def test_the_browser_is_given_the_cells_and_what_they_are_measured_against():
    film = a_film(Radiograph(chest(1, (120, 140)), "c" * 64, "PNG"))
    given = data(run(film, film.kept.radiograph))
    np.testing.assert_allclose(given["evidence"]["cells"], CELLS, atol=1e-5 * float(np.abs(CELLS).max()))
    assert max(len(str(value)) for row in given["evidence"]["cells"] for value in row) <= 10
    assert given["evidence"]["maxFor"] == pytest.approx(peak_evidence(CELLS, (120, 140)))
    assert given["evidence"]["maxAgainst"] == pytest.approx(peak_evidence(CELLS, (120, 140), against=True))
    assert len(given["colormap"]) == 4 * colour_table().size // 3
    assert given["image"]["caption"] == "Radiograph, 140 × 120 px"
    assert given["settings"] == {
        "layout": "beside",
        "mode": "overlay",
        "opacity": 0.5,
        "levels": list(LEVELS),
        "against": False,
        "lungs": False,
    }
    assert "Evidence map, not a lesion outline." in given["text"]["notes"]["for"]["map"]


def test_a_film_without_a_map_is_sent_without_one():
    film = a_film(Radiograph(chest(1, (120, 140)), "c" * 64, "PNG"), cells=None)
    assert data(run(film, film.kept.radiograph))["evidence"] is None


def test_the_outlines_of_the_lungs_are_sent_where_they_were_found():
    radiograph = Radiograph(chest(1, (120, 140)), "c" * 64, "PNG")
    upright = np.eye(8, dtype=np.float32)[0]
    film = a_film(radiograph, anatomy=Anatomy(usual_lungs(), upright, 0.0), frame=WHOLE)
    given = data(run(film, radiograph))
    assert len(given["lungs"]) == 2
    for outline, middle in zip(sorted(given["lungs"]), (0.3, 0.7), strict=True):
        points = np.reshape(outline, (-1, 2))
        assert (points.min(0) + points.max(0)) / 2 == pytest.approx((middle, 0.45), abs=0.02)
    note = given["text"]["notes"]["for"]["map"]
    assert "reads the lungs alone" in note and "outside the lungs" not in note
    doubtful = a_film(radiograph, anatomy=Anatomy(usual_lungs(probability=220), upright, 0.0), frame=WHOLE)
    whole = a_film(radiograph, anatomy=Anatomy(usual_lungs(), upright, 0.0))
    for other in (doubtful, whole):
        assert "Evidence can be outside the lungs." in data(run(other, radiograph))["text"]["notes"]["for"]["map"]
    nothing = a_film(radiograph, anatomy=Anatomy(np.zeros((2, 128, 128), np.uint8), upright, 0.9))
    assert data(run(nothing, radiograph))["lungs"] is None
    earlier = data(run(a_film(radiograph), radiograph))
    assert earlier["lungs"] is None and "Evidence can be outside the lungs." in earlier["text"]["notes"]["for"]["map"]


def test_a_film_whose_file_was_let_go_says_at_what_size_it_is_shown():
    film = a_film(Radiograph(chest(1, (100, 125)), "c" * 64, "PNG"), size=(4000, 3200))
    assert data(run(film, None))["image"]["caption"] == "Radiograph, 4000 × 3200 px, shown at 125 × 100 px"


def test_a_file_that_could_not_be_decoded_is_not_drawn():
    app = run(a_film(None), None)
    assert not app.get("bidi_component")
    assert app.session_state["state"] == ViewerState()


def test_what_holds_a_name_is_not_sent():
    film = a_film(Radiograph(chest(1, (120, 140)), "c" * 64, "PNG"))
    film.name = "Doe^Jane"
    assert "Doe" not in json.dumps(data(run(film, film.kept.radiograph)))


def test_the_same_film_keeps_its_key_and_another_one_or_another_map_is_sent():
    film = a_film(deep())
    app = run(film, film.kept.radiograph)
    first = data(app)["image"]
    assert data(run(film, film.kept.radiograph, app=app))["image"] == first
    other = a_film(Radiograph(chest(1, (120, 140)), "c" * 64, "PNG"))
    app = run(other, other.kept.radiograph, app=app)
    second = data(app)["image"]
    assert second["id"] != first["id"]
    app = run(replace_cells(other, -CELLS), other.kept.radiograph, app=app)
    assert data(app)["image"] == second and data(app)["evidence"]["cells"][0][0] == pytest.approx(0.5)


def test_a_file_is_made_once_and_again_only_when_the_server_has_dropped_it(monkeypatch):
    files = MediaFileManager(MemoryMediaFileStorage("/media"))
    monkeypatch.setattr(transport.runtime, "get_instance", lambda: SimpleNamespace(media_file_mgr=files))
    made = []

    def send(before: transport.MediaFile | None) -> transport.MediaFile:
        return transport.publish(
            "film", lambda: made.append(1) or transport.encode_pixels(np.zeros((40, 50), np.uint8)), before
        )

    sent = send(None)
    assert (sent.bytes, len(made)) == (2064, 1)
    files.clear_session_refs("dontcare")  # as at the start of each run of the page
    assert send(sent) == sent and len(made) == 1
    files.remove_orphaned_files()
    assert send(sent) == sent and len(made) == 1
    files.clear_session_refs("dontcare")
    files.remove_orphaned_files()  # as at the end of one that shows something else
    assert not files.read_file(sent.url.rsplit("/", 1)[-1])
    assert send(sent) == sent and len(made) == 2


def test_an_address_follows_the_servers_base_path(monkeypatch):
    files = MediaFileManager(MemoryMediaFileStorage("/media"))
    monkeypatch.setattr(transport.runtime, "get_instance", lambda: SimpleNamespace(media_file_mgr=files))
    monkeypatch.setattr(transport.st, "get_option", {"server.baseUrlPath": "/ward/lenses/"}.get)
    sent = transport.publish("film", lambda: b"0" * 10, None)
    assert sent.url.startswith("/ward/lenses/media/")
    assert transport.publish("film", lambda: b"1" * 10, sent) == sent


def replace_cells(film, cells):
    return SimpleNamespace(**(vars(film) | {"cells": cells}))


def test_choices_come_back_and_stay_for_the_next_film_but_not_its_rendering():
    linear = Rendering("one", np.arange(2048, dtype=np.uint16), (500.0, 900.0))
    film = a_film(deep((linear, replace(linear, name="two"))))
    app = run(film, film.kept.radiograph)
    chosen = {
        "imageId": data(app)["image"]["id"],
        "layout": "flicker",
        "mode": "contour",
        "opacity": 0.25,
        "levels": [0.9, 0.2],
        "against": True,
        "lungs": True,
        "rendering": 1,
    }
    identity = app.get("bidi_component")[0].proto.id
    app.session_state["given"] = (film, film.kept.radiograph)
    widget_states = app._tree.get_widget_states()
    state = widget_states.widgets.add()
    state.id, state.json_value = identity, json.dumps({"settings": chosen})
    app = app._run(widget_states)
    expected = ViewerState("contour", 0.25, 1, True, "flicker", (0.2, 0.9), True)
    assert app.session_state["state"] == expected
    other = a_film(Radiograph(chest(1, (120, 140)), "c" * 64, "PNG"))
    app = run(other, other.kept.radiograph, app=app)
    assert app.session_state["state"] == replace(expected, rendering=0)
    assert data(app)["settings"] == {
        "layout": "flicker",
        "mode": "contour",
        "opacity": 0.25,
        "levels": [0.2, 0.9],
        "against": True,
        "lungs": True,
    }


@pytest.mark.parametrize(
    "nonsense",
    [
        {"mode": "jet"},
        {"opacity": 7},
        {"opacity": "1"},
        {"opacity": True},
        {"opacity": float("nan")},
        {"rendering": 9},
        {"rendering": -1},
        {"rendering": True},
        {"rendering": "0"},
        {"against": "yes"},
        {"lungs": "yes"},
        {"layout": ["beside"]},
        {"levels": [2]},
        {"levels": "0.5"},
        {"levels": [0.5] * 1000},
        {"levels": [None]},
        {},
    ],
)
def test_what_makes_no_sense_from_the_browser_is_the_default(nonsense):
    assert parse_settings({"imageId": "k"} | nonsense, "k", 2) == ViewerState()


def test_a_rendering_that_was_chosen_for_another_film_does_not_hold():
    assert parse_settings({"imageId": "k", "rendering": 1}, "k", 2).rendering == 1
    assert parse_settings({"imageId": "before", "rendering": 1}, "k", 2).rendering == 0
    assert parse_settings(None, "k", 2) is None


@pytest.mark.parametrize(
    "pixels",
    [
        np.arange(35, dtype=np.uint8).reshape(5, 7),
        np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000,
        np.arange(70, dtype=np.uint16).reshape(5, 14)[:, ::2],
        np.arange(35, dtype=">u2").reshape(5, 7),
    ],
)
def test_packing_loses_nothing(pixels):
    curves = [np.arange(300, dtype=np.uint16), np.arange(300, dtype=np.uint16)[::-1]]
    file = transport.encode_pixels(pixels, curves)
    back, tables = unpacked(file)
    np.testing.assert_array_equal(back, pixels)
    for table, curve in zip(tables, curves, strict=True):
        np.testing.assert_array_equal(table, curve)
    assert file[32:64] == hashlib.sha256(file[64:]).digest()


def test_films_that_differ_only_where_streamlits_own_name_for_a_file_does_not_look_differ_in_their_heads():
    one = np.zeros((2000, 2000), np.uint8)
    other = one.copy()
    other[500, 700] = 1
    first, second = transport.encode_pixels(one), transport.encode_pixels(other)
    # It looks at the first, middle and last 64 KiB.
    assert first[65536:66000] == second[65536:66000] and first[-65536:] == second[-65536:]
    assert first[:64] != second[:64]


def test_a_large_film_has_a_preview_and_a_small_one_none():
    assert not transport.needs_preview(np.zeros((1000, 1000), np.uint16))
    large = np.tile(np.array([100, 300], np.uint16), (1200, 1000))
    assert transport.needs_preview(large)
    small = transport.make_preview(large)
    assert small.dtype == np.uint16 and small.shape == (384, 640)
    np.testing.assert_allclose(small, 200, atol=60)


def test_windows_are_the_files_first_and_then_ours():
    linear = Rendering("Lung", np.arange(2048, dtype=np.uint16), (500.0, 900.0))
    curve = Rendering("Table", np.arange(2048, dtype=np.uint16)[::-1].copy())
    offered = windows.window_presets(deep((linear, curve)))
    assert [one.name for one in offered] == ["Lung", "Table", "Full range", "Lungs", "Soft tissue and bone"]
    assert (offered[0].window_center, offered[0].window_width, offered[0].rendering, offered[0].is_lut) == (
        500,
        900,
        0,
        False,
    )
    assert (offered[1].rendering, offered[1].is_lut, offered[2].rendering) == (1, True, None)
    assert windows.voi_luts(deep((linear, curve)))[1] is curve.curve
    assert (offered[2].window_center, offered[2].window_width) == (800, 1600)
    assert offered[3].window_center < offered[4].window_center
    assert windows.value_count(deep((linear,))) == 2048 and windows.value_count(deep()) == 2048


def test_a_picture_without_windows_is_shown_as_it_is_stored():
    eight = Radiograph(chest(2, (120, 140)), "d" * 64, "PNG")
    sixteen = Radiograph(chest(2, (120, 140)).astype(np.uint16) * 16, "d" * 64, "PNG", bits=12)
    for radiograph, count in ((eight, 256), (sixteen, 4096)):
        first = windows.window_presets(radiograph)[0]
        assert (first.name, first.window_center, first.window_width) == ("As stored", count / 2, count)
        assert windows.value_count(radiograph) == count


def test_the_lungs_window_spreads_the_lungs():
    radiograph = Radiograph(chest(2, (600, 720)), "d" * 64, "PNG")
    window = next(one for one in windows.window_presets(radiograph) if one.name == "Lungs")
    assert window.window_width < 200
    lung = radiograph.pixels[260:330, 190:250]
    assert window.window_center - window.window_width / 2 < lung.mean() < window.window_center + window.window_width / 2


@pytest.mark.parametrize("value", [0, 77])
def test_a_uniform_picture_still_has_windows(value):
    offered = windows.window_presets(Radiograph(np.full((50, 60), value, np.uint8), "d" * 64, "PNG"))
    assert [one.name for one in offered] == ["As stored", "Full range"]
    assert all(one.window_width >= 2 or one.name == "As stored" for one in offered)


def test_the_modules_of_the_components_are_all_imported_and_name_no_other_server():
    for name in ("viewer", "table"):
        folder = ROOT / "pages" / "reading" / f"{name}_component"
        text = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
        imported, waiting = set(), {f"{name}.js"}
        while waiting:
            module = waiting.pop()
            imported.add(module)
            waiting |= set(re.findall(r'^import .* from "\./(.+)";$', text[module], re.M)) - imported
        assert set(text) == {f"{name}.html", f"{name}.css", *imported}
        assert not any("://" in one for one in text.values())


def test_the_server_is_given_the_modules_as_files():
    film = a_film(deep())
    app = run(film, film.kept.radiograph)
    component = app.get("bidi_component")[0].proto
    assert component.component_name == "pneumolens.viewer"
    assert component.js_source_path.startswith("viewer.js") and not component.js_content
