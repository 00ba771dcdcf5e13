"""Coverage of the 95 % intervals that the product prints, beside the percentile bootstrap over patients.

Patients with one to four radiographs are drawn from a population whose figures are known: the scores of both classes
are normal, and half of their variance is common to a patient's radiographs. 73 % of the patients have pneumonia. The
probabilities are correct at a prevalence of one half. Counted is how often an interval holds the population's figure.

The product prints these intervals; a row of the table stands for each kind:

- measures of an evaluation: `evaluate`, model card, leaderboard, cross-validation, pooled folds, Python interface;
  AUROC of bacterial above viral pneumonia is computed as any AUROC;
- calibration intercept, slope and debiased expected calibration error: the same places and the promotion rule;
- rates and AUROC in a group: by style, source, unit, age and projection, gate on the worst group;
- rates at another threshold, PPV and NPV at a prevalence: Read and Performance pages, reports, `evaluate --detail`;
- cross-fitted rates, rates of the purposes, coverage of the conformal sets: model card;
- differences between two classifiers, or clean and perturbed radiographs: `compare`, promotion rules, robustness; the
  difference in ECE by the percentile bootstrap, DeLong's by patients;
- means over radiographs: faithfulness (mean probability), localisation (shares of the evidence, maximum on an opacity);
- prevalence of unlabelled radiographs: `recalibrate --unlabelled`, for independent radiographs, one a patient.

>>> python -m benchmarks.coverage --samples 200 --json coverage.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from tqdm import tqdm

from benchmarks.coverage_further import further
from core.files import write_atomically
from model.calibration import sigmoid
from model.calibration_measures import ECE_BINS, calibration_measures, class_weights
from model.card import MEASURES, Evaluation, Measure
from model.intervals import mean_interval
from model.metrics import evaluate, measures, percentile_interval, ppv_npv, predictive_values, resampled
from training.evaluation.compare import COMPARED, Scores, compare_scores

Array = npt.NDArray[Any]
SHARE, COMMON, POINT, PREVALENCE = 0.73, 0.5, 0.5, 0.2
PATIENTS = (60, 150, 330)
AREAS = (0.9, 0.97, 0.995)
RESAMPLES = 500
# Of scores of two classifiers on one radiograph.
CORRELATION = 0.6


def draw(rng: np.random.Generator, patients: int, area: float) -> tuple[Array, Array, Array]:
    """Draw labels (n,), the scores (2, n) of two classifiers with the same AUROC `area`, and patients (n,)."""
    ill = rng.random(patients) < SHARE
    ill[:2] = (False, True)
    member = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    n = len(member)
    mix = np.linalg.cholesky(np.array([[1, CORRELATION], [CORRELATION, 1]]))
    shared, own = mix @ rng.normal(size=(2, patients)), mix @ rng.normal(size=(2, n))
    scores = math.sqrt(COMMON) * shared[:, member] + math.sqrt(1 - COMMON) * own + _distance(area) * ill[member]
    return ill[member].astype(int), scores, member


def _distance(area: float) -> float:
    return math.sqrt(2) * float(norm.ppf(area))


def probabilities(scores: Array, area: float) -> Array:
    """Return the probabilities of pneumonia at a prevalence of one half, of any shape."""
    mu = _distance(area)
    return sigmoid(mu * scores - mu**2 / 2)


def truth(area: float, n: int = 400_000) -> dict[str, float]:
    """Return the figures of the population, from quantiles of both classes."""
    positive = round(SHARE * n)
    y = (np.arange(n) < positive).astype(int)
    quantiles = [norm.ppf((np.arange(m) + 0.5) / m) for m in (positive, n - positive)]
    p = probabilities(np.concatenate((quantiles[0] + _distance(area), quantiles[1])), area)
    figures = {name: float(values[0]) for name, values in measures(y, p, POINT, np.ones((1, n))).items()}
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, class_weights(y, 0.5) * (p - y))
    ppv, npv = ppv_npv(figures["sensitivity"], figures["specificity"], PREVALENCE)
    return figures | {
        "auroc": area,
        "ece debiased": float(np.abs(gaps).sum()),
        "calibration intercept": 0.0,
        "calibration slope": 1.0,
        "PPV at 20 %": ppv,
        "NPV at 20 %": npv,
        "mean probability": float(p.mean()),
        **{f"difference in {name}": 0.0 for name in COMPARED},
        "difference in auroc, DeLong": 0.0,
    }


def ours(
    y: Array, scores: Array, member: Array, area: float, true: dict[str, float], rng: np.random.Generator
) -> dict[str, tuple[Measure, float]]:
    """Return every figure of the product with its interval and its `true` value, for the radiographs of `draw`."""
    p, other = probabilities(scores, area)
    patients = [str(one) for one in member]
    e: Evaluation = evaluate("", y, p, POINT, patients)
    ppv, npv = predictive_values(e.measures["sensitivity"], e.measures["specificity"], PREVALENCE)
    compared = compare_scores(y, patients, Scores("a", p, POINT), Scores("b", other, POINT), resamples=RESAMPLES)
    calibration = calibration_measures(y, p, 0.5, member)
    if calibration is None:
        raise ValueError("expected both classes. Received: one")
    delong = compared.delong
    figures = {
        **e.measures,
        "ece debiased": calibration.ece,
        "calibration intercept": calibration.intercept,
        "calibration slope": calibration.slope,
        "PPV at 20 %": ppv,
        "NPV at 20 %": npv,
        "mean probability": mean_interval(p, patients),
        **{f"difference in {name}": compared.differences[name] for name in COMPARED},
        "difference in auroc, DeLong": Measure(delong.difference, delong.low, delong.high),
    }
    known = {name: (measure, true[name]) for name, measure in figures.items()}
    return known | further(rng, y, scores[0], member, _distance(area), e)


def bootstrap(y: Array, scores: Array, member: Array, area: float, seed: int) -> dict[str, Measure]:
    """Return the figures that version 0.1 had, with the percentile bootstrap over patients."""
    p, other = probabilities(scores, area)
    whole = [measures(y, one, POINT, np.ones((1, len(y)))) for one in (p, other)]
    blocks: list[list[dict[str, Array]]] = [[], []]
    means = []
    for counts in resampled(list(member), seed, RESAMPLES):
        for side, one in enumerate((p, other)):
            blocks[side].append(measures(y, one, POINT, counts))
        means.append(counts @ p / counts.sum(1))
    drawn = [{name: np.concatenate([block[name] for block in side]) for name in MEASURES} for side in blocks]
    found = {name: percentile_interval(float(whole[0][name][0]), drawn[0][name]) for name in MEASURES}
    found["mean probability"] = percentile_interval(float(p.mean()), np.concatenate(means))
    for name in COMPARED:
        value = float(whole[0][name][0] - whole[1][name][0])
        found[f"difference in {name}"] = percentile_interval(value, drawn[0][name] - drawn[1][name])
    return found


def simulate(samples: int, seed: int = 0, report: Callable[[int], object] | None = None) -> Iterator[dict[str, Any]]:
    """Yield one row for each figure, number of patients and AUROC: shares of `samples` that hold the true figure."""
    for patients in PATIENTS:
        for area in AREAS:
            true = truth(area)
            held: dict[tuple[str, str], list[tuple[bool, float]]] = {}
            truths: dict[str, list[float]] = {}
            for sample in range(samples):
                y, scores, member = draw(
                    np.random.default_rng((seed, patients, round(1000 * area), sample)), patients, area
                )
                rng = np.random.default_rng((seed + 1, patients, round(1000 * area), sample))
                peers = bootstrap(y, scores, member, area, sample)
                both = (
                    ("interval", ours(y, scores, member, area, true, rng)),
                    ("bootstrap", {name: (found, true[name]) for name, found in peers.items()}),
                )
                for method, figures in both:
                    for name, (found, value) in figures.items():
                        truths.setdefault(name, []).append(value)
                        if not math.isnan(found.low):
                            hit = found.low - 1e-9 <= value <= found.high + 1e-9
                            held.setdefault((name, method), []).append((hit, found.high - found.low))
                if report is not None:
                    report(1)
            for name, values in truths.items():
                row: dict[str, Any] = {
                    "figure": name,
                    "patients": patients,
                    "auroc": area,
                    "true": float(np.mean(values)),
                }
                for method in ("interval", "bootstrap"):
                    hits = held.get((name, method), [])
                    row[method] = float(np.mean([hit for hit, _ in hits])) if hits else None
                    row[f"{method}_width"] = float(np.mean([width for _, width in hits])) if hits else None
                    row[f"{method}_samples"] = len(hits)
                yield row


def table(rows: list[dict[str, Any]], command: str) -> str:
    """Return the rows as Markdown: coverage of the interval, that of the bootstrap in brackets."""
    keys = sorted({(row["patients"], row["auroc"]) for row in rows})
    lines = [
        f"`{command}`. Share of samples whose 95 % interval holds the true figure; in brackets that of the percentile "
        "bootstrap over patients, the intervals of version 0.1. Columns: number of patients with one to four "
        "radiographs, and true AUROC. The standard error of a share of 0.95 is "
        f"{math.sqrt(0.95 * 0.05 / max(row['interval_samples'] for row in rows)):.3f}.",
        "",
        "| figure | " + " | ".join(f"{patients}, {area:g}" for patients, area in keys) + " |",
        "|---|" + "---|" * len(keys),
    ]
    found = {(row["figure"], row["patients"], row["auroc"]): row for row in rows}
    for name in dict.fromkeys(row["figure"] for row in rows):
        cells = []
        for key in keys:
            row = found[(name, *key)]
            peer = "" if row["bootstrap"] is None else f" ({row['bootstrap']:.2f})"
            cells.append("–" if row["interval"] is None else f"{row['interval']:.2f}{peer}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--samples", type=int, default=200, metavar="N", help="samples of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="SEED", help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    command = f"python -m benchmarks.coverage --samples {options.samples} --seed {options.seed}"
    with tqdm(total=options.samples * len(PATIENTS) * len(AREAS), disable=None, leave=False) as bar:
        rows = list(simulate(options.samples, options.seed, bar.update))
    if options.json:
        write_atomically(options.json, json.dumps({"command": command, "rows": rows}, indent=1) + "\n")
    print(table(rows, command))
    return 0


if __name__ == "__main__":
    sys.exit(main())
