from __future__ import annotations

import importlib
import logging
import os
from types import SimpleNamespace

import pytest

from model.tf_startup import start_tensorflow

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
LOGGER = logging.Logger("stand-in", logging.WARNING)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow reads its environment once, when it is first imported, which other tests have done."""
    found = SimpleNamespace(config=SimpleNamespace(list_logical_devices=list), get_logger=lambda: LOGGER)
    monkeypatch.setattr(importlib, "import_module", lambda _: found)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.mark.parametrize(
    ("in_batches", "set_before", "expected"),
    [(False, None, None), (True, None, "1"), (True, "0", "0"), (False, "1", "1")],
)
def test_onednn_is_for_batches_and_what_was_set_stays(
    in_batches: bool, set_before: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONEDNN, "")
    if set_before is None:
        monkeypatch.delenv(ONEDNN)
    else:
        monkeypatch.setenv(ONEDNN, set_before)
    start_tensorflow(in_batches=in_batches)
    assert os.environ.get(ONEDNN) == expected


def test_what_tensorflow_prints_is_shown_if_it_fails(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> None:
        os.write(2, b"a library is missing\n")
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ImportError):
        start_tensorflow()
    assert "a library is missing" in capfd.readouterr().err


def test_only_errors_of_tensorflow_reach_a_command_s_reader() -> None:
    start_tensorflow()
    assert not LOGGER.isEnabledFor(logging.WARNING) and LOGGER.isEnabledFor(logging.ERROR)
