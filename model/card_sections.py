"""Sections of a model card, for the page and the terminal; what the card does not hold is said to be missing.

After CLAIM 2024 (Tejani et al., doi 10.1148/ryai.240300) and the model card of the FDA's draft guidance on AI-enabled
device software functions (January 2025).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.formatting import format_difference, format_estimate, format_percentage
from model.card import Evaluation, GroupResult, LeftOutGroup, Measure, ModelCard
from model.known_data import KERMANY_DIGESTS, KERMANY_KNOWN

NOT_STATED = "not stated"
_PUBLISHED = "published"
_DATASETS = {"kermany": "Kermany", "nih": "NIH ChestX-ray14"}
_CLASSES = ("no pneumonia", "pneumonia")
_DATA = {
    "source": "Source",
    "licence": "Licence",
    "population": "Population",
    "ages": "Ages",
    "sex": "Sex",
    "projections": "Projections",
    "units": "X-ray units",
    "period": "Period",
    "labels": "Reference standard",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a card: a title, sentences, and rows of a name with its value, None where it is missing."""

    title: str
    sentences: tuple[str, ...] = ()
    rows: tuple[tuple[str, str | None], ...] = ()


def card_sections(card: ModelCard) -> tuple[Section, ...]:
    """Return the sections of a card in their order.

    Parameters
    ----------
    card
        The card; older ones lack the description of the data.
    """
    return (
        Section("Intended use", (card.intended_use,)),
        Section("Limitations", card.limitations or ("None stated.",)),
        Section("Training data", rows=data_rows(card)),
        Section("Data audit", tuple(str(one) for one in card.data.get("audit", ()))),
        Section("Model", rows=_model_rows(card)),
        Section("Training", rows=_training_rows(card)),
        Section("Performance (95 % intervals)", rows=_performance_rows(card)),
        *(
            Section(f"Performance on {name} by group, worst first", rows=group_rows(one.groups))
            for name, one in card.evaluations.items()
            if one.groups
        ),
        Section(
            "Groups left out in turn", (card.left_out_note,) if card.left_out_note else (), left_out_rows(card.left_out)
        ),
        Section("Operating points", rows=_point_rows(card)),
        Section("Notes", card.notes),
    )


def data_rows(card: ModelCard) -> tuple[tuple[str, str | None], ...]:
    """Return what a card says of its training data, as names with values; None where it says nothing.

    Parameters
    ----------
    card
        The card.
    """
    data, described = card.data, card.data.get("description")
    if not isinstance(described, Mapping):
        # A card from before 0.2.0.
        is_known = data.get("digest") in KERMANY_DIGESTS
        described = {name: {"value": value, "from": _PUBLISHED} for name, value in KERMANY_KNOWN.items() if is_known}
        if data.get("source"):
            described["source"] = {"value": data["source"]}
        recognised = "Kermany, by its digest" if is_known else None
    else:
        counts = described.get("recognised")
        names = [word for key, word in _DATASETS.items() if isinstance(counts, Mapping) and counts.get(key)]
        recognised = f"{' and '.join(names)}, by file names" if names else None
    rows: list[tuple[str, str | None]] = []
    for name, label in _DATA.items():
        one = described.get(name)
        said = one if isinstance(one, Mapping) else {}
        value = said.get("value")
        by = f" ({said['from']})" if said.get("from") else ""
        rows.append((label, f"{value}{by}" if value and value != NOT_STATED else None))
    if isinstance(bands := described.get("age_bands"), Mapping):
        rows.insert(4, ("Radiographs by age", _counts({band: n for band, n in bands.items() if n}) or None))
    sources = described.get("sources")
    if isinstance(sources, Mapping) and len(sources) > 1:
        rows.insert(1, ("Radiographs by source", _counts(sources)))
        rows[2:2] = _source_rows(described.get("by_source"))
    if recognised:
        rows.append(("Known dataset", recognised))
    for part in ("train", "validation"):
        counts = data.get(part)
        rows.append((part.capitalize(), _counts(counts) if isinstance(counts, Mapping) else None))
    rows.append(("Split", str(data["split"]) if data.get("split") else None))
    for name, label in (("unreadable", "Unreadable files"), ("unknown_patients", "Unknown patients")):
        rows.append((label, str(data[name]) if name in data else None))
    rows.append(("Digest", str(data["digest"]) if data.get("digest") else None))
    return tuple(rows)


def _source_rows(sources: Any) -> list[tuple[str, str | None]]:
    """Return a row for each source: its radiographs, where it was published, its licence, ages and labels."""
    rows: list[tuple[str, str | None]] = []
    for one in sources if isinstance(sources, list | tuple) else ():
        if isinstance(one, Mapping) and one.get("name"):
            counts = _counts({name: one[name] for name in ("NORMAL", "PNEUMONIA") if isinstance(one.get(name), int)})
            said = [str(one[key]) for key in ("source", "licence", "ages", "projections", "labels") if one.get(key)]
            rows.append((f"Source {one['name']}", "; ".join([counts, *said]) or None))
    return rows


def card_to_text(card: ModelCard) -> str:
    """Return a card as text for a terminal."""
    lines = [f"Classifier {card.version}"]
    for section in card_sections(card):
        if section.sentences or section.rows:
            lines += ["", section.title]
        lines += [f"  {sentence}" for sentence in section.sentences]
        wide = max((len(name) for name, _ in section.rows), default=0)
        lines += [f"  {name:<{wide}}  {NOT_STATED if value is None else value}" for name, value in section.rows]
    return "\n".join(lines)


def _model_rows(card: ModelCard) -> tuple[tuple[str, str | None], ...]:
    px, detail = card.preprocessing.get("input_px"), card.preprocessing.get("detail_px")
    return (
        ("Created", card.created_at[:10] or None),
        ("Parent version", card.parent or "none"),
        ("Architecture", f"{card.architecture}, {card.parameters / 1e6:.1f} million parameters"),
        ("Input", f"one frontal chest radiograph, reduced to {detail} px and read at {px} × {px} px" if px else None),
        ("Output", "probability of pneumonia and an evidence map"),
        ("Calibrated for", f"prevalence {format_percentage(card.calibration.prevalence)}"),
        ("SHA-256", card.sha256 or None),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in card.libraries.items()) or None),
    )


def _training_rows(card: ModelCard) -> tuple[tuple[str, str | None], ...]:
    names = {
        "Initial weights": "backbone_weights",
        "Data augmentation": "augmentation",
        "Seed": "seed",
        "Numeric precision": "precision_used",
    }
    rows: list[tuple[str, str | None]] = [
        (label, None if card.training.get(name) in (None, "") else str(card.training[name]))
        for label, name in names.items()
    ]
    return (*rows, ("Epochs", str(len(card.history)) if card.history else None))


def _performance_rows(card: ModelCard) -> tuple[tuple[str, str | None], ...]:
    def words(one: Evaluation) -> str:
        measures = {"AUROC": "auroc", "sensitivity": "sensitivity", "specificity": "specificity", "ECE": "ece"}
        return f"n = {one.n}; " + ", ".join(
            f"{label} {format_estimate(one.measures[name], 3)}"
            for label, name in measures.items()
            if name in one.measures
        )

    rows: list[tuple[str, str | None]] = [(name, words(one)) for name, one in card.evaluations.items()]
    worst = _worst(card.robustness)
    return (*(rows or [("Evaluation", None)]), ("Under mild perturbations", worst))


def group_rows(groups: Sequence[GroupResult]) -> tuple[tuple[str, str | None], ...]:
    """Return the results of `groups` in their order: the name of each with its figures."""

    def words(one: GroupResult) -> str:
        if one.too_few:
            return f"n = {one.n}; too few to tell"
        figures = {"sensitivity": one.sensitivity, "specificity": one.specificity, "AUROC": one.auroc}
        known = (f"{label} {format_estimate(m, 3)}" for label, m in figures.items() if not math.isnan(m.value))
        return f"n = {one.n}; {', '.join(known)}"

    return tuple((f"{one.kind} {one.name}", words(one)) for one in groups)


def left_out_rows(groups: tuple[LeftOutGroup, ...]) -> tuple[tuple[str, str | None], ...]:
    """Return the results of `groups` left out in turn: the name of each with its figures and their differences."""

    def words(one: LeftOutGroup) -> str:
        said = []
        for label, name, has_films in (
            ("AUROC", "auroc", True),
            ("sensitivity", "sensitivity", one.without.tp + one.without.fn),
            ("specificity", "specificity", one.without.tn + one.without.fp),
        ):
            measure: Measure = getattr(one.without, name)
            if not math.isnan(measure.value):
                drop = f" ({format_difference(one.differences[name])})" if name in one.differences else ""
                said.append(f"{label} {format_estimate(measure, 3)}{drop}")
            else:
                said.append(f"{label} not measured" + ("" if has_films else ": no such film held out"))
        normal, pneumonia = one.left_out
        alone = f"; training has it with {_CLASSES[bool(pneumonia)]} only" if not (normal and pneumonia) else ""
        return f"n = {one.without.n}; {', '.join(said)}{alone}"

    return tuple((f"{one.without.kind} {one.without.name}", words(one)) for one in groups)


def _worst(robustness: tuple[Mapping[str, Any], ...]) -> str | None:
    """Return the mild perturbation that costs most accuracy, in words."""
    try:
        mild = [row for row in robustness if row["mild"] and row["accuracy_change"]["value"] is not None]
        worst = min(mild, key=lambda row: float(row["accuracy_change"]["value"]))
        return f"at worst {100 * float(worst['accuracy_change']['value']):+.1f} points of accuracy ({worst['name']})"
    except (KeyError, TypeError, ValueError):
        return None


def _point_rows(card: ModelCard) -> tuple[tuple[str, str | None], ...]:
    point = card.operating_point
    default = f"{point.probability:.3f}, borderline {point.near_low:.3f}–{point.near_high:.3f}; {point.chosen}"
    return (
        ("default", default),
        *(
            (
                one.purpose,
                f"{one.probability:.3f}; sensitivity {one.sensitivity:.3f}, specificity {one.specificity:.3f}; "
                f"{one.chosen}",
            )
            for one in card.purposes
        ),
    )


def _counts(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {n:,}" if isinstance(n, int) else f"{name} {n}" for name, n in values.items())
