"""A version exported to other runtimes: what is written, what is checked, and what is left when the check fails."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from core.errors import ClassifierError  # noqa: E402
from model import export  # noqa: E402
from model.calibration import probabilities  # noqa: E402
from model.engine import load_classifier  # noqa: E402
from model.networks import export as formats  # noqa: E402
from model.networks.build import build_network  # noqa: E402
from model.networks.weights import save_network  # noqa: E402
from model.registry import add_version  # noqa: E402
from tests.fake_classifier import fake_card  # noqa: E402
from training.__main__ import main  # noqa: E402

PX = 32


def make_version(folder: Path, version: str = "2026.01.02-1", mirror: bool = False) -> Path:
    keras.utils.set_random_seed(5)
    network = build_network("cnn_4_2", PX)
    kernel = network.get_layer("logit").kernel
    kernel.assign(30 * kernel)  # logits as far apart as a trained network's
    card = fake_card(
        version,
        architecture="cnn_4_2",
        weights_file="classifier.npz",
        preprocessing={"input_px": PX, "detail_px": 28, "fills_border": True, "mirror": mirror},
    )
    return add_version(folder, card, lambda path: save_network(network, path))


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras looks whether NumPy still has it
@pytest.mark.parametrize(
    ("kind", "mirror"), [("saved_model", False), ("saved_model", True), ("onnx", True), ("openvino", False)]
)
def test_an_export_gives_the_version_s_logits_in_its_own_runtime(kind: str, mirror: bool, tmp_path: Path) -> None:
    for package in formats.FORMATS[kind][2]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (the extra `export`)")
    version = make_version(tmp_path / "versions", mirror=mirror)
    made = export.export_version(version, tmp_path / "out", kind)
    assert made.largest_difference <= export.TOLERANCE and made.films == export.FILMS
    described = json.loads((tmp_path / "out" / export.SIDECAR).read_text())
    films = export.drawn_films(3, PX, seed=7)
    logits = formats.exported_function(tmp_path / "out" / described["file"], kind)(films)
    wanted = load_classifier(version).run(films)
    assert np.ptp(wanted) > 10 * export.TOLERANCE, "pictures that a network tells apart"
    np.testing.assert_allclose(logits, wanted, atol=export.TOLERANCE)
    assert described["version"] == "2026.01.02-1" and described["input"]["shape"] == [None, PX, PX, 1]
    assert any("28 × 28" in step for step in described["preprocessing"]["steps"])
    scale = described["calibration"]
    by_formula = 1 / (1 + np.exp(-(logits / scale["temperature"] + scale["bias"])))
    np.testing.assert_allclose(by_formula, probabilities(logits, load_classifier(version).card.calibration), atol=1e-6)
    assert not list(tmp_path.glob(".out-*"))


def test_an_export_that_differs_is_not_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = make_version(tmp_path / "versions")
    real = formats.exported_function
    for wrong in (lambda logits: logits + 1, lambda logits: logits * np.nan):
        monkeypatch.setattr(
            formats, "exported_function", lambda path, kind, w=wrong: lambda films: w(real(path, kind)(films))
        )
        with pytest.raises(ClassifierError, match=r"within 0\.002"):
            export.export_version(version, tmp_path / "out", "saved_model")
        assert [path.name for path in tmp_path.iterdir()] == ["versions"]


def test_wrong_requests_are_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.setattr("training.commands.export.start_tensorflow", lambda **_: None)
    make_version(tmp_path / "home" / "versions")
    assert main(["export", "2026.01.02-1", "--format", "onnx", "--out", str(tmp_path)]) == 1
    assert "expected a folder that does not exist yet" in capsys.readouterr().err
    assert main(["export", "1999.1.1-1", "--format", "onnx", "--out", str(tmp_path / "new")]) == 1
    assert "1999.1.1-1" in capsys.readouterr().err
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda _: None)
    assert main(["export", "2026.01.02-1", "--format", "onnx", "--out", str(tmp_path / "new")]) == 1
    assert 'pip install "pneumolens[export]"' in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["export", "2026.01.02-1", "--format", "saved_model", "--out", str(tmp_path / "new")]) == 0
    assert "logits of 8 drawn pictures differ by" in capsys.readouterr().out
