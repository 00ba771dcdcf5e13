from __future__ import annotations

import ast
import asyncio
import logging
import re
from pathlib import Path

import pytest
import streamlit as st
from argon2 import PasswordHasher
from streamlit.testing.v1 import AppTest

from core.settings import Settings
from model.card import ModelCard
from model.engine import Classifier
from model.promotions import promote, rollback
from model.registry import add_version
from pages.shared import classifiers, installation
from records import administrator as account
from records.administrator import new_first_code, set_password
from records.throttle import FREE_ATTEMPTS
from tests import ROOT
from tests.pages.performance.test_performance import PERFORMANCE, a_card, install, refuse_to_load, text

PASSWORD = "correct horse battery"
WRONG = "another horse battery"
INSIDE = "what only an administrator may see"
PAGE = f"""
import streamlit as st
from pages.shared import classifiers, frame, installation
from pages.shared.administrator import require_administrator
with frame.mark_drawn():
    frame.require_frame()
    who = require_administrator()
    st.session_state["done"] = st.session_state.get("done", 0) + 1
    st.html("{INSIDE}: " + who)
    st.button("Do something")
"""
ACTING = """
import streamlit as st
from pages.shared import classifiers, frame, installation
from pages.shared.administrator import guarded, require_administrator, still_administrator

@guarded
def act():
    st.session_state["acted"] = st.session_state.get("acted", 0) + 1

@st.fragment
def part():
    still_administrator()
    st.session_state["looked"] = st.session_state.get("looked", 0) + 1

with frame.mark_drawn():
    who = require_administrator()
    st.button("Act", on_click=act)
    part()
"""


class Clock:
    """Stands in for the time: it goes on only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pages.shared.administrator._clock", made)
    return made


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(account, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("PNEUMOLENS_CLASSIFIER", raising=False)
    monkeypatch.setattr("pages.shared.classifiers.load_classifier", refuse_to_load)
    return Settings(tmp_path)


@pytest.fixture
def with_password(settings: Settings) -> Settings:
    code = new_first_code(settings)
    assert code is not None
    set_password(settings, code, PASSWORD)
    return settings


def open_page(script: str = PAGE) -> AppTest:
    return AppTest.from_string(script, default_timeout=60).run()


def send(app: AppTest, **fields: str) -> AppTest:
    for key, value in fields.items():
        app.text_input(key=f"administrator.{key}").set_value(value)
    return next(one for one in app.button if one.label in ("Sign in", "Set password")).click().run()


def is_inside(app: AppTest) -> bool:
    assert not app.exception
    return INSIDE in text(app)


def test_the_first_code_sets_the_password_and_opens_the_page(settings: Settings) -> None:
    code = new_first_code(settings)
    app = open_page()
    assert not is_inside(app) and "one-time code that PneumoLens printed to its terminal" in text(app)
    assert [(one.label, one.proto.type) for one in app.text_input] == [
        ("One-time code", 0),
        ("New password", 1),
        ("Repeat new password", 1),
    ]
    app = send(app, code=str(code), new=PASSWORD, again=PASSWORD)
    assert is_inside(app) and "Signed in as administrator" in text(app)
    assert not app.text_input and "One-time code" not in text(app)
    assert not is_inside(open_page()), "another visit has to sign in for itself"


@pytest.mark.parametrize(
    ("code", "new", "again", "words"),
    [
        ("0000-0000-0000", PASSWORD, PASSWORD, "The one-time code is wrong."),
        ("", PASSWORD, PASSWORD, "The one-time code is wrong."),
        ("right", "too short", "too short", "at least 12 characters"),
        ("right", "", "", "at least 12 characters"),
        ("right", PASSWORD, WRONG, "The passwords do not match."),
    ],
)
def test_what_is_wrong_with_the_first_form_is_said(
    settings: Settings, code: str, new: str, again: str, words: str
) -> None:
    right = str(new_first_code(settings))
    app = send(open_page(), code=right if code == "right" else code, new=new, again=again)
    assert not is_inside(app) and words in text(app)
    assert is_inside(send(app, code=right, new=PASSWORD, again=PASSWORD))


@pytest.mark.usefixtures("settings")
def test_without_a_code_of_this_start_the_page_says_how_to_get_one() -> None:
    app = send(open_page(), code="0000-0000-0000", new=PASSWORD, again=PASSWORD)
    assert not is_inside(app) and "Restart the app" in text(app)


@pytest.mark.usefixtures("with_password")
def test_the_password_signs_in_and_sign_out_signs_out() -> None:
    app = open_page()
    assert not is_inside(app) and "delete administrator.json" in text(app)
    app = send(app, password=WRONG)
    assert not is_inside(app) and "The password is wrong." in text(app)
    app = send(app, password=PASSWORD)
    assert is_inside(app)
    assert is_inside(next(one for one in app.button if one.label == "Do something").click().run())
    done = app.session_state["done"]
    app = app.button(key="administrator.sign_out").click().run()
    assert not is_inside(app.run()) and app.session_state["done"] == done
    assert is_inside(send(app, password=PASSWORD))


@pytest.mark.usefixtures("with_password")
def test_too_many_wrong_passwords_have_to_wait_in_every_visit(caplog: pytest.LogCaptureFixture) -> None:
    app = open_page()
    for _ in range(FREE_ATTEMPTS):
        app = send(app, password=WRONG)
    assert "Try again in 15 seconds" in text(app)
    for visit in (app, open_page()):
        refused = send(visit, password=PASSWORD)
        assert not is_inside(refused) and "Too many failed attempts" in text(refused)
    assert '"act": "sign-in", "outcome": "refused"' in caplog.text
    assert WRONG not in caplog.text and PASSWORD not in caplog.text


@pytest.mark.usefixtures("with_password")
def test_a_stranger_cannot_lock_the_administrator_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.shared.visitor.source", lambda: "192.0.2.1")
    app = open_page()
    for _ in range(FREE_ATTEMPTS + 1):
        app = send(app, password=WRONG)
    assert "Too many failed attempts" in text(app)
    monkeypatch.setattr("pages.shared.visitor.source", lambda: "192.0.2.2")
    assert is_inside(send(open_page(), password=PASSWORD))


@pytest.mark.usefixtures("with_password")
def test_a_visit_without_use_ends(clock: Clock) -> None:
    app = send(open_page(), password=PASSWORD)
    for _ in range(3):
        clock.now += 1799
        assert is_inside(app.run()), "use keeps it open"
    clock.now += 1801
    app.run()
    assert not is_inside(app) and "signed out after 30 minutes of inactivity" in text(app)
    app = send(app, password=PASSWORD)
    assert is_inside(app) and "signed out" not in text(app)


def test_a_visit_ends_when_the_password_is_another_one(with_password: Settings) -> None:
    app = send(open_page(), password=PASSWORD)
    (with_password.data_dir / "administrator.json").unlink()
    assert not is_inside(app.run()), "also while there is none"
    set_password(with_password, str(new_first_code(with_password)), "a new horse battery")
    app.run()
    assert not is_inside(app)
    assert not is_inside(send(app, password=PASSWORD))
    other = send(open_page(), password="a new horse battery")
    assert is_inside(other)


@pytest.mark.usefixtures("with_password")
def test_callbacks_and_fragments_stand_behind_the_guard_too(clock: Clock) -> None:
    app = send(open_page(ACTING), password=PASSWORD)
    act = next(one for one in app.button if one.label == "Act")
    app = act.click().run()
    assert app.session_state["acted"] == 1 and app.session_state["looked"] == 2
    clock.now += 1801
    app = next(one for one in app.button if one.label == "Act").click().run()
    assert not app.exception and app.session_state["acted"] == 1 and app.session_state["looked"] == 2
    assert [one.label for one in app.text_input] == ["Password"]


def test_an_account_that_cannot_be_read_opens_nothing(with_password: Settings) -> None:
    (with_password.data_dir / "administrator.json").write_text("{")
    app = open_page()
    assert not is_inside(app)
    for password in (PASSWORD, ""):
        assert not is_inside(send(app, password=password))
    assert "delete administrator.json" in text(app)


@pytest.mark.usefixtures("settings")
def test_a_misspelt_setting_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOLENS_DATADIR", "x")
    app = open_page()
    assert not is_inside(app) and "PNEUMOLENS_DATADIR" in text(app) and not app.text_input


@pytest.mark.usefixtures("settings")
def test_the_retrain_page_asks_first_and_without_its_frame_shows_nothing() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app = app.switch_page("pages/retraining/retrain.py").run()
    assert not app.exception and "Decision support, not a diagnosis" in text(app)
    assert [one.label for one in app.text_input] == ["One-time code", "New password", "Repeat new password"]
    assert [one.label for one in app.button] == ["Set password"], "and nothing else"
    bare = AppTest.from_file(str(ROOT / "pages" / "retraining" / "retrain.py"), default_timeout=60).run()
    assert not bare.exception and "start page" in text(bare)
    assert not bare.html and not bare.text_input and not bare.button


# What is said once for each start.


@pytest.mark.usefixtures("settings")
def test_a_start_prints_the_code_once_before_the_first_visit(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve() -> None:
        async with installation.lifespan(None):
            installation.start()

    asyncio.run(serve())
    AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    (code,) = re.findall(r"One-time code for the Retrain page: (\S+)", capsys.readouterr().out)
    assert is_inside(send(open_page(), code=code, new=PASSWORD, again=PASSWORD))
    st.cache_resource.clear()
    installation.start()
    assert capsys.readouterr().out == "", "there is a password now"


@pytest.mark.usefixtures("settings")
def test_a_start_that_cannot_write_says_so_and_the_films_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "file" / "data"))
    with caplog.at_level(logging.WARNING):
        installation.start()
    assert "The data folder is not usable" in caplog.text


def test_the_server_finds_its_start_in_the_app() -> None:
    from streamlit.web.server.app_discovery import discover_asgi_app

    assert discover_asgi_app(ROOT / "app.py").import_string == "app:app"


# What the source must say, since no test can try every moment.


ADMIN_SCRIPTS = {"retrain.py"}


def admin_sources() -> list[Path]:
    return sorted((ROOT / "pages" / "retraining").glob("*.py"))


def name_of(node: ast.expr) -> str:
    """Return the last part of a (called) name: `guarded` for `administrator.guarded(x)`."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def called(statement: ast.stmt) -> str:
    value = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
    return name_of(value) if isinstance(value, ast.Call) else ""


def is_quiet(statement: ast.stmt) -> bool:
    """Whether a statement at the top of a module can draw nothing by itself."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not any(isinstance(node, ast.Attribute) and name_of(node.value) == "st" for node in ast.walk(statement))
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_text or isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.If)


@pytest.mark.parametrize("path", admin_sources(), ids=lambda path: path.name)
def test_every_admin_script_and_fragment_and_callback_is_guarded(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name in ADMIN_SCRIPTS:
        acts = [statement for statement in tree.body if not is_quiet(statement) or called(statement)]
        assert [called(one) for one in acts[:2]] == ["require_frame", "require_administrator"]
    else:
        assert all(is_quiet(statement) for statement in tree.body), "a part draws only when its page asks it to"
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for function in functions.values():
        if "fragment" in {name_of(one) for one in function.decorator_list}:
            first = next(
                one for one in function.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            )
            assert called(first) in {"still_administrator", "require_administrator"}, function.name
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        for keyword in call.keywords:
            if keyword.arg not in {"on_click", "on_change", "on_select", "on_submit"} or isinstance(
                keyword.value, ast.Constant
            ):
                continue
            callback = functions.get(name_of(keyword.value))
            decorators = set() if callback is None else {name_of(one) for one in callback.decorator_list}
            assert name_of(keyword.value) == "guarded" or "guarded" in decorators, f"line {call.lineno}"


# Which classifier serves.


def damage(settings: Settings, version: str) -> None:
    path = settings.versions_dir / version / "classifier.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


class Network:
    """Stands in for loading: what was loaded, by the content of the weights file."""

    def __init__(self) -> None:
        self.loaded: list[bytes] = []

    def load(self, folder: Path, _architectures: tuple[str, ...] = ()) -> Classifier:
        from model.registry import verify

        card = verify(folder)
        self.loaded.append((folder / card.weights_file).read_bytes())
        return Classifier(card, "mixed10", lambda _: None, lambda _: None)  # type: ignore[arg-type,return-value]


def put(settings: Settings, version: str, content: bytes | None = None, **changes: object) -> ModelCard:
    add_version(
        settings.versions_dir, a_card(version, **changes), lambda path: path.write_bytes(content or version.encode())
    )
    promote(settings, version, who="a test")
    return classifiers.card_of(version)


def test_a_damaged_version_is_refused_by_name_and_the_last_good_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, network = install(a_card(), tmp_path, monkeypatch), Network()
    monkeypatch.setattr("pages.shared.classifiers.load_classifier", network.load)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert "2026.01.02-1" in text(app) and "is used in its place" not in text(app)
    put(settings, "2026.01.03-1")
    app.run()
    assert "2026.01.03-1" in text(app), "an open page serves the new version at its next rerun"
    damage(settings, "2026.01.03-1")
    for page in ("pages/reading/read.py", PERFORMANCE):
        app = app.switch_page(page).run()
        assert not app.exception
        warning = next(one.proto.body for one in app.html if 'role="alert"' in one.proto.body)
        assert (
            "The weights of version 2026.01.03-1 were changed or damaged and will not be used. "
            "Version 2026.01.02-1 is used in its place." in warning
        )
        assert "For technical support: expected sha256" in warning
        assert "2026.01.02-1" in text(app).replace(warning, ""), page
    rollback(settings, who="a test")
    app.run()
    assert not any('role="alert"' in one.proto.body for one in app.html)
    assert network.loaded == [b"weights", b"2026.01.03-1"], "each version was loaded once, the damaged file never"


def test_other_files_under_the_same_name_are_another_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    settings, network = install(a_card(), tmp_path, monkeypatch), Network()
    monkeypatch.setattr("pages.shared.classifiers.load_classifier", network.load)
    before = put(settings, "2026.01.03-1", b"one")
    first = classifiers.classifier_of("2026.01.03-1")
    assert classifiers.classifier_of("2026.01.03-1") is first and first.card == before
    shutil.rmtree(settings.versions_dir / "2026.01.03-1")
    for record in (
        "active.json",
        "promotions.jsonl",
        "decisions/last.json",
    ):  # as long as it is on record, other files would be refused
        (settings.data_dir / record).unlink()
    after = put(settings, "2026.01.03-1", b"two", limitations=("Another.",))
    second = classifiers.classifier_of("2026.01.03-1")
    assert (classifiers.card_in_use(), second.card) == (after, after) and after.sha256 != before.sha256
    assert network.loaded == [b"one", b"two"]
