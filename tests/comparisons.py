"""Versions, runs and comparisons with given values, as the Retrain page shows them; no network is needed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from core.settings import Settings
from model.card import Calibration, ModelCard, OperatingPoint
from model.metrics import evaluate
from model.promotions import promote
from model.registry import add_version, load_card
from tests.phantoms import as_png
from training.data.audit import Audit, Issue, audit_to_json
from training.data.audit_split import SplitAudit, SplitSide
from training.evaluation.compare import Scores, compare_scores
from training.evaluation.robustness import RobustnessRow
from training.runs import candidate
from training.runs.candidate_result import CandidateComparison, DifferingFilm, result_to_json
from training.runs.held_out import TrainingOverlap

OLD, NEW, RUN = "2026.01.01-1", "2026.01.02-1", "20260102-030405"
N = 120
LABELS = np.repeat((0, 1), N // 2)
PATIENTS = [f"patient{i}" for i in range(N)]


def well_calibrated(seed: int = 0) -> np.ndarray:
    """Well calibrated probabilities (N,) with a high AUROC."""
    rng = np.random.default_rng(seed)
    return np.clip(np.where(LABELS == 1, 0.95, 0.05) + rng.normal(0, 0.02, N), 0.001, 0.999)


def a_card(version: str, p: np.ndarray | None = None, split: str = "validation", **changes: Any) -> ModelCard:
    evaluation = evaluate(split, LABELS, well_calibrated() if p is None else p, 0.5, PATIENTS)
    card = ModelCard(
        version=version,
        parent=None,
        created_at=f"{version[:10].replace('.', '-')}T03:04:05+00:00",
        weights_file="classifier.npz",
        sha256="",
        architecture="inception_v3",
        parameters=21_802_784,
        intended_use="",
        limitations=(),
        data={"digest": "d"},
        preprocessing={"input_px": 299, "detail_px": 224},
        training={},
        history=(),
        calibration=Calibration(1.0),
        operating_point=OperatingPoint(0.5, 0.4, 0.6, "by hand"),
        evaluations={split: evaluation},
        libraries={},
    )
    return dataclasses.replace(card, **changes)


def an_audit(*issues: Issue) -> Audit:
    counts = {"NORMAL": 60, "PNEUMONIA": 60}
    split = SplitAudit({side: SplitSide(counts, counts, {}) for side in ("train", "validation")})
    return Audit(N, (), (), (), (), (), 0, {"train": counts}, {}, float("nan"), {}, issues, split)


def a_result(
    own: ModelCard,
    other: ModelCard,
    p_own: np.ndarray | None = None,
    p_other: np.ndarray | None = None,
    labels: np.ndarray = LABELS,
    patients: list[str] = PATIENTS,
    **changes: Any,
) -> CandidateComparison:
    """A comparison of two versions by given probabilities; both operating points are 0.5."""
    pa, pb = (well_calibrated() if p is None else p for p in (p_own, p_other))
    compared = compare_scores(
        labels, patients, Scores(own.version, pa, 0.5), Scores(other.version, pb, 0.5), resamples=100
    )

    def rows(p: np.ndarray) -> tuple[RobustnessRow, ...]:
        figures = evaluate("", labels, p, 0.5, patients).measures
        return tuple(
            RobustnessRow(
                name,
                True,
                len(labels),
                figures["auroc"],
                figures["accuracy"],
                figures["sensitivity"],
                figures["specificity"],
                figures["auroc"],
                figures["accuracy"],
            )
            for name in ("clean", "brightness -20 %")
        )

    values = {
        "candidate": own.version,
        "against": other.version,
        "candidate_sha256": own.sha256,
        "against_sha256": other.sha256,
        "split": "validation",
        "films_digest": "f",
        "n": len(labels),
        "left_out": 0,
        "patients": tuple(len({p for p, y in zip(patients, labels, strict=True) if y == label}) for label in (0, 1)),
        "comparison": compared,
        "evaluation": evaluate("validation", labels, pa, 0.5, patients),
        "evaluation_against": evaluate("validation", labels, pb, 0.5, patients),
        "robustness": rows(pa),
        "robustness_against": rows(pb),
        "films": tuple(
            DifferingFilm(
                film.index,
                film.label,
                film.probability_a,
                film.probability_b,
                *(f"{place:02d}-{what}.png" for what in ("film", "candidate", "in-use")),
            )
            for place, film in enumerate(compared.disagreeing, 1)
        ),
        "learned": TrainingOverlap(0),
        "learned_against": TrainingOverlap(0),
        "remarks": ("Compared on <drawn> films.",),
        "made_at": "2026-01-02T04:00:00+00:00",
        "seconds_each": 0.1,
    }
    return CandidateComparison(**{**values, **changes})


def install(data: Path, *versions: str) -> Settings:
    """Promote the first version and add the others, with placeholder weights."""
    settings = Settings(data, shipped_weights=data / "shipped")
    for version in versions or (OLD, NEW):
        add_version(settings.versions_dir, a_card(version), lambda path, name=version: path.write_text(name))
    promote(settings, (versions or (OLD,))[0], who="installer")
    return settings


def a_run(settings: Settings, version: str | None = NEW, *issues: Issue) -> Path:
    """A run that has made `version`, or that has not made any yet."""
    folder = settings.runs_dir / RUN
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps(
            {
                "data": str(settings.data_dir / "films"),
                "out": str(settings.versions_dir),
                "backbone_weights": "random",
                "source": "",
                "promote": False,
                "extra_evaluations": [],
                "notes": [],
            }
        )
    )
    (folder / "audit.json").write_text(audit_to_json(an_audit(*issues)))
    if version is not None:
        (folder / "version.json").write_text(
            json.dumps({"version": version, "folder": str(settings.versions_dir / version)})
        )
    return folder


def write_result(
    settings: Settings,
    run: Path,
    p_own: np.ndarray | None = None,
    p_other: np.ndarray | None = None,
    against: str = OLD,
    **changes: Any,
) -> CandidateComparison:
    """Write the run's comparison.json with its images."""
    result = a_result(load_card(settings, NEW), load_card(settings, against), p_own, p_other, **changes)
    folder = run / candidate.FOLDER
    folder.mkdir(exist_ok=True)
    for film in result.films:
        for name in (film.film, film.map, film.map_against):
            (folder / name).write_bytes(as_png(np.full((30, 40), 90, np.uint8)))
    (folder / candidate.RESULT).write_text(result_to_json(result))
    return result
