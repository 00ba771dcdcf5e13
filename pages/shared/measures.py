"""Names of measures, evaluation sets, perturbations and training stages."""

from __future__ import annotations

from model.card import Evaluation

MEASURE_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "ppv": "PPV in this set",
    "npv": "NPV in this set",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
}
VALIDATION = "validation"
OUTSIDE = "outside"
STAGE_NAMES = {
    "head": "classification head",
    "small": "reduced resolution",
    "full": "full resolution",
    "fit": "all layers",
}
_WORDS = {"nih": "NIH", "rsna": "RSNA", "kermany": "Kermany", "a": "A", "b": "B", "c": "C"}


def is_outside(name: str) -> bool:
    """Return whether an evaluation set is outside the intended population."""
    return name.split("_")[0] == OUTSIDE


def split_name(name: str) -> str:
    """Return the key of an evaluation as words: "validation_shifted" becomes "Validation, shifted"."""
    parts = [part for part in name.split("_") if part]
    outside = is_outside(name)
    words = [_WORDS.get(part.lower(), part) for part in (parts[1:] if outside else parts)] or [name]
    words[0] = words[0][0].upper() + words[0][1:]
    if outside:
        return f"{' '.join(words)} (outside)"
    return ", ".join((words[0], " ".join(words[1:]))) if len(words) > 1 else words[0]


def sample(evaluation: Evaluation, name: str) -> str:
    """Return an evaluation set and its size as words: the subtitle of a figure."""
    positive, negative = evaluation.tp + evaluation.fn, evaluation.tn + evaluation.fp
    return f"{split_name(name)}, n = {evaluation.n} ({positive} pneumonia, {negative} normal)"


def perturbation_name(name: str) -> str:
    """Return the name of a perturbation of the robustness test as words."""
    return "unperturbed" if name == "clean" else name


def stage_name(stage: str) -> str:
    """Return the name of a training stage as words; an unknown one as it is."""
    return STAGE_NAMES.get(stage, stage)
