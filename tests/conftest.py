"""What every test stands on: a quiet TensorFlow, the project on the path, and real radiographs where there are any."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Both are read once, at TensorFlow's import, so they must be set before any test module is.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Workers share the cores. OpenMP's threads wait for one another by spinning, which takes the cores from whoever works.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

MAIN = sys.modules["__main__"]
ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist keep the order below; its own ends with the files of fewest tests, which are the longest."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the nightly tests out by day, and give the workers the files with slow tests first.

    A worker that begins a long file at the end would keep the others waiting.
    """
    if os.environ.get("PNEUMOLENS_NIGHTLY") != "1":
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Spare every page under test what Streamlit does anew for each: both take longer than the page itself.

    It searches for garbage after each run, from here on without the libraries' objects, as in the app once it has
    loaded them; and it looks for components in the packages that are installed, which no test changes.
    """
    if "streamlit" in sys.modules:
        from streamlit.components.v2 import manifest_scanner

        manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Give `__main__` back before and after each test.

    Streamlit runs a page as `__main__` and leaves it there, also of an `AppTest` that a fixture of a module started. A
    process that multiprocessing starts later would run that page again.
    """
    sys.modules["__main__"] = MAIN
    yield
    sys.modules["__main__"] = MAIN


def find_test_data() -> Path | None:
    """Return the folder of real radiographs: PNEUMOLENS_TEST_DATA, or ../shared/data beside the repository."""
    named = os.environ.get("PNEUMOLENS_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real radiographs; skips where there is none, since none may be committed."""
    folder = find_test_data()
    if folder is None:
        pytest.skip("no real radiographs: neither PNEUMOLENS_TEST_DATA nor ../shared/data is a folder")
    return folder
