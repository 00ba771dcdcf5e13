"""The viewer in Chromium: what the reader sees is read off the screen and held against the values it was drawn from."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from model.explanation import evidence_map
from model.overlay import colour_table, overlay
from tests.browser.test_app import ROOT, find_chromium, press, running_app, sideways
from tests.browser.viewer_page import FAINT, SQUARE, cells, deep_film
from tests.phantoms import chest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 180_000
# The component's own tree, in which scripts of a test look for what locators find by themselves.
TREE = "document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot"
COMPONENT = ROOT / "pages" / "reading" / "viewer_component"
SMALL = chest(1, (300, 360))
BARE = """.stage { border-radius: 0 !important; outline: none !important } .stage::after { display: none }
.corners, .cross { visibility: hidden !important }"""
# The viewer leaves WebGL aside where it runs without a graphics card, as it does here; this makes it believe in one.
AS_IF_ON_A_CARD = """
const getParameter = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  const value = getParameter.call(this, name);
  return typeof value === "string" ? "a card" : value;
};"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        # One context: what the pages share is fetched once.
        yield opened.new_context()
        opened.close()


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_app(tmp_path_factory.mktemp("viewer"), "tests/browser/viewer_page.py") as (started, _):
        yield started


@pytest.fixture(params=["webgl", "2d"])
def painter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def open_film(browser: Any, address: str, name: str, painter: str = "2d", width: int = 1280) -> Any:
    """Open a film and wait until it is there at full size."""
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.set_default_timeout(PATIENCE_MS)
    if painter == "webgl":
        page.add_init_script(AS_IF_ON_A_CARD)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
    page.goto(f"{address}/?film={name}")
    loaded(page, name)
    assert page.locator(".stage").get_attribute("data-renderer") == painter
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
    page.locator("[data-test-script-state=notRunning]").wait_for()
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


def test_at_100_percent_the_screen_shows_the_films_own_pixels_and_the_reports_map(browser, address, painter):
    page = open_film(browser, address, "small", painter)
    key(page, "z")
    np.testing.assert_array_equal(grey(middle(screen(page), SMALL.shape)), SMALL)
    same_map(middle(screen(page, 1), SMALL.shape), overlay(SMALL, evidence_map(cells(), SMALL.shape), 0.5))
    key(page, "a", "]", "]")
    against = evidence_map(cells(), SMALL.shape, against=True)
    same_map(middle(screen(page, 1), SMALL.shape), overlay(SMALL, against, 0.7))
    assert not page.errors
    page.close()


def test_invert_and_turn_are_for_display(browser, address, painter):
    page = open_film(browser, address, "small", painter)
    key(page, "z", "i", "r")
    size = SMALL.shape[::-1]
    np.testing.assert_array_equal(grey(middle(screen(page), size)), 255 - np.rot90(SMALL, -1).astype(int))
    assert "rotated 90°" in text(page, "zoom") and "inverted" in text(page, "window")
    key(page, "i")
    same_map(middle(screen(page, 1), size), np.rot90(overlay(SMALL, evidence_map(cells(), SMALL.shape), 0.5), -1))
    for times in (2, 3):
        key(page, "r")
        shape = SMALL.shape if times == 2 else size
        np.testing.assert_array_equal(grey(middle(screen(page), shape)), np.rot90(SMALL, -times))
    page.close()


def test_dragging_sets_window_and_level_and_never_asks_the_server(browser, address, painter):
    page = open_film(browser, address, "deep", painter)
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
    assert numbers(page)[0] < 60001
    assert runs(page) == run
    assert "modified" in text(page, "preset")
    page.close()


def test_a_difference_that_8_bits_lose_becomes_visible(browser, address):
    page = open_film(browser, address, "deep")
    key(page, "o", "m", "z")
    deep = deep_film().deep
    box = page.locator(".stage").bounding_box()

    def square() -> tuple[float, float]:
        shown = grey(screen(page, panes=1))
        top, left = round((box["height"] - 1000) / 2), round((box["width"] - 1000) / 2)
        inside, around = (
            shown[rows.start + top : rows.stop + top, columns.start + left : columns.stop + left]
            for rows, columns in (SQUARE, (slice(440, 475), slice(520, 680)))
        )
        return float(inside.mean()), float(around.mean())

    assert deep[500, 600] - deep[450, 600] == FAINT
    inside, around = square()
    assert abs(inside - around) <= 1
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(6):
        drag(page, -250, 0, "right")
    while numbers(page)[1] > 30030:
        key(page, *["Shift+ArrowUp"] * 4)
    for _ in range(200):
        if numbers(page)[1] >= 29990:
            break
        drag(page, 0, 2, "right")
    inside, around = square()
    assert inside - around > 10
    page.close()


def test_ready_made_windows_are_the_files_own_and_ours(browser, address):
    page = open_film(browser, address, "deep")
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
    assert numbers(page) == (int(np.ptp(deep_film().deep)) + 1, round((8000 + 48059 + 1) / 2))
    page.close()


def test_contours_follow_the_levels_that_are_chosen(browser, address):
    page = open_film(browser, address, "small")
    key(page, "z", "c")
    table = colour_table().astype(int)
    values = evidence_map(cells(), SMALL.shape)

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
    page.close()


def test_hovering_says_place_value_and_influence(browser, address):
    page = open_film(browser, address, "small")
    key(page, "z", "r")
    box = page.locator(".stage").bounding_box()
    pane = (box["width"] - 8) // 2
    height, width = SMALL.shape
    values = evidence_map(cells(), SMALL.shape)
    for column, row in ((0, 0), (100, 170), (359, 299), (250, 40)):
        # Turned clockwise, row `row` stands as a column counted from the right.
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


def test_zoom_keeps_what_lies_under_the_pointer_and_panning_moves_the_picture(browser, address):
    page = open_film(browser, address, "deep")
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + 120.5, box["y"] + 200.5

    def place() -> tuple[int, ...]:
        page.mouse.move(x, y)
        settle(page)
        return tuple(int(one) for one in re.match(r"x (\d+), y (\d+)", text(page, "pixel")).groups())

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
    scale = int(re.search(r"(\d+) %", text(page, "zoom")).group(1)) / 100
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
    page.close()


def test_flicker_shows_the_film_with_and_without_the_map_in_turn(browser, address):
    page = open_film(browser, address, "small")
    key(page, "f")
    seen = set()
    for _ in range(40):
        picture = screen(page, panes=1)
        seen.add(bool((picture.max(axis=2) != picture.min(axis=2)).any()))
        if len(seen) == 2:
            break
        page.wait_for_timeout(150)
    assert seen == {True, False}
    state(page, "layout='flicker'")
    page.close()


def test_whoever_asks_for_less_motion_turns_the_map_on_and_off_by_hand(browser, address):
    page = open_film(browser, address, "small")
    page.emulate_media(reduced_motion="reduce")
    key(page, "f")
    drawn = []
    for _ in range(6):
        drawn.append(screen(page, panes=1))
        page.wait_for_timeout(250)
    assert all((one == drawn[0]).all() for one in drawn)
    page.keyboard.down(" ")
    settle(page)
    grey(screen(page, panes=1))
    page.keyboard.up(" ")
    settle(page)
    np.testing.assert_array_equal(screen(page, panes=1), drawn[0])
    key(page, "m")
    grey(screen(page, panes=1))
    page.close()


def test_another_film_starts_anew_but_the_choices_stay(browser, address):
    page = open_film(browser, address, "small")
    key(page, "c", "o", "a", "[")
    state(page, "opacity=0.4, rendering=0, against=True, layout='one'")
    key(page, "i", "r", "+", "Shift+ArrowLeft")
    # With the focus in the viewer, where it is for whoever never lifts the hand.
    page.locator(".stage").focus()
    press(page, "n")
    loaded(page, "deep")
    assert numbers(page) == (60001, 32001)
    assert text(page, "zoom").startswith("Fit") and "rotated" not in text(page, "zoom")
    assert page.locator("[data-act='invert']").get_attribute("aria-pressed") == "false"
    assert page.locator("[data-act='mode:contour']").get_attribute("aria-pressed") == "true"
    assert page.locator("[data-act='sign:against']").get_attribute("aria-pressed") == "true"
    key(page, "2")
    state(page, "rendering=1")
    page.locator("[role=slider]").focus()
    press(page, "p")
    loaded(page, "small")
    state(page, "opacity=0.4, rendering=0, against=True, layout='one'")
    page.close()


def test_a_film_that_left_the_screen_is_let_go_in_the_server(browser, address):
    page = open_film(browser, address, "only here")
    size = 2 * 1100 * 1100 + 64
    page.get_by_role("button", name="Run again").click()
    page.get_by_text(re.compile(rf"^held .*\b{size}\b")).wait_for()
    press(page, "p")
    loaded(page, "let go")
    page.get_by_role("button", name="Run again").click()
    page.get_by_text(re.compile(rf"^held \[(?!.*\b{size}\b)")).wait_for()
    page.close()


def test_keys_leave_words_that_are_typed_alone(browser, address):
    page = open_film(browser, address, "small")
    before = screen(page)
    page.get_by_label("Remarks").click()
    page.keyboard.type("irregular 12 ?")
    settle(page)
    assert page.get_by_label("Remarks").input_value() == "irregular 12 ?"
    assert page.locator("[data-part=help]").is_hidden()
    np.testing.assert_array_equal(screen(page), before)
    page.close()


def test_help_opens_and_closes_and_names_the_keys(browser, address):
    page = open_film(browser, address, "small")
    key(page, "?")
    help_ = page.get_by_role("dialog", name="Keyboard and mouse")
    assert "next, previous image" in help_.inner_text()
    key(page, "Escape")
    assert help_.is_hidden()
    run = runs(page)
    key(page, "r")
    assert runs(page) == run  # R is Streamlit's own key for running the page again
    page.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unassessed", "Radiograph, 450 × 250 px. No evidence map: the image was not assessed"),
        ("empty", "The evidence map is empty: no region of this image raised the probability of pneumonia."),
        ("let go", "Radiograph, 2000 × 1600 px, shown at 500 × 400 px"),
    ],
)
def test_what_is_missing_is_said(browser, address, name, words):
    page = open_film(browser, address, name)
    page.locator(".viewer").get_by_text(words).first.wait_for()
    if name == "empty":
        grey(screen(page, 1))
    if name == "unassessed":
        assert page.locator("[data-act='mode:contour']").is_hidden()
        grey(screen(page, panes=1))
    page.close()


@pytest.mark.parametrize("width", [1280, 1024])
def test_nothing_scrolls_sideways_and_every_button_has_a_name(browser, address, width):
    page = open_film(browser, address, "deep", width=width)
    for names in ("c", "o", "?"):
        key(page, names)
        assert sideways(page) == 0
    key(page, "Escape")
    for button in page.locator(".viewer button").all():
        assert button.get_attribute("aria-label") or button.inner_text().strip() or button.is_hidden()
    page.locator(".stage").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(f"() => {TREE}.activeElement.matches(':focus-visible')")
    page.close()


def test_the_film_travels_as_bytes_and_not_into_the_browsers_cache(browser, address):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    requests: list[Any] = []
    page.on("request", lambda one: "/media/" in one.url and "static" not in one.url and requests.append(one))
    page.goto(f"{address}/?film=deep")
    loaded(page, "deep")
    sizes = [one.response().header_value("content-length") for one in requests]
    assert sum(map(int, sizes)) >= 2_000_000
    assert all(one.response().status == 206 and not one.response().header_value("content-encoding") for one in requests)
    assert all(re.fullmatch(r"/media/[0-9a-f]+\.bin", one.url.removeprefix(address)) for one in requests)
    page.close()


def test_a_film_that_does_not_arrive_is_asked_for_again(browser, address):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.route(re.compile("/media/[0-9a-f]+[.]bin"), lambda route: route.abort())
    page.goto(f"{address}/?film=small")
    page.get_by_text("The image has not loaded yet").wait_for()
    page.unroute_all()
    loaded(page, "small")
    assert text(page, "loading") == ""
    page.close()


def test_two_fingers_zoom(browser, address):
    page = open_film(browser, address, "deep")
    before = int(re.search(r"(\d+) %", text(page, "zoom")).group(1))
    box, hands = page.locator(".stage").bounding_box(), browser.new_cdp_session(page)
    hands.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    x, y = box["x"] + 200, box["y"] + 200
    for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90), ("touchEnd", None)):
        points = [] if apart is None else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        hands.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settle(page)
    assert int(re.search(r"(\d+) %", text(page, "zoom")).group(1)) == pytest.approx(3 * before, rel=0.1)
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


def test_a_lost_graphics_context_leaves_the_picture(browser, address):
    page = open_film(browser, address, "small", "webgl")
    before = screen(page)
    page.evaluate(
        f"() => {TREE}.querySelector('canvas.image').getContext('webgl2').getExtension('WEBGL_lose_context')"
        ".loseContext()"
    )
    page.locator(".stage[data-renderer='2d']").wait_for()
    settle(page)
    np.testing.assert_allclose(screen(page).astype(int), before.astype(int), atol=1)
    page.close()
