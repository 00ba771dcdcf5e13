"""Estimates of time: arithmetic on what was measured."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from core.settings import load_settings
from training.fitting.config import default_config
from training.runs import processes
from training.runs.estimate import (
    Speed,
    fit_seconds,
    folder,
    keep_speed,
    known_speed,
    measuring_failed,
    stop_measuring,
)

LUNGS = "tests.model.networks.small_network:lung_network"
SPEED = Speed("inception_v3", 299, fitting=5.0, forward=12.0, processors=os.cpu_count() or 1)


def test_fine_tuning_is_counted_epoch_by_epoch() -> None:
    config = dataclasses.replace(
        default_config("inception_v3", head_epochs=0, small_epochs=0, full_epochs=2),
        validation_fraction=0.5,
        copies=(1, 1),
    )
    seconds = fit_seconds(config, 100, 100, SPEED)
    # Two epochs of 100 films at 5 a second, each validated on 100 at 12 a second; three times 100 to calibrate.
    assert seconds - fit_seconds(config, 0, 0, SPEED) == pytest.approx(2 * (20 + 100 / 12) + 300 / 12 + 200 * 0.024)


def test_presets_take_longer_the_more_thorough_and_faster_machines_less() -> None:
    quick, standard, thorough = (
        fit_seconds(default_config("inception_v3", preset), 3883, 1349, SPEED)
        for preset in ("quick", "standard", "thorough")
    )
    assert quick < standard / 4 < thorough / 4
    faster = dataclasses.replace(SPEED, fitting=10.0, forward=24.0)
    assert fit_seconds(default_config("inception_v3"), 3883, 1349, faster) < standard
    bounded = dataclasses.replace(default_config("inception_v3"), budget_minutes=5)
    assert fit_seconds(bounded, 3883, 1349, SPEED) < standard
    mirrored = dataclasses.replace(default_config("inception_v3"), mirror=True)
    assert fit_seconds(mirrored, 3883, 1349, SPEED) > standard
    unknowing = dataclasses.replace(default_config("inception_v3"), learns_population=False)
    assert standard - fit_seconds(unknowing, 3883, 1349, SPEED) > 1000 / SPEED.forward


def test_finding_the_lungs_takes_time_in_proportion_to_the_films() -> None:
    framed, whole = (
        fit_seconds(default_config(name, learns_population=False), 3883, 1349, SPEED)
        for name in ("inception_v3_lungs", "inception_v3")
    )
    # Each of 5,232 films once, the 12 % that are held out three times.
    assert framed - whole == pytest.approx(0.02 * 5232 * 1.24)


def test_the_speed_of_a_network_that_sees_the_lungs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    from training.runs import measure

    monkeypatch.setattr(measure, "default_config", lambda *_, **__: default_config(LUNGS, input_px=48, batch_size=4))
    found = measure.measure(LUNGS)
    assert found.input_px == 48 and found.fitting > 0 and found.forward > 0


def test_a_measurement_is_kept_and_not_believed_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"PNEUMOLENS_DATA_DIR": str(tmp_path)})
    assert known_speed(settings, "inception_v3") is None and not measuring_failed(settings, "inception_v3")
    keep_speed(settings, SPEED)
    assert known_speed(settings, "inception_v3") == SPEED and known_speed(settings, "cnn_77k") is None
    monkeypatch.setattr(os, "cpu_count", lambda: SPEED.processors + 6)
    assert known_speed(settings, "inception_v3") is None


def test_a_measuring_that_ended_without_a_result_is_not_begun_again(tmp_path: Path) -> None:
    settings = load_settings({"PNEUMOLENS_DATA_DIR": str(tmp_path)})
    place = folder(settings, "cnn_77k")
    place.mkdir(parents=True)
    processes.record_process(place, 2**22 - 3)
    assert measuring_failed(settings, "cnn_77k")
    stop_measuring(settings)
    assert not measuring_failed(settings, "cnn_77k"), "what a training interrupted is measured another time"
