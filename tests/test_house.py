"""Who may import whom: the table of ARCHITECTURE.md, read from the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("app", "pages", "training", "records", "model")
# What a room may import beside the standard library and itself; tensorflow is settled below.
ALLOWED = {
    "app": {"streamlit", "pages", "model"},
    "pages": {"streamlit", "starlette", "plotly", "model", "records", "training", "numpy", "PIL", "cv2"},
    "training": {"model", "numpy", "cv2", "tqdm", "sklearn", "scipy", "optuna", "psutil"},
    "records": {"model", "sqlalchemy", "pynetdicom", "argon2"},
    "model": {"numpy", "PIL", "cv2", "pydicom", "_gdcm", "highdicom", "fpdf", "pypdf", "tqdm"},
}
TENSORFLOW = {"model/network.py", "model/small_networks.py", "training/backprop.py", "training/fit.py",
              "training/head.py", "training/measure.py", "training/norms.py", "training/run.py", "training/start.py",
              "training/tune.py", "training/tune_trial.py", "training/cli_leaderboard.py"}
# tensorflow only inside functions: importing these must stay cheap.
LAZY = {"training/start.py", "training/tune.py", "training/cli_leaderboard.py"}


# What the retrain page may know of training; none of it needs tensorflow to be imported.
FOR_PAGES = {f"training.{name}" for name in (
    "audit", "audits", "augment", "candidate", "config", "estimate", "jobs", "processes", "promotion", "sources")}


def sources() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        files = [ROOT / "app.py"] if room == "app" else sorted((ROOT / room).rglob("*.py"))
        yield from ((room, path) for path in files)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, whether it is imported at the top of the file)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = ([alias.name for alias in node.names] if isinstance(node, ast.Import)
                 else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        yield from ((name, node in tree.body) for name in names)


FILES = [pytest.param(room, path, id=path.relative_to(ROOT).as_posix()) for room, path in sources()]


@pytest.mark.parametrize(("room", "path"), FILES)
def test_every_arrow_goes_down(room: str, path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    for module, at_top in imports(path):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names or top == room:
            continue
        if top in {"tensorflow", "keras"}:
            assert name in TENSORFLOW, f"{name} imports {module}"
            assert name not in LAZY or not at_top, "only inside its functions may it need tensorflow"
            continue
        assert top in ALLOWED[room], f"{name} imports {module}"
        if room == "pages" and top == "training":
            assert module in FOR_PAGES or module == "training", f"{name} imports {module}"
        if room == "app" and top in {"pages", "model"}:
            assert module.startswith(("pages.shared", "model.settings", "model.errors")), f"{name} imports {module}"


@pytest.mark.parametrize(("room", "path"), FILES)
def test_modules_stay_readable(room: str, path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_charts_know_nothing_of_streamlit_and_pages_nothing_of_their_siblings() -> None:
    for _, path in sources():
        name = path.relative_to(ROOT).as_posix()
        modules = {module for module, _ in imports(path)}
        if name == "pages/shared/charts.py":
            assert not any(module.split(".")[0] == "streamlit" for module in modules)
        if name.startswith(("pages/clinician/", "pages/admin/")):
            assert not any(module.startswith(("pages.clinician", "pages.admin")) for module in modules), name


def test_only_the_settings_read_the_environment() -> None:
    """Entry points may hand it over; TensorFlow's own start-up switch is the one exception."""
    may = {"model/settings.py", "model/quiet.py", "model/__main__.py", "training/__main__.py",
           "pages/shared/session.py"}
    for _, path in sources():
        name = path.relative_to(ROOT).as_posix()
        reads = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}]
        assert not reads or name in may, name
