"""What every test stands on: a quiet TensorFlow, the project on the path, and real radiographs where there are any."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Both are read once, at TensorFlow's import, so they must be set before any test module is.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


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
