"""The viewer in Chromium: its screen is compared with the values that it was drawn from.

What its modules compute is tested without a browser, in tests/pages/reading.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from model.explanation import evidence_map
from model.overlay import colour_table, overlay
from tests.browser.viewer_page import LUNGS, cells, deep_film
from tests.browser.visit import HEIGHT, PATIENCE_MS, WIDTHS, done, fits, press, running_app
from tests.phantoms import chest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# The component's own tree, in which scripts of a test look for what locators find by themselves.
TREE = "document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot"
SMALL = chest(1, (300, 360))
BARE = """.stage { border-radius: 0 !important; outline: none !important } .stage::after { display: none }
.corners, .cross { visibility: hidden !important }"""
# The viewer does not use WebGL without a graphics card, and here is none; this lets it find one.
AS_IF_ON_A_CARD = """
const getParameter = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  const value = getParameter.call(this, name);
  return typeof value === "string" ? "a card" : value;
};"""


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert browser
    with running_app(tmp_path_factory.mktemp("viewer"), "tests/browser/viewer_page.py") as (started, _):
        yield started


def open_film(browser: Any, address: str, name: str, renderer: str = "2d") -> Any:
    """Open a film and wait until it is there at full size."""
    page = browser.new_page()
    page.set_viewport_size({"width": WIDTHS[-1], "height": HEIGHT})
    page.set_default_timeout(PATIENCE_MS)
    if renderer == "webgl":
        page.add_init_script(AS_IF_ON_A_CARD)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
    page.goto(f"{address}/?film={name}")
    loaded(page, name)
    assert page.locator(".stage").get_attribute("data-renderer") == renderer
    return page


def loaded(page: Any, name: str) -> None:
    page.locator(".pl-name", has_text=name).wait_for()
    page.wait_for_function(
        f"""name => {{
        const loaded = {TREE}?.querySelector('.stage')?.dataset.loaded;
        if (!loaded || (window.lastLoaded === loaded && window.lastName !== name)) return false;
        [window.lastLoaded, window.lastName] = [loaded, name];
        return true;
    }}""",
        arg=name,
    )
    settle(page)


def settle(page: Any) -> None:
    """Wait until what was asked for is on the screen."""
    done(page)
    page.evaluate("""() => new Promise(
        done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))""")


def key(page: Any, *names: str) -> None:
    for name in names:
        page.keyboard.press(name)
    settle(page)


def screen(page: Any, pane: int = 0, panes: int = 2) -> np.ndarray:
    """What a pane shows, RGB uint8 (H, W, 3), without what lies over the pictures."""
    bare(page)
    whole = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    # A stage between two of the screen's pixels is drawn at the nearer one.
    box = {side: round(at) for side, at in page.locator(".stage").bounding_box().items()}
    stage = whole[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
    width = (stage.shape[1] - 8) // 2 if panes == 2 else stage.shape[1]
    return stage[:, :width] if pane == 0 else stage[:, stage.shape[1] - width :]


def bare(page: Any) -> None:
    """Take away what lies over the pictures."""
    page.evaluate(
        f"style => {{ if (!{TREE}.querySelector('#bare')) {TREE}.append(Object.assign("
        "document.createElement('style'), {id: 'bare', textContent: style})) }",
        BARE,
    )
    page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")


def middle(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The `size` (H, W) in the middle of a pane, where a film at 100 % lies."""
    top, left = (round((have - want) / 2) for have, want in zip(picture.shape, size, strict=False))
    return picture[top : top + size[0], left : left + size[1]]


def text(page: Any, name: str) -> str:
    return str(page.locator(f"[data-part={name}]").text_content())


def numbers(page: Any) -> tuple[int, int]:
    """Window and level, off the screen."""
    width, level = re.findall(r"-?[\d,]+", text(page, "window"))[:2]
    return int(width.replace(",", "")), int(level.replace(",", ""))


def runs(page: Any) -> int:
    return int(page.get_by_text(re.compile(r"^runs \d+$")).inner_text().split()[1])


def state(page: Any, words: str) -> None:
    page.get_by_text(re.compile(f"^state .*{re.escape(words)}")).wait_for()


def drag(page: Any, right: int, down: int, button: str = "left") -> None:
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.mouse.move(x + right, y + down, steps=6)
    page.mouse.up(button=button)
    settle(page)


def grey(picture: np.ndarray) -> np.ndarray:
    assert (picture.max(axis=2) == picture.min(axis=2)).all()
    return picture[..., 0].astype(int)


def same_map(shown: np.ndarray, expected: np.ndarray) -> None:
    """One step of the colour table is up to three greys; a map that is another one differs by tens."""
    difference = np.abs(shown.astype(int) - expected.astype(int))
    assert difference.max() <= 4 and difference.mean() < 0.3, (difference.max(), difference.mean())


@pytest.mark.parametrize("renderer", ["webgl", "2d"])
def test_at_100_percent_the_screen_shows_the_images_own_pixels_and_the_reports_map(browser, address, renderer):
    page = open_film(browser, address, "small", renderer)
    key(page, "z")
    np.testing.assert_array_equal(grey(middle(screen(page), SMALL.shape)), SMALL)
    same_map(middle(screen(page, 1), SMALL.shape), overlay(SMALL, evidence_map(cells(), SMALL.shape), 0.5))
    key(page, "a", "]", "]")
    against = evidence_map(cells(), SMALL.shape, against=True)
    same_map(middle(screen(page, 1), SMALL.shape), overlay(SMALL, against, 0.7))
    key(page, "a", "[", "[", "i", "r")
    size = SMALL.shape[::-1]
    np.testing.assert_array_equal(grey(middle(screen(page), size)), 255 - np.rot90(SMALL, -1).astype(int))
    assert "rotated 90°" in text(page, "zoom") and "inverted" in text(page, "window")
    key(page, "i")
    same_map(middle(screen(page, 1), size), np.rot90(overlay(SMALL, evidence_map(cells(), SMALL.shape), 0.5), -1))
    for times in (2, 3):
        key(page, "r")
        shape = SMALL.shape if times == 2 else size
        np.testing.assert_array_equal(grey(middle(screen(page), shape)), np.rot90(SMALL, -times))
    assert not page.errors
    if renderer == "webgl":  # which the browser can take away at any time
        before = screen(page)
        page.evaluate(
            f"() => {TREE}.querySelector('canvas.image').getContext('webgl2').getExtension('WEBGL_lose_context')"
            ".loseContext()"
        )
        page.locator(".stage[data-renderer='2d']").wait_for()
        settle(page)
        np.testing.assert_allclose(screen(page).astype(int), before.astype(int), atol=1)
    page.close()


def test_a_key_outlines_the_lungs_on_both_panes_and_is_remembered(browser, address):
    page = open_film(browser, address, "lungs")
    key(page, "z")
    size = (300, 400)
    plain = [middle(screen(page, pane), size) for pane in (0, 1)]
    assert (plain[0] == 60).all() and "dashed" not in text(page, "caption")
    key(page, "l")
    assert "Lungs as found: dashed" in text(page, "caption")
    edge = cv2.morphologyEx(LUNGS.outline(*size).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    near = cv2.dilate(edge, np.ones((13, 13))) > 0
    for pane in (0, 1):
        changed = (np.abs(middle(screen(page, pane), size).astype(int) - plain[pane]) > 8).any(2)
        assert changed[edge > 0].mean() > 0.5 and not changed[~near].any()
    state(page, "lungs=True")
    key(page, "r", "l")
    assert (grey(middle(screen(page), size[::-1])) == 60).all()
    assert page.get_by_role("button", name="Lungs", exact=True).get_attribute("aria-pressed") == "false"
    assert not page.errors
    page.close()


def test_without_lungs_there_is_no_button_for_them(browser, address):
    page = open_film(browser, address, "small")
    assert not page.get_by_role("button", name="Lungs", exact=True).is_visible()
    page.close()


def test_on_a_screen_with_finer_pixels_100_percent_is_one_of_those(browser, address):
    fine = browser.browser.new_context(device_scale_factor=2, viewport={"width": 1280, "height": 800})
    page = open_film(fine, address, "small")
    key(page, "z", "o", "m")
    bare(page)
    whole = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    box = {side: round(2 * at) for side, at in page.locator(".stage").bounding_box().items()}
    stage = whole[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
    np.testing.assert_array_equal(grey(middle(stage, SMALL.shape)), SMALL)
    fine.close()


@pytest.mark.parametrize("renderer", ["webgl", "2d"])
def test_window_and_level_never_ask_the_server_and_presets_are_exact(browser, address, renderer):
    page = open_film(browser, address, "deep", renderer)
    before, run = screen(page), runs(page)
    assert numbers(page) == (60001, 32001)
    drag(page, -120, 0, "right")
    width, level = numbers(page)
    assert width < 45000 and level == 32001
    narrower = screen(page)
    assert grey(narrower).std() > grey(before).std() + 10
    drag(page, 0, -60, "right")
    assert numbers(page)[0] == width and numbers(page)[1] < 32001
    assert grey(screen(page)).mean() > grey(narrower).mean() + 5
    key(page, "x")
    np.testing.assert_array_equal(screen(page), before)
    key(page, "w")
    drag(page, -120, 0)
    np.testing.assert_array_equal(screen(page), narrower)
    key(page, "x", "Shift+ArrowLeft")
    assert numbers(page)[0] < 60001 and "modified" in text(page, "preset")
    assert runs(page) == run
    key(page, "x")

    # The file's own windows come first and are exact.
    page.locator("[data-act=presets]").click()
    offered = page.locator("[role=menuitemradio]").all_inner_texts()
    assert [re.sub(r"\s*\d$", "", one) for one in offered] == [
        "As acquired",
        "Chest curve",
        "Full range",
        "Lungs",
        "Soft tissue and bone",
    ]
    page.get_by_role("menuitemradio", name="Chest curve").click()
    settle(page)
    key(page, "o", "m", "z")
    film = deep_film()
    for digit, rendering in (("2", film.renderings[1]), ("1", film.renderings[0])):
        key(page, digit)
        shown = grey(screen(page, panes=1))
        top, left = (round((have - 1000) / 2) for have in shown.shape)
        expected = rendering.curve[film.deep[-top : len(shown) - top, 50]] / 257
        np.testing.assert_array_equal(shown[:, left + 50], np.round(expected))
    key(page, "2")
    assert text(page, "window") == "Chest curve"
    state(page, "rendering=1")
    key(page, "3")
    assert "Full range" in text(page, "preset")
    assert numbers(page) == (int(np.ptp(film.deep)) + 1, round((8000 + 48059 + 1) / 2))
    page.close()


def test_contours_and_what_is_under_the_pointer(browser, address):
    page = open_film(browser, address, "small")
    key(page, "z", "c")
    table, values = colour_table().astype(int), evidence_map(cells(), SMALL.shape)

    def lines(level: float) -> np.ndarray:
        shown = middle(screen(page, 1), SMALL.shape).astype(int)
        return np.abs(shown - table[round(level * 255)]).max(axis=2) <= 6

    for level in (0.4, 0.6, 0.8):
        drawn = lines(level)
        assert drawn.sum() > 40
        inside = (values >= level).astype(np.uint8)
        edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
        assert edge[drawn].all()
    assert lines(0.2).sum() < 5
    page.get_by_role("button", name="20 %").click()
    page.get_by_role("button", name="60 %").click()
    page.mouse.move(5, 5)
    settle(page)
    assert lines(0.2).sum() > 40 and lines(0.6).sum() < 5
    state(page, "levels=(0.2, 0.4, 0.8)")
    state(page, "mode='contour'")

    key(page, "r")
    box = page.locator(".stage").bounding_box()
    pane = (box["width"] - 8) // 2
    height, width = SMALL.shape
    for column, row in ((0, 0), (100, 170), (359, 299), (250, 40)):
        # Rotated clockwise, row `row` is a column counted from the right.
        x = round((pane - height) / 2) + height - 1 - row
        y = round((box["height"] - width) / 2) + column
        for left in (0, box["width"] - pane):
            page.mouse.move(box["x"] + left + x + 0.5, box["y"] + y + 0.5)
            settle(page)
            place, value, share = re.fullmatch(
                r"x (\d+, y \d+), value ([\d,]+), evidence (\d+) %", text(page, "pixel")
            ).groups()
            assert place == f"{column}, y {row}"
            assert int(value) == SMALL[row, column]
            assert int(share) == pytest.approx(100 * values[row, column], abs=1)
    page.mouse.move(5, 5)
    settle(page)
    assert text(page, "pixel") == ""
    page.close()


def test_mouse_and_fingers_zoom_and_pan(browser, address):
    page = open_film(browser, address, "deep")
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + 120.5, box["y"] + 200.5

    def place() -> tuple[int, ...]:
        page.mouse.move(x, y)
        settle(page)
        return tuple(int(one) for one in re.match(r"x (\d+), y (\d+)", text(page, "pixel")).groups())

    def percent() -> int:
        return int(re.search(r"(\d+) %", text(page, "zoom")).group(1))

    before = place()
    assert text(page, "zoom").startswith("Fit, ")
    page.mouse.wheel(0, -900)
    settle(page)
    assert not text(page, "zoom").startswith("Fit")
    assert place() == pytest.approx(before, abs=3)
    left = place()
    page.mouse.down()
    page.mouse.move(x + 40, y - 20, steps=4)
    page.mouse.up()
    scale = percent() / 100
    assert place() == pytest.approx((left[0] - 40 / scale, left[1] + 20 / scale), abs=2)
    page.mouse.dblclick(x, y)
    settle(page)
    assert text(page, "zoom").startswith("Fit")
    assert place() == pytest.approx(before, abs=1)
    page.mouse.dblclick(x, y)
    settle(page)
    assert text(page, "zoom") == "100 %"
    key(page, "ArrowRight", "+", "-", "0")
    assert text(page, "zoom").startswith("Fit")

    small, hands = percent(), browser.new_cdp_session(page)
    hands.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    x, y = box["x"] + 200, box["y"] + 200
    for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90), ("touchEnd", None)):
        points = [] if apart is None else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        hands.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settle(page)
    assert percent() == pytest.approx(3 * small, rel=0.1)
    page.close()


def test_settings_last_for_the_visit_and_window_and_zoom_for_the_image(browser, address):
    page = open_film(browser, address, "small")
    key(page, "?")
    help_ = page.get_by_role("dialog", name="Keyboard and mouse")
    assert "next, previous image" in help_.inner_text()
    fits(page)
    key(page, "Escape")
    assert help_.is_hidden()
    for button in page.locator(".viewer button").all():
        assert button.get_attribute("aria-label") or button.inner_text().strip() or button.is_hidden()
    page.locator(".stage").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(f"() => {TREE}.activeElement.matches(':focus-visible')")
    before, run = screen(page), runs(page)
    page.get_by_label("Remarks").click()
    page.keyboard.type("irregular 12 ?")
    settle(page)
    assert page.get_by_label("Remarks").input_value() == "irregular 12 ?" and help_.is_hidden()
    np.testing.assert_array_equal(screen(page), before)
    page.locator(".stage").focus()
    # The field is sent once it is left.
    page.get_by_text(f"runs {run + 1}", exact=True).wait_for()
    key(page, "r")
    assert runs(page) == run + 1, "R is Streamlit's own key for running the page again"
    key(page, "x", "c", "o", "a", "[")
    state(page, "opacity=0.4, rendering=0, against=True, layout='one'")
    fits(page)
    key(page, "i", "r", "+", "Shift+ArrowLeft")

    # With the focus in the viewer, where it stays between two images.
    page.locator(".stage").focus()
    press(page, "n")
    loaded(page, "deep")
    assert numbers(page) == (60001, 32001)
    assert text(page, "zoom").startswith("Fit") and "rotated" not in text(page, "zoom")
    pressed = {
        name: page.locator(f"[data-act='{name}']").get_attribute("aria-pressed")
        for name in ("invert", "mode:contour", "sign:against")
    }
    assert pressed == {"invert": "false", "mode:contour": "true", "sign:against": "true"}
    key(page, "2")
    state(page, "rendering=1")
    page.locator("[role=slider], .stage").last.focus()
    press(page, "p")
    loaded(page, "small")
    state(page, "opacity=0.4, rendering=0, against=True, layout='one'")
    page.close()


def test_flicker_and_hiding_the_map(browser, address):
    page = open_film(browser, address, "small")
    page.emulate_media(reduced_motion="reduce")
    key(page, "f")
    drawn = screen(page, panes=1)
    assert (drawn.max(axis=2) != drawn.min(axis=2)).any()
    page.keyboard.down(" ")
    settle(page)
    grey(screen(page, panes=1))
    page.keyboard.up(" ")
    settle(page)
    np.testing.assert_array_equal(screen(page, panes=1), drawn)
    key(page, "m")
    grey(screen(page, panes=1))
    state(page, "layout='flicker'")
    # Each phase is waited for; how long one lasts is tested without a browser.
    page.emulate_media(reduced_motion="no-preference")
    key(page, "f")
    for has_map in (True, False, True):
        page.wait_for_function(
            f"""hasMap => {{
            const canvas = {TREE}.querySelector('canvas.image'), context = canvas.getContext('2d');
            const {{data}} = context.getImageData(0, 0, canvas.width, canvas.height);
            return hasMap === data.some((value, at) => at % 4 === 0 && value !== data[at + 2]
              && data[at] + data[at + 1] + data[at + 2] > 60);
        }}""",
            arg=has_map,
        )
    page.close()


def test_what_is_missing_is_said(browser, address):
    for name, words in (
        ("unassessed", "Radiograph, 450 × 250 px. No evidence map: the image was not assessed"),
        ("empty", "The evidence map is empty: no region of this image raised the probability of pneumonia."),
        ("released", "Radiograph, 2000 × 1600 px, shown at 500 × 400 px"),
    ):
        page = open_film(browser, address, name)
        page.locator(".viewer").get_by_text(words).first.wait_for()
        if name == "empty":
            grey(screen(page, 1))
        if name == "unassessed":
            assert page.locator("[data-act='mode:contour']").is_hidden()
            grey(screen(page, panes=1))
        page.close()


def test_pixels_travel_as_bytes_are_requested_again_and_released(browser, address):
    from playwright.sync_api import TimeoutError

    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    requests: list[Any] = []
    page.route(re.compile("/media/[0-9a-f]+[.]bin"), lambda route: route.abort())
    page.goto(f"{address}/?film=alone")
    page.get_by_text("The image has not loaded yet").wait_for()
    page.unroute_all()
    page.on("request", lambda one: "/media/" in one.url and "static" not in one.url and requests.append(one))
    loaded(page, "alone")
    assert text(page, "loading") == ""
    size = 2 * 1100 * 1100 + 64
    sizes = [one.response().header_value("content-length") for one in requests]
    assert sum(map(int, sizes)) >= size
    assert all(one.response().status == 206 and not one.response().header_value("content-encoding") for one in requests)
    assert all(re.fullmatch(r"/media/[0-9a-f]+\.bin", one.url.removeprefix(address)) for one in requests)
    # The server holds it while it is on the screen, and no longer.
    page.get_by_role("button", name="Run again").click()
    page.get_by_text(re.compile(rf"^held .*\b{size}\b")).wait_for()
    press(page, "p")
    loaded(page, "released")
    # Files that no script refers to are released after a rerun has ended, so the first one may still list it.
    released = page.get_by_text(re.compile(rf"^held \[(?!.*\b{size}\b)"))
    for _ in range(PATIENCE_MS // 5000):
        page.get_by_role("button", name="Run again").click()
        with suppress(TimeoutError):
            released.wait_for(timeout=5000)
            break
    released.wait_for()
    page.close()
