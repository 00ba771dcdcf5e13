"""What a card says of its data, and what may follow from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetError
from training.data.description import FIELDS, MOST_CHARACTERS, checked, describe, read_stated
from training.data.sample import Sample
from training.fitting.intended_use import intended_use, limitations, patients_in_words, population_phrase

HOSPITAL = "Radiographs are assigned to patients by DICOM header 4."


def kermany(n: int = 3, source: str = "") -> list[Sample]:
    normal = [Sample(Path(f"IM-{i:04d}-0001.jpeg"), 0, f"IM-{i}", True, source=source) for i in range(n)]
    return [*normal, *(Sample(Path(f"person{i}_virus_9.jpeg"), 1, f"p{i}", True, source=source) for i in range(n))]


def ward(*ages: float | None, source: str = "", **fields: Any) -> list[Sample]:
    return [
        Sample(Path(f"{i}.dcm"), i % 2, f"p{i}", True, age_years=age, source=source, **fields)
        for i, age in enumerate(ages)
    ]


def test_kermanys_films_keep_their_card() -> None:
    # One file of the published set has a number more.
    found = describe([*kermany(), Sample(Path("person447_virus_921_1.jpeg"), 1, "p447", True)], {})
    assert found["ages"] == {
        "value": "1–5 years",
        "from": "published",
    }
    assert found["licence"]["value"] == "CC BY 4.0" and found["sex"] is None
    assert "children aged 1–5 years: how probable" in intended_use(found) and "not for adults" in intended_use(found)
    said = limitations(found, patients_in_words(6, 0, {}))
    assert said[0].startswith("Trained on children of one hospital only (Guangzhou")
    assert said[4] == "Radiographs are assigned to patients by file names only."


def test_other_films_do_not_get_guangzhous_sentences() -> None:
    """A viewer calls anybody's films IM-0001-0001, in both classes."""
    exported = [Sample(Path(f"IM-{i:04d}-0001.jpeg"), i % 2, f"IM-{i}", True) for i in range(6)]
    found = describe(exported, {})
    assert found["recognised"] == {} and all(found[name] is None for name in FIELDS)
    everything = "\n".join((intended_use(found), *limitations(found, HOSPITAL)))
    assert "Guangzhou" not in everything and "1–5" not in everything
    assert "whose ages are not stated" in intended_use(found)
    assert "The ages of the patients are not known" in everything
    assert "Not stated of the training data: origin, licence, making of the labels, projections." in everything


@pytest.mark.parametrize(
    ("ages", "phrase", "excluded"),
    [
        ((2, 3, 4, 5, 9, 12, 16, 1), "children aged 1.2–15 years", "not for adults, lateral"),
        ((30, 41, 65, 80), "adults aged 30–78 years", "not for children, lateral"),
        ((4, 12, 33, 71), "patients aged 4–68 years", "not for patients of other ages"),
    ],
)
def test_measured_ages_decide_the_intended_use(ages: tuple[float, ...], phrase: str, excluded: str) -> None:
    found = describe(ward(*ages), {"ages": "anything"})
    assert population_phrase(found) == phrase and f"{phrase}: how probable" in intended_use(found)
    assert excluded in intended_use(found) and found["ages"]["from"] == "headers and tables"


def test_ages_in_words_with_their_bands() -> None:
    found = describe(ward(0.5, 3, 4, None, 20), {})
    assert found["ages"]["value"] == "0.5–20 years, median 3 (quartiles 2–8); known for 4 of 5 radiographs"
    assert found["age_bands"] == {
        "under 1 year": 1,
        "1–5 years": 2,
        "6–17 years": 0,
        "18 years and older": 1,
        "unknown": 1,
    }
    said = limitations(found, HOSPITAL)
    assert "Few or no radiographs of patients of 6–17 years; performance there is unknown." in said
    assert "The age is unknown for 1 of 5 radiographs." in said
    assert population_phrase(found) == "", "ages of four fifths are not those of the population"


def test_the_administrator_is_believed_where_files_are_silent() -> None:
    stated = {"ages": "0–16 years", "licence": "ethics committee 12/2026", "sex": "half girls"}
    found = describe(ward(None, None, sex="F", view="AP", unit="DR-1"), stated)
    assert found["licence"] == {"value": "ethics committee 12/2026", "from": "stated by the administrator"}
    assert found["sex"] == {"value": "female 2", "from": "headers and tables"}
    assert (found["projections"]["value"], found["units"]["value"]) == ("AP 2", "DR-1 2")
    assert "patients of these ages: 0–16 years" in intended_use(found)
    assert any("only stated by the administrator" in one for one in limitations(found, HOSPITAL))


def test_sources_are_counted_and_named() -> None:
    both = describe([*kermany(2, "public"), *ward(3, 4, source="ward")], {})
    assert both["sources"] == {"public": 4, "ward": 2} and both["recognised"] == {"kermany": 4}
    said = limitations(both, HOSPITAL)
    assert said[0].startswith("Trained on radiographs of 2 sources (public, ward)")
    assert said[1].startswith("4 radiographs of 6 are of children of 1–5 years at one hospital (Guangzhou")


def test_how_patients_were_found() -> None:
    assert patients_in_words(5, 5, {"file": 5}).startswith("No patient is known: the split is by file")
    assert patients_in_words(5, 1, {"DICOM header": 4}) == (
        "Radiographs are assigned to patients by DICOM header 4. The patients of 1 are unknown; each counts as one of "
        "its own."
    )


def test_what_is_stated_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text(json.dumps({"licence": " CC  BY 4.0\n", "ages": ""}))
    assert read_stated(file) == {"licence": "CC BY 4.0"}
    for bad in ({"color": "x"}, {"ages": 5}, {"ages": "x" * (MOST_CHARACTERS + 1)}):
        with pytest.raises(DatasetError, match="expected texts"):
            checked(bad)
    for content in ("[]", "{", ""):
        file.write_text(content)
        with pytest.raises(DatasetError, match="as JSON"):
            read_stated(file)
