"""The Retrain page as an administrator uses it: audit, train, compare, promote, assess, roll back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings, load_settings
from model.promotions import promotions
from model.registry import active_version
from tests.browser.visit import SAFETY, a_film, choose, drop, fits, open_page, running_app
from tests.phantoms import write_dataset

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "a long enough sentence"
FILMS = 40
TRAINED = ".st-key-figure_training .js-plotly-plot"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, and drawn films of 20 children of each class, of whom two are held out, below a data root."""
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


def enter(page: Any, settings: Settings, log: Path) -> None:
    """Sign in, or set the administrator's password where there is none yet."""
    if (settings.data_dir / "administrator.json").exists():
        page.get_by_role("textbox", name="Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
    else:
        code = re.search(r"One-time code for the Retrain page: (\S+)", log.read_text())
        assert code is not None
        page.get_by_label("One-time code").fill(code[1])
        page.get_by_role("textbox", name="New password", exact=True).fill(PASSWORD)
        page.get_by_role("textbox", name="Repeat new password").fill(PASSWORD)
        page.get_by_role("button", name="Set password").click()
    page.get_by_text("Signed in as").wait_for()


def points_drawn(page: Any) -> int:
    """How many points the learning curves have, over all lines."""
    return int(
        page.evaluate(
            f"() => [...document.querySelectorAll('{TRAINED}')]"
            ".flatMap(one => one.data).reduce((n, line) => n + (line.y?.length ?? 0), 0)"
        )
    )


def train(page: Any, settings: Settings, architecture: str | None) -> str:
    """Audit the dataset, train on it and return the version that came of it."""
    before = {path.parent.name for path in settings.versions_dir.glob("*/card.json")}
    page.get_by_text(f"Split by patient: {2 * FILMS} radiographs of {FILMS} patients.").wait_for()
    page.get_by_role("button", name="Audit dataset").click()
    step(page, re.compile("Audit of .*"))
    page.get_by_role("button", name="Continue to training").click()
    step(page, "Training preset")
    if architecture is not None:
        page.get_by_text("Advanced settings").click()
        box = page.get_by_role("combobox", name=re.compile("Architecture"))
        choose(page, box, architecture, page.get_by_text("Random weights"))
    fits(page)
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Cancel training").wait_for()

    # A reload: the same run, still signed in.
    assert re.search(r"run=[0-9.\-]+", page.url)
    page.reload()
    page.get_by_text("Signed in as").wait_for()
    page.wait_for_function(
        f"() => [...document.querySelectorAll('{TRAINED}')]"
        ".flatMap(one => one.data).some(line => (line.y?.length ?? 0) > 1)"
    )
    drawn = points_drawn(page)
    page.get_by_role("button", name="Compare with the classifier in use").wait_for()
    assert points_drawn(page) >= drawn > 0
    page.get_by_text("On both sides: 0 patients and 0 groups of identical radiographs.").wait_for()
    (made,) = {path.parent.name for path in settings.versions_dir.glob("*/card.json")} - before
    return made


def promote_against_the_rules(page: Any, settings: Settings, made: str) -> None:
    """Too few radiographs: promotion is blocked and overridden with a reason."""
    step(page, f"Promote {made}?")
    assert page.get_by_role("button", name=f"Promote {made}", exact=True).is_disabled()
    page.get_by_text("Override", exact=True).click()
    page.get_by_role("textbox", name="Reason").fill("This is a test of the whole path with drawn films.")
    page.get_by_role("button", name=re.compile("Override and promote")).click()
    step(page, f"{made} is in use")
    assert active_version(settings) == made


def assess_and_roll_back(browser: Any, address: str, page: Any, settings: Settings, made: str, shipped: str) -> None:
    """Assess an image with the new version, roll back, and assess another in the same visit."""
    other = open_page(browser, address)
    drop(other, ("film.png", a_film()))
    other.locator(".pl-name", has_text="film.png").wait_for()
    other.locator(".st-key-finding").get_by_text(made).first.wait_for()
    page.get_by_role("button", name=f"Roll back to {shipped}").click()
    page.get_by_text(f"{shipped} is in use again").wait_for()
    assert active_version(settings) == shipped
    drop(other, ("second.png", a_film(2)))
    other.locator(".pl-name", has_text="2 of 2 second.png").wait_for()
    other.locator(".st-key-finding").get_by_text(shipped).first.wait_for()
    acts = [(one.act, one.version) for one in promotions(settings)][-2:]
    assert acts == [("promote", made), ("rollback", shipped)]
    assert promotions(settings)[-2].overruled and "drawn films" in promotions(settings)[-2].why
    other.close()


def test_a_small_network_is_trained_promoted_and_rolled_back(browser: Any, retrain: tuple[str, Settings, Path]) -> None:
    address, settings, log = retrain
    browser.clear_cookies()  # a sign-in outlives its page
    shipped = active_version(settings)
    # No address leads past the sign-in.
    for query in ("?step=decide", "?step=train&run=2026.11.21-120000", ""):
        page = open_page(browser, f"{address}/retrain{query}")
        step(page, re.compile("Sign in as administrator|Set the administrator"))
        assert page.get_by_text(SAFETY).count() == 1 and page.get_by_text("Datasets on the server").count() == 0
        assert page.get_by_role("button", name=re.compile("Roll back|Cancel training|Audit")).count() == 0
        if query:
            page.close()
    enter(page, settings, log)
    fits(page)
    made = train(page, settings, "cnn_3_1")
    assert active_version(settings) == shipped, "nothing changes before the decision"
    fits(page)
    page.get_by_role("button", name=re.compile(r"\d\s+Decide")).click()
    step(page, f"Promote {made}?")
    fits(page)
    promote_against_the_rules(page, settings, made)
    assess_and_roll_back(browser, address, page, settings, made, shipped)
    page.close()


@pytest.mark.nightly
def test_the_shipped_architecture_is_trained_compared_promoted_and_rolled_back(
    browser: Any, retrain: tuple[str, Settings, Path]
) -> None:
    address, settings, log = retrain
    browser.clear_cookies()  # a sign-in outlives its page
    shipped = active_version(settings)
    page = open_page(browser, f"{address}/retrain?step=data")
    step(page, re.compile("Sign in as administrator|Set the administrator"))
    enter(page, settings, log)
    made = train(page, settings, None)
    assert active_version(settings) == shipped, "nothing changes before the decision"
    page.get_by_role("button", name="Compare with the classifier in use").click()
    page.get_by_role("button", name=f"Compare {made} with {shipped}").click()
    page.get_by_role("button", name="Continue to decision").click()
    promote_against_the_rules(page, settings, made)
    assess_and_roll_back(browser, address, page, settings, made, shipped)
    page.close()
