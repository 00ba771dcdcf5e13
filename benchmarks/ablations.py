"""Ablations of the training of the default classifier, on validation patients.

Short trainings that differ in one choice: the same ImageNet weights, patients, order and number of epochs. The rows
compare choices and are not the performance of the shipped classifier. With --version, a finished classifier is scored
too: with and without mirror averaging and border filling, at several input sizes. No test radiograph is read."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from core.errors import AppError
from core.files import write_atomically
from core.settings import Settings, load_settings
from model.calibration import probabilities
from model.metrics import evaluate
from model.registry import ANATOMY, verify, version_folder
from model.tf_startup import start_tensorflow
from training.data.loading import LoadedFolder, load_folder
from training.data.recipes import DOMAIN_SHIFT, JITTER
from training.fitting.calibrate import calibrate, choose_operating_point, logits_by_copy
from training.fitting.config import TrainingConfig, as_served, default_config

# name → what differs from the base
VARIANTS: dict[str, dict[str, Any]] = {
    "base: 128 px, strong augmentation, after mixed3": {},
    "black around the films left as it is": {"fills_border": False},
    "trained after mixed6": {"train_after": "mixed6"},
    "trained after mixed0": {"train_after": "mixed0"},
    "192 px": {"small_px": 192},
    "crops of 50–100 % instead of 15–100 %": {"augmentation": "finetune"},
    "no change of sharpness, noise or encoding": {"augmentation": "one_encoding"},
    "rotation, flip and zoom only, as in notebooks": {"augmentation": "keras_notebook"},
    "no label smoothing": {"label_smoothing": 0.0},
    "no average of the weights": {"ema_momentum": 0.0},
    "second output: virus or bacteria": {"pathogen_weight": 0.3},
    "192 px, framed by the lungs and pooled over them": {"architecture": "inception_v3_lungs", "small_px": 192},
}

Films = Callable[[bool], LoadedFolder]  # with black borders filled, or as they are


def base(changes: dict[str, Any], epochs: int) -> TrainingConfig:
    """Return a short training of the default network, or the one that `changes` name, with `changes`."""
    px = changes.get("small_px", 128)
    return default_config(
        **{
            "architecture": "inception_v3",
            "head_epochs": 1,
            "small_epochs": epochs,
            "full_epochs": 0,
            "small_px": px,
            "input_px": px,
            "max_class_ratio": 1.0,
            **changes,
        },
    )


def score(predict: Callable[[Any], Any], loaded: LoadedFolder, config: TrainingConfig) -> dict[str, float]:
    """Look at held-out patients as they are and as another hospital might have exported them.

    Films are perturbed as a whole, also for networks that see them framed by their lungs, which are found in the
    perturbed film.
    """
    pictures, labels = loaded.pictures[loaded.held_out], loaded.labels[loaded.held_out]
    clean = predict(pictures)
    shifted, jittered = (
        logits_by_copy(predict, pictures, as_served(recipe, config), 1, config.seed + i)
        for i, recipe in enumerate((DOMAIN_SHIFT, JITTER))
    )
    calibration = calibrate(labels, clean, shifted)
    point = choose_operating_point(labels, clean, shifted, jittered, calibration).probability
    patients = loaded.groups_of_side(True)
    row: dict[str, float] = {}
    for name, logits in (("clean", clean), ("shifted", shifted[0])):
        result = evaluate(name, labels, probabilities(logits, calibration), point, patients)
        for measure in ("auroc", "accuracy", "ece"):
            m = result.measures[measure]
            row |= {f"{name}_{measure}": m.value, f"{name}_{measure}_low": m.low, f"{name}_{measure}_high": m.high}
    return row | {"moved": float(np.median(np.abs(jittered - clean)) / calibration.temperature)}


def table(rows: dict[str, dict[str, float]], command: str) -> str:
    """Return the rows as Markdown."""
    lines = [
        f"Written by `{command}`. Held-out patients of the train split, as they are and with the recipe "
        "`domain_shift` (framing, exposure, sharpness and encoding of another hospital); operating point and "
        "calibration are chosen for each row. Rows with minutes are short trainings of one epoch of the head and "
        '--epochs more, not the shipped classifier. "Moved": median change of the calibrated logit under an '
        "unnoticeable perturbation.",
        "",
        "| choice | AUROC | AUROC, shifted | accuracy | accuracy, shifted | moved | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in rows.items():
        cells = [f"{r[k]:.4f} ({r[k + '_low']:.3f}–{r[k + '_high']:.3f})" for k in ("clean_auroc", "shifted_auroc")]
        cells += [f"{r[k]:.3f}" for k in ("clean_accuracy", "shifted_accuracy", "moved")]
        minutes = f"{r['minutes']:.1f}" if r.get("minutes") else "–"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {minutes} |")
    return "\n".join(lines)


def _trained(changes: dict[str, Any], options: argparse.Namespace, films: Films) -> dict[str, float]:
    import keras

    from model.anatomy_files import shipped_finder
    from model.networks.build import build_network
    from model.networks.graphs import logit_function
    from model.networks.layers import sees_lungs
    from training.commands.terminal import terminal_report
    from training.fitting.fit import fit, predict_logits
    from training.runs.run import training_data

    config = base(changes, options.epochs)
    loaded = films(config.fills_border)
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    network = build_network(
        config.architecture, None, backbone_weights=options.backbone_weights, dropout=config.dropout
    )
    find = shipped_finder() if sees_lungs(network) else None
    with tempfile.TemporaryDirectory() as folder, tqdm(disable=None, leave=False) as bar:
        history = fit(
            network,
            config,
            training_data(loaded, find),
            Path(folder),
            terminal_report(bar),
        )
    forward = logit_function(network)
    row = score(lambda pictures: predict_logits(forward, pictures, config.input_px, find_anatomy=find), loaded, config)
    return row | {"minutes": sum(r["seconds"] for r in history) / 60}


def _looked_at(
    version: str, settings: Settings, films: Films, keep: Callable[[str, Callable[[], dict[str, float]]], None]
) -> None:
    """Score a version in several ways, with the patients held out that were held out from it."""
    from model.anatomy_files import load_anatomy_finder
    from model.networks.build import build_network
    from model.networks.graphs import logit_function
    from model.networks.weights import read_weights
    from training.fitting.fit import predict_logits

    folder = version_folder(settings, version)
    card = verify(folder)
    find = load_anatomy_finder(folder / ANATOMY, card.anatomy_sha256) if card.anatomy_sha256 else None
    network = build_network(card.architecture, None)
    read_weights(network, folder / card.weights_file)
    forward = logit_function(network)
    config = default_config(card.architecture, seed=int(card.training["seed"]))

    def scored(px: int, mirror: bool = False, fills: bool = True) -> dict[str, float]:
        return score(
            lambda some: predict_logits(forward, some, px, mirror=mirror, find_anatomy=find),
            films(fills),
            replace(config, fills_border=fills),
        )

    px = int(card.preprocessing["input_px"])
    keep(f"{version}, {px} px", lambda: scored(px))
    keep(f"{version}, {px} px, black left as it is", lambda: scored(px, fills=False))
    keep(f"{version}, {px} px, with the mirror image", lambda: scored(px, mirror=True))
    for other in (224, 256):
        keep(f"{version}, {other} px", lambda other=other: scored(other))  # type: ignore[misc]


def main() -> int:
    """Train or score the missing rows and write each into the file of rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--backbone-weights", metavar="FILE", help="(default: the setting)")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="after one of the head (%(default)s)")
    parser.add_argument("--version", metavar="VERSION", help="also look at this finished version, trained on --data")
    parser.add_argument("--only", nargs="*", metavar="TEXT", help="choices whose names contain one of these")
    parser.add_argument(
        "--rows",
        type=Path,
        default=Path("benchmarks/ablations.json"),
        metavar="FILE.json",
        help="rows that are done, kept here (%(default)s)",
    )
    options = parser.parse_args()
    kept = json.loads(options.rows.read_text(encoding="utf-8")) if options.rows.is_file() else {"rows": {}}
    rows: dict[str, dict[str, float]] = kept["rows"]
    command = f"python -m benchmarks.ablations --data {options.data.name} --epochs {options.epochs}"

    def keep(name: str, make: Callable[[], dict[str, float]]) -> None:
        if name not in rows and (options.only is None or any(text in name for text in options.only)):
            rows[name] = make()
            text = json.dumps({"command": command, "rows": rows}, indent=1, ensure_ascii=False)
            write_atomically(options.rows, text + "\n")
            print(table({name: rows[name]}, "").splitlines()[-1], flush=True)

    try:
        settings = load_settings(os.environ)
        options.backbone_weights = options.backbone_weights or settings.backbone_weights
        start_tensorflow(in_batches=True)
        config = base({}, options.epochs)

        @cache
        def films(fills_border: bool) -> LoadedFolder:
            return load_folder(
                options.data, config.detail_px, config.validation_fraction, config.seed, fills_border=fills_border
            )

        if options.version:
            _looked_at(options.version, settings, films, keep)
        for name, changes in VARIANTS.items():
            keep(name, lambda changes=changes: _trained(changes, options, films))  # type: ignore[misc]
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
