"""The leaderboard: every architecture on the same patients, in Markdown tables beside published results."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from core.errors import AppError
from core.progress import Tick
from core.settings import Settings
from model.calibration import probabilities
from model.card import Evaluation, Measure, ModelCard
from model.engine import Classifier
from model.intervals import proportion
from model.networks.architectures import ARCHITECTURES, find_architecture
from model.registry import active_version, list_versions, load_card
from training.data.loading import LoadedFolder
from training.data.split import HELD_OUT_DIGEST, groups_of
from training.evaluation.evaluate import plain, score_samples
from training.evaluation.groups import rows_of
from training.fitting.schedule import seconds_of_fitting

TRAIN_SAMPLE = 600
TIMED = 15

# (accuracy, AUROC, sensitivity, specificity) on all 624 radiographs of the official test split, as published.
PUBLISHED = {
    "Kermany 2018 (Cell), InceptionV3 transfer": (0.928, 0.968, 0.932, 0.901),
    "MedMNIST v2, ResNet-50 at 224 px": (0.884, 0.962, None, None),
    "MedMNIST v2, Google AutoML Vision": (0.946, 0.991, None, None),
    "Horizon-42, augmentation chosen on the test set": (0.950, 0.992, 0.995, 0.876),
    "Horizon-42, weak augmentation": (0.861, 0.966, 0.995, 0.637),
    "frozen ResNet-18": (0.811, None, 0.985, 0.521),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture on the board; `tests` holds its measures by test set, `normal` and `pneumonia` right of n."""

    architecture: str
    version: str
    parameters: int
    input_px: int
    starts_from: str
    fit_minutes: float
    budget_minutes: float
    epochs: int
    images_seen: int
    seed: int
    train_accuracy: Measure
    train_n: int
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    ms_per_radiograph: float = 0.0


def same_patients(card: ModelCard, digest: str, seed: int, validation_fraction: float, held_out: str = "") -> bool:
    """Return whether a version was trained on the same radiographs with the same patients held out.

    Parameters
    ----------
    card
        The card of the version.
    digest
        Of the radiographs, as `training.data.sample.digest` returns it.
    seed, validation_fraction
        Of the split.
    held_out
        Digest of the held-out radiographs, "" where it is unknown.
    """
    known = card.data.get(HELD_OUT_DIGEST)
    # Cards of before 0.2.0 do not have it; radiographs of unknown patients were then split in another way.
    if held_out and (known != held_out if known else card.data.get("unknown_patients")):
        return False
    return (
        card.data.get("digest") == digest
        and card.training.get("seed") == seed
        and card.training.get("validation_fraction") == validation_fraction
    )


def find_version(
    settings: Settings, architecture: str, digest: str, seed: int, validation_fraction: float, held_out: str = ""
) -> str | None:
    """Return a version of an architecture with the same patients held out.

    Parameters
    ----------
    settings
        The installation.
    architecture
        Name of the architecture.
    digest, seed, validation_fraction, held_out
        As in `same_patients`.

    Returns
    -------
    str or None
        The version in use, else the newest one, else None.
    """
    fitting = []
    for name in list_versions(settings):
        try:
            card = load_card(settings, name)
        except AppError:
            continue
        if card.architecture == architecture and same_patients(card, digest, seed, validation_fraction, held_out):
            fitting.append(name)
    try:
        active = active_version(settings)
    except AppError:
        active = ""
    return active if active in fitting else fitting[-1] if fitting else None


def measure(
    classifier: Classifier,
    loaded: LoadedFolder,
    tick: Tick | None = None,
    asked: Collection[str] = (),
) -> Row:
    """Return the row of a version: accuracy on a fixed sample of its training radiographs, and time per radiograph.

    The time is the median of single forward passes, without decoding; where films are framed by their lungs, finding
    them is included.

    Parameters
    ----------
    classifier
        The version, at its own operating point.
    loaded
        Its training data.
    tick
        Called with the number of radiographs done since the last call.
    asked
        Names of evaluations of the card to include, besides all that are neither of held-out patients nor outside
        the intended use.
    """
    card = classifier.card
    train = loaded.side(False)
    chosen = np.random.default_rng(0).permutation(len(train))[:TRAIN_SAMPLE]
    used, logits, _ = score_samples(classifier, [train[i] for i in sorted(chosen)], tick)
    positive = probabilities(logits, card.calibration) >= card.operating_point.probability
    right = positive == np.array([s.label == 1 for s in used])
    square = np.full((1, classifier.detail_px, classifier.detail_px), 90, np.uint8)
    picture = classifier.inputs_of(square)
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        classifier.run(picture if classifier.find_anatomy is None else classifier.inputs_of(square))
        times.append(time.perf_counter() - started)
    backbone = str(card.training.get("backbone_weights", "random"))
    return Row(
        card.architecture,
        card.version,
        card.parameters,
        classifier.input_px,
        backbone if backbone == "random" or backbone.startswith("version ") else "ImageNet",
        seconds_of_fitting(card.history) / 60,
        float(card.training.get("budget_minutes", 0)),
        len(card.history),
        sum(int(row.get("images", 0)) for row in card.history),
        int(card.training["seed"]),
        proportion(right, groups_of(used)),
        len(used),
        {
            name: figures(e)
            for name, e in card.evaluations.items()
            if name in asked or not name.startswith(("validation", "outside"))
        },
        1000 * statistics.median(times),
    )


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures of one set of radiographs that the leaderboard shows."""
    e = evaluation
    return {
        "n": e.n,
        "normal": (e.tn, e.tn + e.fp),
        "pneumonia": (e.tp, e.tp + e.fn),
        "groups": plain(rows_of(e.groups)),
        **{m: asdict(e.measures[m]) for m in ("accuracy", "auroc", "sensitivity", "specificity", "ece")},
    }


def rows_from_json(text: str) -> dict[str, Row]:
    """Return the rows measured earlier, by version."""
    return {name: _row(row) for name, row in json.loads(text).items()}


def rows_to_json(rows: dict[str, Row]) -> str:
    """Return the rows as JSON that `rows_from_json` reads."""
    return json.dumps({name: asdict(row) for name, row in rows.items()}, indent=1)


def board_to_json(rows: Sequence[Row], command: str) -> str:
    """Return a leaderboard, its `rows` and the `command` that made it, as JSON that `board_from_json` reads."""
    return json.dumps({"command": command, "rows": [asdict(row) for row in rows]}, indent=1, ensure_ascii=False) + "\n"


def board_from_json(text: str) -> str:
    """Return the leaderboard that `board_to_json` wrote, as Markdown."""
    values = json.loads(text)
    return table([_row(row) for row in values["rows"]], values["command"])


def _row(values: dict[str, Any]) -> Row:
    return Row(**{**values, "train_accuracy": Measure(**values["train_accuracy"])})


def _figure(values: dict[str, Any] | Measure, digits: int = 3) -> str:
    m = values if isinstance(values, Measure) else Measure(**values)
    return f"{m.value:.{digits}f} ({m.low:.{digits}f}–{m.high:.{digits}f})"


def _worst(groups: Sequence[dict[str, Any]]) -> str:
    """Name the group with the lowest sensitivity or specificity; the first of each kind is its worst."""
    first = {group["kind"]: group for group in reversed(groups) if not group["too_few"]}
    rates = [
        (rate["value"], f"{kind} {group['name']}: {name} {_figure(rate)}")
        for kind, group in first.items()
        for name in ("sensitivity", "specificity")
        if (rate := group[name])["value"] is not None
    ]
    return min(rates)[1] if rates else "too few to tell"


def table(rows: Sequence[Row], command: str) -> str:
    """Return the leaderboard as Markdown, from its `rows` and the `command` that made it.

    One table of the trainings, one of the performance on each test set.
    """
    order = [a for a in ARCHITECTURES if any(r.architecture == a for r in rows)]
    order += sorted({r.architecture for r in rows} - set(order))
    ranked = sorted(rows, key=lambda r: order.index(r.architecture))
    quickest = min((r.ms_per_radiograph for r in ranked), default=1.0)
    seeds = ", ".join(sorted({str(r.seed) for r in rows}))
    sample = max((r.train_n for r in ranked), default=0)
    lines = [
        f"Written by `{command}`. Seed {seeds}; every network has the same patients held out. Calibration and "
        "operating point come from these patients, nothing comes from a test set. Where a network starts from a "
        "version, the epochs and minutes of that version are not included.",
        "",
        "| network | parameters | starts from | input, px | epochs (radiographs seen) | "
        "fitting, minutes (bound) | ms per radiograph (× fastest) | "
        f"accuracy on {sample} training radiographs | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in ranked:
        network = find_architecture(r.architecture)
        start = r.starts_from + (
            " (no ImageNet weights here)" if network.is_transfer and r.starts_from == "random" else ""
        )
        bound = f"{r.budget_minutes:g}" if r.budget_minutes else "none"
        # Early versions did not count the radiographs.
        seen = f"{r.images_seen:,}" if r.images_seen else "not counted"
        lines.append(
            f"| `{r.architecture}` {r.version} | {r.parameters:,} | {start} | {r.input_px} | {r.epochs} ({seen}) | "
            f"{r.fit_minutes:.1f} ({bound}) | {r.ms_per_radiograph:.0f} ({r.ms_per_radiograph / quickest:.0f}×) | "
            f"{_figure(r.train_accuracy)} | {network.claim} |"
        )
    for name in dict.fromkeys(name for r in ranked for name in r.tests):
        n = next(r.tests[name]["n"] for r in ranked if name in r.tests)
        by_group = any(r.tests[name].get("groups") for r in ranked if name in r.tests)
        lines += [
            "",
            f"On `{name}` ({n} radiographs), each at its own operating point:",
            "",
            "| network | accuracy | AUROC | sensitivity | specificity | ECE | NORMAL correct | PNEUMONIA correct |"
            + (" worst group |" if by_group else ""),
            "|---|---|---|---|---|---|---|---|" + ("---|" if by_group else ""),
        ]
        for r in sorted((r for r in ranked if name in r.tests), key=lambda r: -r.tests[name]["auroc"]["value"]):
            values = r.tests[name]
            cells = [_figure(values[m]) for m in ("accuracy", "auroc", "sensitivity", "specificity", "ece")]
            cells += [f"{right} of {of}" for right, of in (values["normal"], values["pneumonia"])]
            cells += [_worst(values.get("groups", ()))] if by_group else []
            lines.append(f"| `{r.architecture}` | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Published results on all 624 radiographs of the official test split. The sets differ, so differences of a "
        "percentage point are not meaningful.",
        "",
        "| | accuracy | AUROC | sensitivity | specificity |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | " + " | ".join("" if v is None else f"{v:.3f}" for v in values) + " |"
        for name, values in PUBLISHED.items()
    ]
    return "\n".join(lines)
