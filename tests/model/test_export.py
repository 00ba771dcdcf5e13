"""A version exported to other runtimes: what is written, what is checked, and what is left when the check fails."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from core.errors import ClassifierError  # noqa: E402
from model import export, framing_steps  # noqa: E402
from model.calibration import probabilities  # noqa: E402
from model.engine import load_classifier  # noqa: E402
from model.framing import framed, pair_of  # noqa: E402
from model.networks import export as formats  # noqa: E402
from model.networks.anatomy import build_anatomy  # noqa: E402
from model.networks.build import build_network  # noqa: E402
from model.networks.weights import save_network  # noqa: E402
from model.registry import add_version  # noqa: E402
from tests.fake_classifier import fake_card  # noqa: E402
from tests.lungs import anatomy  # noqa: E402
from tests.model.networks.small_network import lung_network  # noqa: E402
from tests.phantoms import chest  # noqa: E402
from training.__main__ import main  # noqa: E402

PX = 32
OWN = "tests.model.networks.small_network:lung_network"


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


def framed_version(folder: Path) -> Path:
    """A version whose anatomy network has random weights, so that it outlines something in every picture."""
    keras.utils.set_random_seed(5)
    network, anatomy = lung_network(PX), build_anatomy()
    kernel = network.get_layer("logit").kernel
    kernel.assign(30 * kernel)
    folder.mkdir()
    save_network(anatomy, folder / "drawn.npz")
    card = fake_card(
        "2026.01.02-2",
        architecture=OWN,
        weights_file="classifier.npz",
        preprocessing={"input_px": PX, "detail_px": 64, "fills_border": True, "frame": "lungs", "channels": 2},
    )
    made = add_version(folder, card, lambda path: save_network(network, path), anatomy=folder / "drawn.npz")
    (folder / "drawn.npz").unlink()
    return made


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
@pytest.mark.parametrize("kind", ["saved_model", "onnx", "openvino"])
def test_a_framed_version_is_exported_with_its_anatomy(kind: str, tmp_path: Path) -> None:
    for package in formats.FORMATS[kind][2]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (the extra `export`)")
    version, out = framed_version(tmp_path / "versions"), tmp_path / "out"
    made = export.export_version(version, out, kind, (OWN,))
    assert made.largest_anatomy_difference is not None and made.largest_anatomy_difference <= export.TOLERANCE
    described = json.loads((out / export.SIDECAR).read_text())
    assert described["input"]["shape"] == [None, PX, PX, 2] and "inverted" in described["not_exported"]
    assert described["check"]["largest_difference_of_anatomy"] == made.largest_anatomy_difference
    pictures = np.stack((export.drawn_films(3, PX, 7), export.drawn_lungs(3, PX, 7)), -1)
    served = load_classifier(version, (OWN,))
    wanted = served.run(pictures)
    assert np.ptp(wanted) > 10 * export.TOLERANCE
    logits = formats.exported_function(out / described["file"], kind)(pictures)
    np.testing.assert_allclose(logits, wanted, atol=export.TOLERANCE)
    lungs, pose = formats.exported_anatomy(out / described["anatomy"]["file"], kind)(export.drawn_films(2, 128))
    assert lungs.shape == (2, 2, 128, 128) and 0 <= lungs.min() <= lungs.max() <= 1
    np.testing.assert_allclose(pose.sum(1), 1, atol=1e-5)
    assert pose.shape[1] == len(described["anatomy"]["poses"])


def test_a_framed_export_whose_anatomy_differs_is_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, wrong = framed_version(tmp_path / "versions"), (np.zeros((8, 2, 128, 128)), np.zeros((8, 9)))
    monkeypatch.setattr(formats, "export_anatomy", lambda _network, folder, _kind: folder / "anatomy")
    monkeypatch.setattr(formats, "exported_anatomy", lambda *_: lambda _: wrong)
    with pytest.raises(ClassifierError, match=r"expected lungs and poses within 0\.002"):
        export.export_version(version, tmp_path / "out", "saved_model", (OWN,))
    assert [path.name for path in tmp_path.iterdir()] == ["versions"]


def by_the_steps(square: np.ndarray, maps: np.ndarray, values: dict, px: int) -> np.ndarray:
    """Frame a film as the words of the sidecar say, with nothing but its numbers; the outlines are as usual."""
    sized = [cv2.resize(one, square.shape, interpolation=cv2.INTER_LINEAR) for one in maps]
    side, lungs = len(square), np.maximum(*sized)
    (x0, y0), (x1, y1) = (np.argwhere(one >= 128)[:, ::-1].mean(0) for one in sized)
    most = np.deg2rad(values["most_tilt_degrees"])
    tilt = float(np.clip(np.arctan2(y1 - y0, x1 - x0), -most, most))
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    along = ((np.argwhere(lungs >= 128)[:, ::-1] + 0.5) / side) @ turn
    low, high = np.quantile(along, (values["stray"], 1 - values["stray"]), axis=0)
    middle, size = turn @ ((low + high) / 2), np.maximum(high - low, 0.1)
    linear = turn * (size * side / ((1 - 2 * values["margin"]) * px))
    matrix = np.column_stack((linear, middle * side - 0.5 - linear @ np.full(2, (px - 1) / 2)))
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    film = cv2.warpAffine(square, matrix, (px, px), flags=how, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.warpAffine(lungs, matrix, (px, px), flags=how)
    radius = round(values["wall"] * px)
    thorax = np.zeros((px, px), np.uint8)
    cv2.fillConvexPoly(thorax, cv2.convexHull(np.argwhere(shown >= 128)[:, ::-1].astype(np.int32)), 1)
    wide = cv2.dilate(thorax, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))) > 0
    inside = film[wide].astype(float)
    levels = (film - inside.mean()) * values["spread"] / max(inside.std(), 4) + values["mean"]
    return np.dstack((np.where(wide, np.clip(np.round(levels), 0, 255), values["beside"]), shown)).astype(np.uint8)


@pytest.mark.parametrize("tilt", [0.0, 9.0])
def test_a_program_that_follows_the_steps_has_the_same_input(tilt: float) -> None:
    values = framing_steps.framing_values()
    film, found = chest(2, (160, 160), pneumonia=True), anatomy(middle=(0.47, 0.52), scale=0.8, tilt=tilt)
    assert not found.is_doubtful
    wanted = framed(pair_of(film, found), 96)
    own = by_the_steps(film, found.lungs, values, 96)
    assert np.abs(own.astype(int) - wanted).max() <= 1, "but for the rounding of single and double precision"
    words = " ".join(framing_steps.framing_steps(96, 160))
    assert all(re.search(rf"\b{name}\b", words) for name in values if name != "anatomy_px")
