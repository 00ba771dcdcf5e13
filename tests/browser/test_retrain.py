"""Retraining as an administrator meets it: audit, train, compare, promote, read with the new version, roll back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings, load_settings
from model.promotions import promotions
from model.registry import active_version
from tests.browser.visit import SAFETY, a_film, drop, open_page, running_app, sideways
from tests.phantoms import write_dataset

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "a long enough sentence"
FILMS = 14


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, and drawn films of 14 children of each class below a data root."""
    home = tmp_path_factory.mktemp("retrain")
    write_dataset(home / "hospital" / "films", FILMS)
    return home


@pytest.fixture(scope="module")
def retrain(browser: Any, home: Path) -> Iterator[tuple[str, Settings, Path]]:  # noqa: ARG001 (skips without a browser)
    """The running app: (address, its settings, the file with what it printed)."""
    (home / "var").mkdir()
    environment = {"PNEUMOLENS_DATA_DIR": str(home / "var"), "PNEUMOLENS_DATA_ROOTS": str(home / "hospital")}
    with running_app(home / "var", **environment) as (address, _):
        yield address, load_settings(environment), home / "var" / "app.log"


def step(page: Any, heading: str | re.Pattern[str]) -> None:
    page.get_by_role("heading", name=heading).first.wait_for()


def sign_in(page: Any) -> None:
    page.get_by_role("textbox", name="Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_text("Signed in as").wait_for()


def points_drawn(page: Any) -> int:
    """How many points the curve on the page has, over all its lines."""
    return int(
        page.evaluate(
            "() => [...document.querySelectorAll('.st-key-figure_training .js-plotly-plot')]"
            ".flatMap(one => one.data).reduce((n, line) => n + (line.y?.length ?? 0), 0)"
        )
    )


def test_a_classifier_is_retrained_promoted_and_rolled_back(browser: Any, retrain: tuple[str, Settings, Path]) -> None:
    address, settings, log = retrain
    shipped = active_version(settings)
    # The very first request after the start goes to the guarded page: the frame is there, and nothing behind the guard.
    page = open_page(browser, f"{address}/retrain")
    step(page, "Set the administrator password")
    assert page.get_by_text(SAFETY).count() == 1 and page.get_by_text("Dataset on the server").count() == 0
    code = re.search(r"One-time code for the Retrain page: (\S+)", log.read_text())
    assert code is not None
    page.get_by_label("One-time code").fill(code[1])
    page.get_by_role("textbox", name="New password", exact=True).fill(PASSWORD)
    page.get_by_role("textbox", name="Repeat new password").fill(PASSWORD)
    page.get_by_role("button", name="Set password").click()

    page.get_by_role("button", name="Audit dataset").click()
    step(page, re.compile("Audit of .*films"))
    page.get_by_role("button", name="Continue to training").click()
    step(page, "Training preset")
    assert sideways(page) == 0
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Cancel training").wait_for()

    # A reload: the same run in a visit that signs in anew.
    address_of_run = page.url
    assert re.search(r"run=[0-9.\-]+", address_of_run)
    page.reload()
    sign_in(page)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.st-key-figure_training .js-plotly-plot')]"
        ".flatMap(one => one.data).some(line => (line.y?.length ?? 0) > 1)"
    )
    before = points_drawn(page)
    compare = page.get_by_role("button", name="Compare with the classifier in use")
    compare.wait_for()
    assert points_drawn(page) >= before > 0
    (made,) = (path.parent.name for path in settings.versions_dir.glob("*/card.json"))
    assert active_version(settings) == shipped, "nothing changes before the decision"
    compare.click()
    page.get_by_role("button", name=f"Compare {made} with {shipped}").click()
    page.get_by_role("button", name="Continue to decision").click()

    # Too few radiographs: promotion is blocked and overridden with a reason.
    step(page, f"Promote {made}?")
    assert page.get_by_role("button", name=f"Promote {made}", exact=True).is_disabled()
    page.get_by_text("Override", exact=True).click()
    page.get_by_role("textbox", name="Reason").fill("This is a test of the whole path with drawn films.")
    page.get_by_role("button", name=re.compile("Override and promote")).click()
    step(page, f"{made} is in use")
    assert active_version(settings) == made

    other = open_page(browser, address)
    drop(other, ("film.png", a_film()))
    other.locator(".pl-finding").wait_for()
    other.locator(".st-key-finding").get_by_text(made).first.wait_for()

    page.get_by_role("button", name=f"Roll back to {shipped}").click()
    page.get_by_text(f"{shipped} is in use again").wait_for()
    assert active_version(settings) == shipped
    drop(other, ("second.png", a_film(2)))
    other.locator(".pl-name", has_text="2 of 2 second.png").wait_for()
    other.locator(".st-key-finding").get_by_text(shipped).first.wait_for()
    assert [(one.act, one.version) for one in promotions(settings)] == [("promote", made), ("rollback", shipped)]
    assert promotions(settings)[0].overruled and "drawn films" in promotions(settings)[0].why
    page.close()
    other.close()


@pytest.mark.parametrize("path", ["retrain?step=decide", "retrain?step=train&run=2026.11.21-120000"])
def test_no_address_leads_past_the_sign_in(browser: Any, retrain: tuple[str, Settings, Path], path: str) -> None:
    page = open_page(browser, f"{retrain[0]}/{path}")
    step(page, re.compile("Sign in as administrator|Set the administrator"))
    assert page.get_by_role("button", name=re.compile("Roll back|Cancel training|Audit")).count() == 0
    page.close()


@pytest.mark.parametrize("width", [1280, 1024])
def test_the_retrain_page_does_not_scroll_sideways(
    browser: Any, retrain: tuple[str, Settings, Path], width: int
) -> None:
    page = open_page(browser, f"{retrain[0]}/retrain?step=decide", width, 768)
    sign_in(page)
    for name in ("Data", "Train", "Decide"):
        page.get_by_role("button", name=re.compile(rf"\d\s+{name}")).click()
        page.locator("[data-test-script-state=notRunning]").wait_for()
        assert sideways(page) == 0, name
    page.close()
