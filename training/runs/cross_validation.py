"""Cross-validation: every radiograph is predicted by a version that was trained without its patient.

    <data>/cross_validations/<name>/request.json         number of folds
                                    run.json, config.json  request and configuration, as those of a run
                                    fold-1/ …              a run each, with out_of_fold.json once it is done
                                    versions/              the versions of the folds
                                    result.json            the result

A fold is a group of patients (and of patients with the same picture) that its run never sees: the run trains on the
others and holds out its own validation patients among them, for calibration and operating point. So the out-of-fold
figures are those of the whole procedure, thresholds included.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError
from core.files import PRIVATE_FOLDER, write_atomically
from core.formatting import format_duration
from core.progress import Progress, Report, counted
from core.settings import Settings
from model.calibration import probabilities
from model.card import MEASURES, Evaluation, GroupResult
from model.engine import load_classifier
from model.metrics import evaluate
from records.activity import command_line_user
from training.data.audit import Audit
from training.data.loading import LoadedFolder
from training.data.sample import CLASSES
from training.data.split import hold_out, same_by_group
from training.evaluation.evaluate import evaluation_to_text, plain
from training.evaluation.groups import MIN_FILMS, group_results, groups_to_text, memberships, rows_of, worst_first
from training.evaluation.looks import recorder
from training.fitting.config import TrainingConfig
from training.runs import processes
from training.runs.request import RunRequest, create_run, read_config, read_request

REQUEST, RESULT, OUT_OF_FOLD = "request.json", "result.json", "out_of_fold.json"
# Measures that depend on the decision, and so on the operating point of each fold's version.
DECIDED = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1")
SPREAD = ("auroc", "sensitivity", "specificity")
_BATCH = 16


def create_cross_validation(
    folder: Path, config: TrainingConfig, request: RunRequest, folds: int, leave_out: str = ""
) -> None:
    """Make the folder of a cross-validation.

    Parameters
    ----------
    folder
        A folder that does not exist.
    config, request
        Of each fold's run; the versions are put below `folder`.
    folds
        Number of folds, at least 2; without meaning where `leave_out` is given.
    leave_out
        "style", "source" or "unit" for a fold for each of these groups; "" for folds by patient.

    Raises
    ------
    DatasetError, ClassifierError, RunError
        As `training.runs.request.create_run`.
    """
    # The gate of a version that will not serve is not worth its time.
    quick = dataclasses.replace(config, learns_population=False)
    create_run(folder, quick, dataclasses.replace(request, out=folder / "versions", promote=False))
    write_atomically(folder / REQUEST, json.dumps({"folds": folds, "leave_out": leave_out}))


def cross_validate(folder: Path, settings: Settings, report: Report) -> dict[str, Any]:
    """Train and predict each fold that is not done yet, and write and return the result.

    Parameters
    ----------
    folder
        From `create_cross_validation`; an interrupted one is continued.
    settings
        The installation.
    report
        Called with the progress.

    Returns
    -------
    dict
        As result.json: pooled figures with their intervals, those of each fold, and their spread.

    Raises
    ------
    DatasetError
        If the dataset has changed or has too few patients.
    RunError
        If another process works on it.
    """
    from training.runs.run import audited, execute, load  # takes seconds: TensorFlow

    with processes.exclusive(folder):
        request, config = read_request(folder), read_config(folder)
        asked = processes.read_json(folder / REQUEST)
        audit, loaded = audited(request.data, report), load(request.data, config, report)
        if kind := str(asked.get("leave_out", "")):
            parts = _group_parts(loaded, audit, kind)
        else:
            fold_of = assign_folds(loaded.labels, loaded.groups, int(asked.get("folds", 0)), config.seed)
            parts = [("", fold_of == fold, fold_of == fold) for fold in range(int(asked["folds"]))]
        folds = len(parts)
        rows: list[dict[str, Any]] = []
        looked = recorder(settings, "cross-validate", command_line_user())
        began, trained = time.monotonic(), 0
        for fold, (group, is_out, is_read) in enumerate(parts):
            run = folder / f"fold-{fold + 1}"
            if not (run / OUT_OF_FOLD).exists():
                left = (time.monotonic() - began) / trained * (folds - fold) if trained else None
                words = f", about {format_duration(left)} left" if left else ""
                report(Progress(f"fold {fold + 1} of {folds}{f' without {group}' if group else ''}{words}"))
                if not run.exists():
                    note = f"Fold {fold + 1} of a cross-validation with {folds} folds; its films were left out."
                    create_run(run, config, dataclasses.replace(request, notes=(*request.notes, note)))
                version = execute(run, settings, report, (audit, without(loaded, is_out, config)))
                left_out = [loaded.samples[int(i)] for i in np.flatnonzero(is_read)]
                looked(left_out, (version.name,), request.data.title)
                found = _predict(version, settings, config, loaded, is_read, report)
                if group:
                    found["films"] = [film | {"group": group} for film in found["films"]]
                write_atomically(run / OUT_OF_FOLD, json.dumps(found))
                trained += 1
            rows += processes.read_json(run / OUT_OF_FOLD)["films"]
        result = summary(rows, folds)
        if kind:
            result |= _by_group(rows, kind)
        write_atomically(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False))
        return result


def _group_parts(
    loaded: LoadedFolder, audit: Audit, kind: str
) -> list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Return for each group its name, the films of all of its patients, and its own films, which are read.

    Groups with fewer than `MIN_FILMS` films, or without which training would lack a class, are always in training.
    """
    styles = [audit.style_of.get(loaded.folder.name_of(sample), "") for sample in loaded.samples]
    names = np.array(memberships(loaded.samples, styles).get(kind, [""] * len(loaded.samples)))
    together = np.array(loaded.groups)
    parts = []
    for name in sorted(set(names.tolist()) - {"", "unknown"}):
        own = names == name
        is_out = np.isin(together, together[own])
        if own.sum() >= MIN_FILMS and min(np.bincount(loaded.labels[~is_out], minlength=2)) >= MIN_FILMS:
            parts.append((name, is_out, own))
    if not parts:
        raise DatasetError(
            f"expected a {kind} of at least {MIN_FILMS} radiographs, with both classes outside it. Received: none",
            advice="Look for the groups in python -m training audit, or cross-validate with --folds.",
        )
    return parts


def _by_group(rows: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the results of each group left out, worst first, at the operating point of its own version."""
    found: list[GroupResult] = []
    for name in dict.fromkeys(row["group"] for row in rows):
        own = [row for row in rows if row["group"] == name]
        y = np.array([CLASSES.index(row["label"]) for row in own])
        p = np.array([row["probability"] for row in own])
        point, patients = float(own[0]["operating_point"]), [row["patient"] for row in own]
        found += group_results({kind: [name] * len(own)}, y, p, point, patients)
    ordered = worst_first(found)
    return {"leave_out": kind, "groups": plain(rows_of(ordered)), "groups_text": groups_to_text(ordered)}


def assign_folds(labels: npt.NDArray[np.int_], groups: Sequence[str], folds: int, seed: int) -> npt.NDArray[np.int_]:
    """Divide groups into folds with nearly the same number of radiographs of each class.

    Parameters
    ----------
    labels
        (n,), int in {0, 1}.
    groups
        (n,); no group is in two folds.
    folds
        Number of folds.
    seed
        Of the draw.

    Returns
    -------
    ndarray
        (n,), int in [0, folds).

    Raises
    ------
    DatasetError
        If a class has fewer groups than folds.
    """
    names = np.array(groups)
    with_pneumonia = set(names[labels == 1])
    fold_of: dict[str, int] = {}
    for positive in (True, False):
        members = sorted(name for name in set(groups) if (name in with_pneumonia) is positive)
        if len(members) < folds:
            raise DatasetError(
                f"expected at least {folds} patients of each class. Received: {len(members)} of class "
                f"{CLASSES[int(positive)]}",
                advice="Use fewer folds, or add radiographs of more patients.",
            )
        np.random.default_rng((seed, int(positive))).shuffle(members)
        filled = [0] * folds
        for name in members:
            smallest = filled.index(min(filled))
            fold_of[name] = smallest
            filled[smallest] += int((names == name).sum())
    return np.array([fold_of[name] for name in groups])


def without(loaded: LoadedFolder, left_out: npt.NDArray[np.bool_], config: TrainingConfig) -> LoadedFolder:
    """Return a dataset without one fold, split anew, and without its test split.

    Parameters
    ----------
    loaded
        The whole dataset.
    left_out
        (n,), bool: the fold.
    config
        Share and seed of the split.
    """
    kept = np.flatnonzero(~left_out)
    samples, groups = [loaded.samples[i] for i in kept], [loaded.groups[i] for i in kept]
    in_val = {sample.path for sample in loaded.folder.val}
    train, val = ([s for s in samples if (s.path in in_val) is inside] for inside in (False, True))
    return dataclasses.replace(
        loaded,
        folder=dataclasses.replace(loaded.folder, test=()),
        samples=samples,
        pictures=loaded.pictures[kept],
        held_out=hold_out(train, val, config.validation_fraction, config.seed, same_by_group(groups)),
        fingerprints=[loaded.fingerprints[i] for i in kept],
        groups=groups,
    )


def _predict(
    version: Path,
    settings: Settings,
    config: TrainingConfig,
    loaded: LoadedFolder,
    fold: npt.NDArray[np.bool_],
    report: Report,
) -> dict[str, Any]:
    classifier = load_classifier(version, (*settings.architectures, config.architecture))
    places = np.flatnonzero(fold)
    tick = counted(report, "predicting the films left out", len(places))
    logits = []
    for start in range(0, len(places), _BATCH):
        chunk = classifier.inputs_of(loaded.pictures[places[start : start + _BATCH]])
        logits.append(classifier.run(chunk))
        tick(len(chunk))
    p = probabilities(np.concatenate(logits), classifier.card.calibration)
    threshold = classifier.card.operating_point.probability
    films = [
        {
            "file": loaded.folder.name_of(loaded.samples[i]),
            "label": CLASSES[loaded.samples[i].label],
            "patient": loaded.groups[i],
            "probability": float(value),
            "operating_point": threshold,
            "version": version.name,
        }
        for i, value in zip(places, p, strict=True)
    ]
    return {"films": films}


def summary(rows: Sequence[dict[str, Any]], folds: int) -> dict[str, Any]:
    """Return the result of a cross-validation from its out-of-fold predictions.

    Parameters
    ----------
    rows
        One for each radiograph: file, label, patient, probability, operating_point, version.
    folds
        Number of folds.

    Returns
    -------
    dict
        JSON values: ``n``, each measure with its interval over patients, ``by_fold`` and ``spread`` (mean, standard
        deviation, lowest and highest of the folds). The folds share their training films, so that the standard
        deviation is no standard error.

    References
    ----------
    Bengio & Grandvalet 2004, "No unbiased estimator of the variance of k-fold cross-validation", JMLR 5, 1089–1105.
    """
    versions = list(dict.fromkeys(row["version"] for row in rows))
    pooled = _evaluation("out of fold", rows)
    by_fold = []
    for version in versions:
        own = [row for row in rows if row["version"] == version]
        figures = _evaluation(version, own)
        by_fold.append(
            {"version": version, "n": len(own), "patients": len({row["patient"] for row in own})}
            | {name: figures.measures[name].value for name in SPREAD}
        )
    spread = {}
    for name in SPREAD:
        # A group that is left out may have one class only: its other figures are undefined.
        values = [float(one[name]) for one in by_fold if not math.isnan(one[name])] or [math.nan]
        spread[name] = {
            "mean": statistics.fmean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
            "low": min(values),
            "high": max(values),
        }
    flat: dict[str, Any] = {"folds": folds, "n": pooled.n, "patients": len({row["patient"] for row in rows})}
    for name in MEASURES:
        measure = pooled.measures[name]
        flat |= {name: measure.value, f"{name}_ci": [measure.low, measure.high]}
    flat |= {"tp": pooled.tp, "fp": pooled.fp, "tn": pooled.tn, "fn": pooled.fn}
    found: dict[str, Any] = plain(flat | {"by_fold": by_fold, "spread": spread})
    return found | {"text": evaluation_to_text(pooled, f"of {folds} folds")}


def _evaluation(name: str, rows: Sequence[dict[str, Any]]) -> Evaluation:
    """Evaluate each film at the operating point of the version that did not see it."""
    labels = np.array([CLASSES.index(row["label"]) for row in rows])
    p = np.array([row["probability"] for row in rows])
    points = np.array([row["operating_point"] for row in rows])
    patients = [row["patient"] for row in rows]
    ranked = evaluate(name, labels, p, float(points.mean()), patients)
    decided = evaluate(name, labels, (p >= points).astype(float), 0.5, patients)
    return dataclasses.replace(
        ranked,
        tp=decided.tp,
        fp=decided.fp,
        tn=decided.tn,
        fn=decided.fn,
        measures={**ranked.measures, **{one: decided.measures[one] for one in DECIDED}},
    )


def result_to_text(result: dict[str, Any]) -> str:
    """Return a `result` as lines for a terminal."""
    if "groups" in result:
        said = f"  each {result['leave_out']} was read by a run without its patients"
        return "\n".join((str(result["text"]), str(result["groups_text"]), said))
    lines = [str(result["text"]), f"  {'fold':<16}{'n':>6}{'patients':>10}" + "".join(f"{name:>13}" for name in SPREAD)]
    lines += [
        f"  {one['version']:<16}{one['n']:>6}{one['patients']:>10}" + "".join(f"{one[name]:>13.3f}" for name in SPREAD)
        for one in result["by_fold"]
    ]
    for name, found in result["spread"].items():
        lines.append(
            f"  {name} over folds: mean {found['mean']:.3f}, SD {found['sd']:.3f}, "
            f"{found['low']:.3f}–{found['high']:.3f}"
        )
    return "\n".join(lines)


def make_folder_of(settings: Settings, name: str) -> Path:
    """Return the folder of the cross-validation `name` in the installation of `settings`, and make those above it."""
    above = settings.data_dir / "cross_validations"
    above.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    return above / name
