"""The audit of a drawn split, and what is said of few patients before one is drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from training.data import audit_split
from training.data.audit_split import audit_split as audited
from training.data.sample import Sample


def samples_of(patients: int, films: int = 2) -> list[Sample]:
    return [
        Sample(Path(f"{label}-{patient}-{film}"), label, f"p{label}{patient}", True)
        for label in (0, 1)
        for patient in range(patients)
        for film in range(films)
    ]


def test_both_sides_are_counted_by_class_and_patients_with_one_picture_once() -> None:
    samples = samples_of(4)
    held = np.array([s.patient.endswith("3") or s.patient == "p12" for s in samples])
    names = [s.path.name for s in samples]
    split = audited(samples, held, (), names, ())
    assert split.sides["train"].patients == {"NORMAL": 3, "PNEUMONIA": 2}
    assert split.sides["validation"].radiographs == {"NORMAL": 2, "PNEUMONIA": 4}
    assert not split.patients_on_both_sides and not split.groups_on_both_sides and math.isnan(split.shortcut_auroc)
    one = audited(samples, held, ["same" if s.patient in ("p12", "p13") else s.patient for s in samples], names, ())
    assert one.sides["validation"].patients == {"NORMAL": 1, "PNEUMONIA": 1}
    assert [(code, blocks) for code, blocks, _ in audit_split.findings(one)] == [("ONE_HELD_OUT_PATIENT", True)]


def test_leaks_are_found_by_the_names_of_the_folder_s_audit() -> None:
    samples = samples_of(70, films=1)
    held = np.array([int(s.patient[2:]) % 2 == 1 for s in samples])
    held[-1] = True
    samples[-1] = Sample(Path("last"), 1, "p10", True)
    names = [s.path.name for s in samples]
    split = audited(samples, held, (), names, [("0-0-0", "0-1-0"), ("0-2-0", "0-4-0"), ("0-1-0", "of another folder")])
    assert split.patients_on_both_sides == ("p10",) and split.groups_on_both_sides == (("0-0-0", "0-1-0"),)
    found = {code: (blocks, message) for code, blocks, message in audit_split.findings(split)}
    assert found["PATIENT_ON_BOTH_SIDES"][0] is True and "1 patient has" in found["PATIENT_ON_BOTH_SIDES"][1]
    assert found["DUPLICATE_ON_BOTH_SIDES"][0] is False and set(found) == {
        "PATIENT_ON_BOTH_SIDES",
        "DUPLICATE_ON_BOTH_SIDES",
    }
    again = audit_split.from_json(json.loads(json.dumps(audit_split.to_json(split))))
    assert audit_split.to_json(again) == audit_split.to_json(split)


def test_a_shortcut_that_carries_over_to_validation_is_measured() -> None:
    samples = samples_of(60, films=1)
    held = np.array([int(s.patient[2:]) % 3 == 0 for s in samples])
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (len(samples), len(audit_split.FEATURES)))
    names = [s.path.name for s in samples]
    chance = audited(samples, held, (), names, (), features).shortcut_auroc
    features[:, 1] += [3 * s.label for s in samples]
    split = audited(samples, held, (), names, (), features)
    assert split.shortcut_auroc > 0.95 > 0.75 > chance
    brightness = {name: medians["mean"] for name, medians in split.sides["validation"].medians.items()}
    assert brightness["PNEUMONIA"] > brightness["NORMAL"] + 2
    assert "shortcut baseline fitted on train" in "\n".join(audit_split.to_text(split))


def test_few_patients_are_said_with_what_to_add_before_anything_is_read() -> None:
    def said(patients: int, fraction: float = 0.12, same: audit_split.Same = ()) -> audit_split.Finding | None:
        return audit_split.few_to_hold_out(samples_of(patients, films=1), (), fraction, same)

    code, blocks, message = said(5) or ("", False, "")
    assert (code, blocks) == ("ONE_HELD_OUT_PATIENT", False)
    assert "1 patient with and 1 without pneumonia" in message and "about 9 more patients of class NORMAL" in message
    assert (said(2) or ("", False, ""))[:2] == ("ONE_HELD_OUT_PATIENT", True), "two cannot be held out of two"
    assert (said(5, 0.4) or ("",))[0] == (said(240) or ("",))[0] == "FEW_HELD_OUT_PATIENTS"
    assert said(250) is None
    copies = [[i, i + 1] for start in (0, 250) for i in range(start, start + 250, 2)]
    assert "15 patients with and 15 without" in (said(250, same=copies) or ("", False, ""))[2], "copies count once"
    assert audit_split.few_films({"NORMAL": 5, "PNEUMONIA": 500}) is not None
    assert audit_split.few_films({"NORMAL": 30, "PNEUMONIA": 30}) is None
