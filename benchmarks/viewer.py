"""Whether a 4,000 × 4,000 px film of 16 bits stays fluid: pictures a second while window and level are dragged.

The viewer is opened in Chromium without a graphics card, which is the worst that a reader can have. A real mouse drag
crosses the picture; a frame counts when what is drawn has changed since the one before. Beside it the peer that needs
no viewer: windowing the film in NumPy and sending it as a PNG of display size, for each step of the drag.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.test_viewer import AS_IF_ON_A_CARD, PATIENCE_MS, TREE
from tests.browser.viewer_page import large_film
from tests.browser.visit import find_chromium, running_app

# Notes when the viewer's place, its first picture and the film at full size are there, in ms.
WATCH = """
window.times = {};
const look = () => {
  const stage = TREE?.querySelector('.stage');
  for (const [name, is] of [['place', stage], ['first', stage?.dataset.frames], ['full', stage?.dataset.loaded]])
    if (is) window.times[name] ??= performance.now();
  if (!window.times.full) setTimeout(look, 2);
};
look();""".replace("TREE", TREE)
COUNT = """() => {
  const stage = TREE.querySelector('.stage'), words = stage.querySelector('[data-part=window]');
  window.count = {changed: 0, from: performance.now(), gaps: [], runs: true};
  let [drawn, said, last] = [stage.dataset.frames, words.textContent, performance.now()];
  const look = now => {
    if (stage.dataset.frames !== drawn && words.textContent !== said) {
      window.count.changed++;
      window.count.gaps.push(now - last);
      [drawn, said, last] = [stage.dataset.frames, words.textContent, now];
    }
    if (window.count.runs) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}""".replace("TREE", TREE)
STOP = """() => {
  window.count.runs = false;
  const {changed, from, gaps} = window.count;
  return {changed, seconds: (performance.now() - from) / 1000, gaps};
}"""


def dragged(page: Any, steps: int) -> dict[str, Any]:
    """Drag the window back and forth across the picture; return what the page counted."""
    box = page.locator(".stage").bounding_box()
    middle, top = box["y"] + box["height"] / 2, box["y"]
    page.mouse.move(box["x"] + 60, middle)
    page.mouse.down(button="right")
    page.evaluate(COUNT)
    spent = browser_seconds()
    for side in (0.9, 0.1, 0.6):
        page.mouse.move(box["x"] + side * box["width"], top + side * box["height"], steps=steps)
    counted: dict[str, Any] = page.evaluate(STOP)
    counted["processor"] = browser_seconds() - spent
    page.mouse.up(button="right")
    return counted


def browser_seconds() -> float:
    """Return the processor time that the browser's processes have used, which does not depend on what else runs."""
    spent = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "chrom" in process.name():
                spent += sum(process.cpu_times()[:2])
    return spent


def on_the_server(steps: int = 5) -> float:
    """Return pictures a second of the peer."""
    film = large_film().deep
    values, start = np.arange(65536), time.perf_counter()
    for step in range(steps):
        greys = np.clip((values - 100 * step) / 4096 * 255, 0, 255).astype(np.uint8)
        shown = cv2.resize(greys[film], (1000, 1000), interpolation=cv2.INTER_AREA)
        Image.fromarray(shown).save(io.BytesIO(), "PNG", compress_level=1)
    return steps / (time.perf_counter() - start)


def main() -> int:
    """Print one row for each way of drawing, layout and size of the window."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("--steps", type=int, default=120, metavar="N", help="mouse moves a stroke (%(default)s)")
    options = parser.parse_args()
    peer = on_the_server()
    print(f"on the server, NumPy and PNG: {peer:.1f} pictures a second")
    print(
        "drawn with  window      layout        pictures/s  slowest 5 %  processor a picture  against the server  "
        "first picture  full size"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        running_app(Path(folder), "tests/browser/viewer_page.py") as (address, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        for painter in ("2d", "webgl"):
            for width, height in ((1280, 800), (1920, 1080)):
                page = browser.new_page(viewport={"width": width, "height": height})
                page.set_default_timeout(PATIENCE_MS)
                page.add_init_script(WATCH)
                if painter == "webgl":
                    page.add_init_script(AS_IF_ON_A_CARD)
                page.goto(f"{address}/?film=large")
                page.locator(".stage[data-loaded]").wait_for()
                page.wait_for_timeout(1500)
                times = page.evaluate("() => window.times")
                for name, key in (("Side by side", "s"), ("One picture", "o")):
                    page.keyboard.press(key)
                    page.wait_for_timeout(1500)
                    before = page.locator(".stage").screenshot()
                    counted = dragged(page, options.steps)
                    if page.locator(".stage").screenshot() == before:
                        raise RuntimeError("expected a drag that changes the picture")
                    rate = counted["changed"] / counted["seconds"]
                    slow = float(np.percentile(counted["gaps"], 95))
                    first, full = (times[event] - times["place"] for event in ("first", "full"))
                    processor = 1000 * counted["processor"] / counted["changed"]
                    print(
                        f"{painter:<10}  {width} × {height:<4}  {name:<12}  {rate:10.1f}  {slow:8.0f} ms  "
                        f"{processor:16.1f} ms  {rate / peer:16.1f} ×  {first:10.0f} ms  {full:6.0f} ms",
                        flush=True,
                    )
                page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
