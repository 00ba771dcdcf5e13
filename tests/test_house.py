"""Who may import whom: the tables of ARCHITECTURE.md, read from the sources."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests import ROOT

ROOMS = ("app", "benchmarks", "core", "imaging", "model", "pages", "records", "reports", "training")

# What a package may import beside the standard library and itself. An entry covers the packages below it,
# except where a package below has a row of its own in PACKAGES.
ALLOWED = {
    "app": {"streamlit", "pages.server", "pages.shared", "core"},
    "pneumolens": {"training", "records", "model", "imaging", "core"},
    "pages": {
        "streamlit",
        "starlette",
        "plotly",
        "numpy",
        "PIL",
        "cv2",
        "training",
        "records",
        "reports",
        "model",
        "imaging",
        "core",
    },
    "training": {
        "numpy",
        "cv2",
        "tqdm",
        "sklearn",
        "scipy",
        "optuna",
        "psutil",
        "pyarrow",
        "records.activity",
        "records.test_sets",
        "model",
        "imaging",
        "core",
    },
    "reports": {
        "numpy",
        "PIL",
        "cv2",
        "fontTools",
        "fpdf",
        "pypdf",
        "pydicom",
        "highdicom",
        "uharfbuzz",
        "model",
        "imaging",
        "core",
    },
    "records": {"argon2", "core"},
    "model": {"numpy", "cv2", "tqdm", "imaging", "core"},
    "imaging": {"numpy", "PIL", "cv2", "pydicom", "_gdcm", "core"},
    "core": set[str](),
}
# Between the packages of one room: which of its siblings a package may import. A room's own modules stand under "".
PACKAGES: dict[str, dict[str, set[str]]] = {
    "imaging": {"": {"dicom"}, "dicom": {""}},
    "model": {"": {"networks"}, "networks": set()},
    "reports": {"": set(), "dicom": {""}},
    "training": {
        "": {"commands"},
        "data": set(),
        "fitting": {"data"},
        "evaluation": {"data"},
        "runs": {"data", "fitting", "evaluation"},
        "experiments": {"data", "fitting", "evaluation", "runs"},
        "commands": {"data", "fitting", "evaluation", "runs", "experiments"},
    },
    "pages": {
        "": set(),
        "server": set(),
        "shared": {"server"},
        "reading": {"shared", "server"},
        "retraining": {"shared"},
        "performance": {"shared"},
    },
}
# `imaging.dicom` stands on these modules of `imaging`, and the rest of `imaging` stands on `imaging.dicom`.
BELOW_DICOM = {"imaging.film", "imaging.jpeg", "imaging.limits", "imaging.lut", "imaging.worker"}
TENSORFLOW = {
    "model.networks.build",
    "model.networks.export",
    "model.networks.graphs",
    "model.networks.layers",
    "model.networks.small",
    "model.networks.lung_pooling",
    "model.networks.weights",
    "model.networks.anatomy",
    "training.fitting.anatomy",
    "training.fitting.fit",
    "training.fitting.trainer",
    "training.fitting.head",
    "training.fitting.batch_norm",
    "training.fitting.initial_weights",
    "training.runs.anatomy",
    "training.runs.event_log",
    "training.runs.measure",
    "training.runs.run",
    "training.experiments.tune",
    "training.experiments.trial",
    "training.commands.leaderboard",
}
# Optional packages, of the extra `export`.
RUNTIMES = {"onnxruntime", "openvino"}
# tensorflow only inside functions: importing these must stay cheap.
LAZY = {"training.fitting.initial_weights", "training.experiments.tune", "training.commands.leaderboard"}
# What the pages may know of training; none of it needs tensorflow to be imported.
FOR_PAGES = {
    "training.data.audit",
    "training.data.audit_split",
    "training.data.augment",
    "training.data.recipes",
    "training.data.data_request",
    "training.data.dataset",
    "training.data.description",
    "training.data.patient_preview",
    "training.data.patients",
    "training.data.sample",
    "training.data.sources",
    "training.data.style_audit",
    "training.data.uploads",
    "training.evaluation.groups",
    "training.evaluation.looks",
    "training.fitting.config",
    "training.runs.audits",
    "training.runs.candidate",
    "training.runs.candidate_result",
    "training.runs.estimate",
    "training.runs.held_out",
    "training.runs.jobs",
    "training.runs.processes",
    "training.runs.promotion",
    "training.runs.recalibrations",
    "training.runs.run_queue",
    "training.runs.worst_group",
}


def sources() -> Iterator[tuple[str, Path]]:
    """Yield (module, path) of all sources but the tests."""
    yield "app", ROOT / "app.py"
    yield "pneumolens", ROOT / "pneumolens.py"
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


MODULES = dict(sources())


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, whether it is imported at the top of the file)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [one if one in MODULES else str(node.module) for one in whole]
        yield from ((name, node in tree.body) for name in names)


def package(module: str) -> str:
    """Return the package of a module within its room: "runs" for training.runs.jobs, "" for imaging.film."""
    parts = module.split(".")
    room, rest = parts[0], parts[1:]
    return rest[0] if len(rest) > 1 or (rest and rest[0] in PACKAGES.get(room, {})) else ""


FILES = [pytest.param(module, path, id=module) for module, path in MODULES.items()]


@pytest.mark.parametrize(("module", "path"), FILES)
def test_every_arrow_goes_down(module: str, path: Path) -> None:
    room = module.split(".")[0]
    for target, at_top in imports(path):
        top = target.split(".")[0]
        if top in sys.stdlib_module_names or room == "benchmarks":
            continue
        if top in {"tensorflow", "keras"}:
            assert module in TENSORFLOW, f"{module} imports {target}"
            assert module not in LAZY or not at_top, "only inside its functions may it need tensorflow"
        elif top in RUNTIMES:
            assert module == "model.networks.export" and not at_top, f"{module} imports {target}"
        elif top != room:
            allowed = ALLOWED[room]
            assert any(target == one or target.startswith(one + ".") for one in allowed), f"{module} imports {target}"
            assert package(target) != "networks" or room == "training" or target not in TENSORFLOW, (
                f"{module} imports {target}, which needs tensorflow"
            )
            if room == "pages" and top == "training":
                assert target in FOR_PAGES, f"{module} imports {target}"
        elif room in PACKAGES and package(module) != package(target):
            assert package(target) in PACKAGES[room][package(module)], f"{module} imports {target}"
            if package(module) == "dicom" and room == "imaging":
                assert target in BELOW_DICOM, f"{module} imports {target}"


def test_no_circle_anywhere() -> None:
    graph = {
        module: {target for target, _ in imports(path) if target in MODULES and target != module}
        for module, path in MODULES.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert set(order) == set(MODULES)


def test_every_source_stands_in_a_room() -> None:
    here = {path.name for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert here == {"app.py", "pneumolens.py", "tests", *ROOMS} - {"app"}


def test_every_package_has_its_row() -> None:
    for room, rows in PACKAGES.items():
        folders = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
        assert folders == set(rows) - {""}, room


@pytest.mark.parametrize(("module", "path"), FILES)
def test_modules_stay_readable(module: str, path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, module


def test_charts_know_nothing_of_streamlit() -> None:
    charts = [module for module in MODULES if module.rsplit(".")[-1].startswith("charts")]
    assert len(charts) >= 5
    for chart in charts:
        assert not any(module.split(".")[0] == "streamlit" for module, _ in imports(MODULES[chart])), chart


def test_only_the_settings_read_the_environment() -> None:
    """Entry points may hand it over; TensorFlow's own start-up switch is the one exception."""
    may = {
        "pneumolens",
        "core.settings",
        "model.tf_startup",
        "model.__main__",
        "training.__main__",
        "pages.shared.installation",
    }
    for module, path in MODULES.items():
        reads = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
        ]
        assert not reads or module in may or module.startswith("benchmarks"), module


# Rooms whose public functions are the product's interface for developers.
DOCUMENTED = {"core", "imaging", "model", "pneumolens", "records", "reports", "training"}
ARRAY = re.compile(r"\b(?:ndarray|NDArray|Array|Features|Float|Grey|Labels|Map|Picture|Pictures)\b")
SEVERAL = re.compile(r"tuple\[(?!\w+, \.\.\.\])")


def app_errors() -> set[str]:
    """Return the names of AppError and its subclasses."""
    tree = ast.parse(MODULES["core.errors"].read_text(encoding="utf-8"))
    found = {"AppError"}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) in found for base in node.bases):
            found.add(node.name)
    return found


def gaps(function: ast.FunctionDef | ast.AsyncFunctionDef, errors: set[str]) -> list[str]:
    """Return what a docstring in the numpydoc form lacks: short functions may name their parameters in the text."""
    words = ast.get_docstring(function) or ""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    given = " ".join(ast.unparse(one.annotation) for one in arguments if one.annotation)
    result = ast.unparse(function.returns) if function.returns else ""
    raised = {
        ast.unparse(node.exc.func)
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    found = []
    if (len(arguments) > 1 or ARRAY.search(given)) and not re.search(r"^Parameters\n-+$", words, re.MULTILINE):
        found += [f"parameter {one.arg}" for one in arguments if f"`{one.arg}`" not in words]
    is_array = ARRAY.search(result) and not result.startswith("Callable")
    is_large = is_array or (len(arguments) > 1 and SEVERAL.match(result))
    if is_large and not re.search(r"^(Returns|Yields)\n-+$", words, re.MULTILINE):
        found.append(f"result {result}")
    found += [f"error {name}" for name in sorted(raised & errors) if not re.search(rf"\b{name}\b", words)]
    return found


@pytest.mark.parametrize(
    ("module", "path"), [case for case in FILES if str(case.values[0]).split(".")[0] in DOCUMENTED]
)
def test_public_functions_say_what_they_take_return_and_raise(module: str, path: Path) -> None:
    errors = app_errors()
    lacking = {
        node.name: missing
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and (missing := gaps(node, errors))
    }
    assert not lacking, module


def test_a_docstring_without_its_parameters_is_found() -> None:
    source = """
def scale(pixels: Array, factor: float) -> Array:
    '''Scale the pixels by `factor`.'''
    raise RadiographError("")
"""
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert gaps(function, app_errors()) == ["parameter pixels", "result Array", "error RadiographError"]
