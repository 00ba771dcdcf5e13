"""Evaluation of the classifier in use beside published results on the official test split.

An evaluation that meets files of a named test set is recorded in the ledger.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from core.errors import AppError
from core.settings import load_settings
from model.engine import load_classifier
from model.registry import active_version, version_folder
from model.tf_startup import start_tensorflow
from training.data.dataset import scan_folder
from training.evaluation.evaluate import evaluate_folder
from training.evaluation.looks import recorder
from training.experiments.leaderboard import PUBLISHED

COLUMNS = ("accuracy", "auroc", "sensitivity", "specificity", "ece")


def main() -> int:
    """Print one row per folder and per published result, as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--classifier", metavar="VERSION", help="(default: the version in use)")
    options = parser.parse_args()
    try:
        settings = load_settings(os.environ)
        start_tensorflow()
        classifier = load_classifier(
            version_folder(settings, options.classifier or active_version(settings)),
            architectures=settings.architectures,
        )
        looked = recorder(settings, "accuracy benchmark")
        print(f"| {classifier.version} | n | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 2))
        for folder in options.folders:
            with tqdm(total=len(scan_folder(folder).train), desc=folder.name, disable=None, leave=False) as bar:
                evaluation, _ = evaluate_folder(classifier, folder, tick=bar.update, record=looked)
            cells = [f"{m.value:.3f} ({m.low:.3f}–{m.high:.3f})" for m in map(evaluation.measures.get, COLUMNS) if m]
            print(f"| {folder.name} | {evaluation.n} | " + " | ".join(cells) + " |", flush=True)
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    for name, values in PUBLISHED.items():
        print(f"| {name} | 624 | " + " | ".join("–" if v is None else f"{v:.3f}" for v in (*values, None)) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
