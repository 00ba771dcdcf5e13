"""A training at another resolution: on the card, in service, and in the estimate of memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from core.progress import ignore
from core.settings import Settings
from imaging.radiograph import decode_radiograph, network_input
from model.engine import load_classifier
from tests.phantoms import as_png, chest, write_dataset
from training.__main__ import parser
from training.commands.train import config_of
from training.data.data_request import DataRequest
from training.runs.preflight import memory_needed
from training.runs.request import RunRequest, create_run
from training.runs.run import execute


def test_a_version_is_served_with_the_detail_that_it_was_trained_with(tmp_path: Path) -> None:
    write_dataset(tmp_path / "films", 12, size=(200, 220))
    words = "--architecture cnn_2_1 --epochs 1 --input-px 96 --detail-px 80 --batch-size 4 --precision float32"
    options = parser().parse_args(["train", "--data", "films", "--validation-fraction", "0.3", *words.split()])
    config = dataclasses.replace(config_of(options, has_weights=False), copies=(1, 1))
    assert config.detail_px == 80
    run = tmp_path / "home" / "runs" / "one"
    create_run(run, config, RunRequest(DataRequest((tmp_path / "films",)), run.parent / "versions", "random"))
    version = load_classifier(execute(run, Settings(tmp_path / "home"), ignore))
    assert version.card.preprocessing["detail_px"] == version.detail_px == 80
    radiograph = decode_radiograph(as_png(chest(3, (200, 220))))
    served = version.input_of(radiograph)
    np.testing.assert_array_equal(served, network_input(radiograph, 96, 80, fills_border=True))
    assert (served != network_input(radiograph, 96, 224, fills_border=True)).any()


def test_more_detail_needs_more_memory() -> None:
    coarse, fine = (
        config_of(parser().parse_args(["train", "--data", "films", "--detail-px", px]), has_weights=False)
        for px in ("224", "448")
    )
    more = memory_needed(fine, 5000) - memory_needed(coarse, 5000)
    assert more >= 5000 * (448**2 - 224**2), "at least one copy of each picture"
