"""The generated tables of the documents, from data in this repository: card, leaderboard, ablations and coverage.

>>> python -m benchmarks.tables        # rewrites docs/tables/*.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import ablations, coverage
from core.files import write_atomically
from core.formatting import format_estimate
from core.settings import SHIPPED_WEIGHTS
from model.card import Evaluation, Measure, ModelCard
from model.registry import read_card
from training.experiments.leaderboard import board_from_json

HERE = Path(__file__).parent
TABLES = HERE.parent / "docs" / "tables"
SETS = {
    "validation": "validation patients, held out from train",
    "validation_shifted": "the same, three perturbed copies of each",
    "test_half": "half of the official test split, anti-aliased",
    "test_half_nearest": "the same radiographs, nearest neighbour",
    "outside_nih_adult_A": "**outside its use**: adults, labels read by radiologists",
    "outside_nih_adult_B": "**outside its use**: adults, labels mined from reports",
}
MEASURES = ("auroc", "accuracy", "sensitivity", "specificity", "ece")


def performance(card: ModelCard) -> str:
    """Return the performance on every set of the card, with 95 % intervals, as a Markdown table."""
    lines = [
        "| radiographs | n | AUROC | accuracy | sensitivity | specificity | ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, evaluation in card.evaluations.items():
        cells = [format_estimate(evaluation.measures[measure], 3) for measure in MEASURES]
        lines.append(f"| {SETS.get(name, name)} | {evaluation.n} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def confusion(card: ModelCard) -> str:
    """Return the confusion matrix of every set at the card's operating point, as a Markdown table."""
    lines = [
        "| radiographs | true positives | false negatives | true negatives | false positives |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {SETS.get(name, name)} | {e.tp} | {e.fn} | {e.tn} | {e.fp} |" for name, e in _sets(card)]
    return "\n".join(lines)


def _sets(card: ModelCard) -> list[tuple[str, Evaluation]]:
    return list(card.evaluations.items())


def operating_points(card: ModelCard) -> str:
    """Return the operating point of each purpose, on held-out patients, as a Markdown table."""
    lines = ["| purpose | probability | sensitivity | specificity | chosen |", "|---|---|---|---|---|"]
    point = card.operating_point
    lines.append(f"| default | {point.probability:.3f} | | | {point.chosen} |")
    lines += [
        f"| {one.purpose} | {one.probability:.3f} | {one.sensitivity:.3f} | {one.specificity:.3f} | {one.chosen} |"
        for one in card.purposes
    ]
    return "\n".join(lines)


def robustness(card: ModelCard) -> str:
    """Return the performance under perturbations at the unchanged operating point, as a Markdown table."""
    lines = [
        "| perturbation | AUROC | accuracy | sensitivity | specificity | accuracy, points |",
        "|---|---|---|---|---|---|",
    ]
    for row in card.robustness:
        name = row["name"] if row["mild"] else f"{row['name']} (strong)"
        auroc, accuracy = (format_estimate(Measure(**row[key]), 3) for key in ("auroc", "accuracy"))
        change = f"{100 * row['accuracy_change']['value']:+.1f}".replace("-", "−")
        lines.append(
            f"| {name} | {auroc} | {accuracy} | {row['sensitivity']['value']:.3f} | {row['specificity']['value']:.3f} "
            f"| {change} |"
        )
    return "\n".join(lines)


def evaluation_document(weights: Path = SHIPPED_WEIGHTS) -> str:
    """Return the evaluation of the shipped classifier from its card."""
    version = json.loads((weights / "active.json").read_text(encoding="utf-8"))["version"]
    card = read_card(weights / version)
    split = SETS.get(card.robustness[0]["split"], card.robustness[0]["split"]) if card.robustness else ""
    return (
        f"# Evaluation of classifier {card.version}\n\nFrom its card; 95 % intervals in brackets.\n\n"
        f"## Performance\n\n{performance(card)}\n\n"
        f"## Confusion matrices at the operating point {card.operating_point.probability:.3f}\n\n{confusion(card)}\n\n"
        f"## Operating points\n\n{operating_points(card)}\n\n"
        f"## Robustness to perturbations\n\n{split[:1].upper() + split[1:]}.\n\n{robustness(card)}\n"
    )


def leaderboard_document(data: Path = HERE / "leaderboard.json") -> str:
    """Return the leaderboard from the rows that `python -m training leaderboard` wrote."""
    return f"# Leaderboard\n\n{board_from_json(data.read_text(encoding='utf-8'))}\n"


def ablations_document(data: Path = HERE / "ablations.json") -> str:
    """Return the ablations from the rows that `python -m benchmarks.ablations` wrote."""
    values = json.loads(data.read_text(encoding="utf-8"))
    return f"# Ablations\n\n{ablations.table(values['rows'], values['command'])}\n"


def coverage_document(data: Path = HERE / "coverage.json") -> str:
    """Return the coverage of intervals from the rows that `python -m benchmarks.coverage` wrote."""
    values = json.loads(data.read_text(encoding="utf-8"))
    return f"# Coverage of the 95 % intervals\n\n{coverage.table(values['rows'], values['command'])}\n"


DOCUMENTS: dict[str, Callable[[], str]] = {
    "ablations.md": ablations_document,
    "coverage.md": coverage_document,
    "evaluation.md": evaluation_document,
    "leaderboard.md": leaderboard_document,
}


def main() -> int:
    """Write every table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLES, metavar="DIR", help="(docs/tables)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, document in DOCUMENTS.items():
        write_atomically(options.out / name, document())
        print(options.out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
