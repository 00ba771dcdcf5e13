"""Intended use and limitations of a new version, as its training data allow them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.formatting import format_count
from training.data.description import FROM_ADMINISTRATOR, KERMANY

_HOW = "Decision support for clinicians reading frontal chest radiographs of "
_WHAT = (
    ": how probable pneumonia is on the radiograph, and which regions changed that probability. Not a diagnosis; "
    "not for "
)
_NEVER = "lateral views, other body parts, follow-up of a known pneumonia, or use without a clinician."
# Below this share of radiographs with a known age, the ages of the population are not known.
_MOST = 0.9
_KERMANY_LIMITS = (
    "Trained on children of one hospital only (Guangzhou Women and Children's Medical Center); probabilities for other "
    "hospitals' radiographs may be too high or too low.",
    "In adults most radiographs without pneumonia are called pneumonia.",
)
_ALWAYS = (
    "Trained for pneumonia alone; other disease may be called pneumonia or missed.",
    "The evidence map shows which regions changed the probability. It is coarse and is not the outline of a lesion.",
)


def population_phrase(description: Mapping[str, Any]) -> str:
    """Return whom the radiographs of a dataset show, in a few words; "" where neither files nor administrator say so.

    Parameters
    ----------
    description
        As `training.data.description.describe` returns it.
    """
    if _is_kermany(description):
        return "children aged 1–5 years"
    if (ages := intended_ages(description)) is not None:
        low, high = ages
        span = f"{_bound(low)}–{_bound(high)} years"
        kind = "children" if high < 18 else "adults" if low >= 18 else "patients"
        return f"{kind} aged {span}"
    said = description.get("ages")
    if said is None or said["from"] != FROM_ADMINISTRATOR:
        return ""
    return f"patients of these ages: {said['value']}"


def intended_use(description: Mapping[str, Any]) -> str:
    """Return the intended use of a version that was trained on the described data.

    Parameters
    ----------
    description
        As `training.data.description.describe` returns it.
    """
    whom = population_phrase(description)
    if not whom:
        return (
            f"{_HOW}patients like those of its training data, whose ages are not stated{_WHAT}patients unlike them, "
            f"{_NEVER}"
        )
    if _is_kermany(description):
        return f"{_HOW}{whom}{_WHAT}adults, {_NEVER}"
    if (ages := intended_ages(description)) is not None:
        others = "adults, " if ages[1] < 18 else "children, " if ages[0] >= 18 else "patients of other ages, "
        return f"{_HOW}{whom}{_WHAT}{others}{_NEVER}"
    return f"{_HOW}{whom}{_WHAT}patients of other ages, {_NEVER}"


def limitations(description: Mapping[str, Any], patients: str) -> tuple[str, ...]:
    """Return the limitations of a version that was trained on the described data.

    Parameters
    ----------
    description
        As `training.data.description.describe` returns it.
    patients
        How radiographs were assigned to patients, in a sentence.
    """
    if _is_kermany(description):
        return (
            *_KERMANY_LIMITS,
            *_ALWAYS,
            patients,
            "The training and test splits of the public data differ in exposure and framing; performance at another "
            "site must be measured there.",
        )
    return (*_of_sources(description), *_of_ages(description), *_ALWAYS, patients, *_of_gaps(description))


def patients_in_words(samples: int, unknown: int, rules: Mapping[str, int]) -> str:
    """Return how radiographs were assigned to patients, in a sentence.

    Parameters
    ----------
    samples, unknown
        Number of radiographs, and of those whose patient is unknown.
    rules
        Number of files by the rule that found their patient; empty where only file names were looked at.
    """
    if unknown == samples:
        return "No patient is known: the split is by file, and figures on validation may be too good."
    how = ", ".join(f"{rule} {n:,}" for rule, n in rules.items() if n)
    said = (
        f"Radiographs are assigned to patients by {how}."
        if how
        else ("Radiographs are assigned to patients by file names only.")
    )
    return said if not unknown else f"{said} The patients of {unknown:,} are unknown; each counts as one of its own."


def _of_sources(description: Mapping[str, Any]) -> tuple[str, ...]:
    names = [str(name) for name in description.get("sources") or ()]
    known = description.get("source")
    where = f" ({', '.join(names)})" if len(names) > 1 else f" ({known['value']})" if known else ""
    count = "one source only" if len(names) < 2 else f"{len(names)} sources"
    others = [
        f"Trained on radiographs of {count}{where}; probabilities for other hospitals' radiographs may be too high or "
        "too low, and performance at another site must be measured there."
    ]
    if n := (description.get("recognised") or {}).get(KERMANY, 0):
        others.append(
            f"{format_count(n, 'radiograph')} of {description['n']:,} are of children of 1–5 years at one hospital "
            "(Guangzhou Women and Children's Medical Center)."
        )
    return tuple(others)


def _of_ages(description: Mapping[str, Any]) -> tuple[str, ...]:
    bands = dict(description.get("age_bands") or {})
    unknown, n = int(bands.pop("unknown", 0)), int(description.get("n", 0))
    if not any(bands.values()):
        stated = "are only stated by the administrator" if description.get("ages") else "are not known"
        return (
            f"The ages of the patients {stated}: performance by age is unknown, and a patient of another age is not "
            "recognised.",
        )
    few = [band for band, count in bands.items() if count < 0.01 * n]
    said = [f"Few or no radiographs of patients of {' and '.join(few)}; performance there is unknown."] if few else []
    if unknown:
        said.append(f"The age is unknown for {unknown:,} of {n:,} radiographs.")
    return tuple(said)


def _of_gaps(description: Mapping[str, Any]) -> tuple[str, ...]:
    words = {"source": "origin", "licence": "licence", "labels": "making of the labels", "projections": "projections"}
    missing = [word for name, word in words.items() if not description.get(name)]
    return (f"Not stated of the training data: {', '.join(missing)}.",) if missing else ()


def intended_ages(description: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the youngest and the oldest age in years, both included, where they are known for most radiographs.

    Parameters
    ----------
    description
        As `training.data.description.describe` returns it.
    """
    if _is_kermany(description):
        return 1.0, 5.0
    unknown, ages = (description.get("age_bands") or {}).get("unknown", 0), description.get("age_range")
    if not ages or unknown > (1 - _MOST) * description.get("n", 0):
        return None
    return float(ages[0]), float(ages[1])


def _is_kermany(description: Mapping[str, Any]) -> bool:
    return bool(description.get("n")) and (description.get("recognised") or {}).get(KERMANY, 0) == description["n"]


def _bound(years: float) -> str:
    return f"{years:.1f}".removesuffix(".0") if years < 2 else f"{int(years)}"
