from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from core.errors import DatasetError
from tests.phantoms import as_jpeg, as_png, chest
from training.data.audit import Audit, audit_folder, audit_from_json, audit_to_json, audit_to_text
from training.data.dataset import scan_folder
from training.data.encoding import Encoding, encoding_of
from training.data.sample import Sample
from training.data.style_audit import StyleGroup, _judged, nearly_one_class_sentence, one_class_sentences, style_auroc
from training.data.style_features import StyleFeatures, features_of, file_row
from training.data.styles import OTHER, StyleModel, assign, fit_styles, style_model_from_values, style_model_to_values
from training.data.usual_hull import usual_hull

FILE = file_row(Encoding("PNG"), 20_000, 224, 224)


def film(seed: int, marked: bool = False, pneumonia: bool = False) -> npt.NDArray[np.uint8]:
    """Draw a film; that of the marked unit has a large letter, a word and less contrast."""
    rng = np.random.default_rng(seed)
    drawn = chest(seed % 6, (224, 224), pneumonia).astype(float) * rng.uniform(0.9, 1.0) + rng.normal(0, 1, (224, 224))
    square = np.clip(drawn, 0, 255).astype(np.uint8)
    if marked:
        square = np.asarray(255 - 0.6 * (255 - square.astype(float)), np.uint8)
        square = np.ascontiguousarray(square)
        cv2.putText(square, "R", (6, 34), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 2)
        cv2.putText(square, "KV58", (192, 220), cv2.FONT_HERSHEY_SIMPLEX, 0.3, 255, 1)
    return square


def features(squares: list[npt.NDArray[np.uint8]]) -> list[StyleFeatures]:
    return [features_of(square, FILE) for square in squares]


@pytest.fixture(scope="module")
def fitted() -> StyleModel:
    return fit_styles(features([film(seed, seed % 4 == 3 or seed % 6 == 0) for seed in range(48)]))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Audit a folder in which one unit made every third film with pneumonia and none without."""
    root = tmp_path_factory.mktemp("films")
    for name in ("NORMAL", "PNEUMONIA"):
        (root / name).mkdir()
    for seed in range(24):
        (root / "NORMAL" / f"IM-{seed:04d}-0001.png").write_bytes(as_png(film(seed)))
        pneumonia = film(100 + seed, seed % 3 == 0, True)
        (root / "PNEUMONIA" / f"person{seed}_virus_{seed}.png").write_bytes(as_png(pneumonia))
    return audit_folder(scan_folder(root))


def test_a_new_film_of_a_unit_gets_the_style_of_the_unit(fitted: StyleModel) -> None:
    (marked,) = set(assign(fitted, features([film(seed, True) for seed in range(200, 206)])))
    assert marked not in assign(fitted, features([film(seed) for seed in range(300, 306)]))
    assert "upper left" in fitted.words[fitted.names.index(marked)]


def test_a_film_like_none_has_no_style(fitted: StyleModel) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8)
    assert assign(fitted, features([noise])) == [OTHER]
    assert assign(fitted, []) == []


def test_the_same_films_give_the_same_styles_and_json_keeps_them(fitted: StyleModel) -> None:
    assert fit_styles(features([film(seed, seed % 4 == 3 or seed % 6 == 0) for seed in range(48)])) == fitted
    assert style_model_from_values(json.loads(json.dumps(style_model_to_values(fitted)))) == fitted


@pytest.mark.parametrize("damage", [{"blocks": {}}, {"centres": [[1.0]]}, {"names": []}, {"reach": ["far"]}])
def test_damaged_values_are_no_style_model(fitted: StyleModel, damage: dict[str, object]) -> None:
    with pytest.raises(DatasetError, match="style model"):
        style_model_from_values(style_model_to_values(fitted) | damage)


def test_what_is_inside_the_hull_changes_no_feature() -> None:
    square = film(1, marked=True)
    hull = usual_hull(square)
    inner = cv2.erode(hull.astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    assert inner.mean() > 0.1
    opaque = np.where(inner, 230, square).astype(np.uint8)
    before, after = features_of(square, FILE), features_of(opaque, FILE)
    # The outline of the body may move by a pixel of 64, and with it the hull.
    if np.array_equal(usual_hull(opaque), hull):
        np.testing.assert_array_equal(before.picture(), after.picture())
        np.testing.assert_array_equal(before.marks, after.marks)
    else:
        np.testing.assert_allclose(before.picture(), after.picture(), atol=0.15)


def test_the_audit_finds_a_unit_that_made_one_class_only(audited: Audit) -> None:
    (group,) = [group for group in audited.styles if group.one_class]
    assert group.one_class == "PNEUMONIA" and group.counts["train"] == {"NORMAL": 0, "PNEUMONIA": 8}
    assert all(int(Path(name).name.split("_")[2].removesuffix(".png")) % 3 == 0 for name in group.examples)
    assert len(group.examples) == 8 and group.examples[0].startswith("PNEUMONIA/")
    (issue,) = [issue for issue in audited.issues if issue.code == "ONE_CLASS_STYLE"]
    assert "8 films of 8 patients" in issue.message and "is PNEUMONIA" in issue.message and not issue.blocking
    assert "style model" in audit_to_text(audited)
    assert not math.isnan(audited.style_auroc)


def test_an_audit_with_styles_reads_back_and_an_earlier_one_has_none(audited: Audit) -> None:
    text = audit_to_json(audited)
    back = audit_from_json(text)
    assert back.styles == audited.styles and back.style_model == audited.style_model
    assert back.style_of == audited.style_of and len(back.style_of) == 48
    assert math.isclose(back.style_auroc, audited.style_auroc)
    earlier = {k: v for k, v in json.loads(text).items() if not k.startswith("style")}
    old = audit_from_json(json.dumps(earlier))
    assert old.styles == () and old.style_model is None and math.isnan(old.style_auroc)


def test_the_style_model_predicts_labels_that_depend_on_marks() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 160)
    drawn = []
    for label in labels:
        marks = rng.uniform(0, 1, (14, 14)).astype(np.float32)
        marks[1, 1] += 30 * label
        tone, noise, borders = (rng.normal(size=n).astype(np.float32) for n in (20, 14, 4))
        drawn.append(StyleFeatures(marks, tone, noise, borders, FILE))
    samples = [Sample(Path(f"{i}.png"), int(y), str(i), True) for i, y in enumerate(labels)]
    assert style_auroc(fit_styles(drawn), drawn, samples, range(len(drawn))) > 0.95


def test_a_style_of_few_patients_is_not_called_one_sided() -> None:
    def group(name: str, normal: int, pneumonia: int) -> StyleGroup:
        both = {"NORMAL": normal, "PNEUMONIA": pneumonia}
        return StyleGroup(name, "", {"train": both}, both, (), 1.0)

    few, many, even = _judged([group("1", 0, 3), group("2", 0, 30), group("3", 60, 60)])
    assert few.one_class == "" and even.one_class == "" and many.one_class == "PNEUMONIA"
    assert many.chance < 1e-6 and 0.1 < few.chance < 0.3
    assert len(one_class_sentences((few, many, even))) == 1


def test_a_small_style_with_a_film_or_two_of_the_other_class_is_named() -> None:
    def group(name: str, normal: int, pneumonia: int) -> StyleGroup:
        both = {"NORMAL": normal, "PNEUMONIA": pneumonia}
        return StyleGroup(name, "a letter", {"train": both}, both, (), 1.0)

    small, mixed, rest = _judged([group("1", 2, 23), group("2", 8, 23), group("3", 160, 160)])
    assert small.nearly_one_class == "PNEUMONIA" and small.one_class == ""
    assert mixed.nearly_one_class == rest.nearly_one_class == ""
    assert "style 1 (23 of 25 PNEUMONIA: a letter)" in nearly_one_class_sentence((small, mixed, rest))


def test_the_encoding_is_read_from_the_header() -> None:
    grey = chest(0, (64, 80))
    fine, coarse = encoding_of(as_jpeg(grey, 95)), encoding_of(as_jpeg(grey, 40))
    assert fine.format == coarse.format == "JPEG" and coarse.quantisation > 3 * fine.quantisation
    assert fine.components == 1 and not fine.progressive
    colour = encoding_of(as_jpeg(np.dstack((grey, grey, grey)), 75))
    assert colour.components == 3 and colour.subsampled
    assert encoding_of(as_png(grey)).format == "PNG"
    assert encoding_of(b"\0" * 128 + b"DICM").format == "DICOM"
    for end in range(0, 200, 7):
        encoding_of(as_jpeg(grey, 75)[:end])


def test_the_hull_holds_the_lungs_that_people_drew(test_data: Path) -> None:
    table = test_data / "kermany_lung_masks" / "masks.csv"
    if not table.is_file():
        pytest.skip("needs kermany_lung_masks in ../shared/data or PNEUMOLENS_TEST_DATA")
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith("train") and row["match_corr"] > "0.8"]
    outside = []
    for row in rows[:: len(rows) // 24]:
        lungs = cv2.imread(str((test_data / "kermany_lung_masks" / row["file"]).with_suffix(".png")), 0)
        picture = cv2.imread(str(test_data / "kermany" / row["file"]), 0)
        assert lungs is not None and picture is not None
        hull = usual_hull(cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA).astype(np.uint8))
        outside.append(float((~hull & (lungs == 255)).sum() / (lungs == 255).sum()))
    assert len(outside) >= 24 and np.mean(outside) < 0.015
