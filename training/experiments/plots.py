"""A study as one page that opens anywhere, offline: what was tried, what came of it, what mattered."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna import visualization

from training.experiments.study_values import Standing

VALUE = "log loss"
_SIDE_BY_SIDE = 4
# For the forest that estimates importances: the same study gives the same figures.
_SEED = 0
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b2530; background: #fff; margin: 2rem auto; max-width: 1180px;
       padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .2rem }
p { max-width: 75ch; margin: .3rem 0 } .wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #dde3ea } th { color: #4a5866 }
tr.best td { background: #e6f2ec; font-weight: 600 } tr.other td { color: #6b7885 }
"""


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of the value's variance that each parameter explains, largest first; {} from too few trials.

    fANOVA (Hutter et al. 2014) on the finished trials; from twenty trials it is a rough guess.
    """
    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len({trial.value for trial in finished}) < 4:
        return {}
    return dict(
        optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
        )
    )


def study_page(study: optuna.Study, standing: Standing) -> str:
    """Return the page as HTML; plotly.js is inside, and nothing is loaded from anywhere."""
    finished = [row for row in standing.counted if row.status == "finished"]
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
    names = list(dict.fromkeys(name for row in finished for name in row.parameters))
    drawn: list[tuple[str, str, Callable[[], list[Any]], bool]] = [
        (
            "History",
            "Each dot is a trial that ran to its end; the line is the best so far. Trial 0 has the default recipe.",
            lambda: [visualization.plot_optimization_history(study, target_name=VALUE)],
            bool(finished),
        ),
        (
            "Importance",
            "Share of the differences between finished trials that each setting explains (fANOVA). A rough "
            "guess from few trials; what was searched in a narrow range looks unimportant.",
            lambda: [visualization.plot_param_importances(study, evaluator=evaluator, target_name=VALUE)],
            bool(importances(study)),
        ),
        (
            "Settings together",
            "One line is one finished trial; dark lines are the good ones.",
            lambda: [visualization.plot_parallel_coordinate(study, target_name=VALUE)],
            len(finished) > 1,
        ),
        (
            "Settings one by one",
            "Dots are finished trials, darker ones later.",
            lambda: [_slice(study, names[i : i + _SIDE_BY_SIDE]) for i in range(0, len(names), _SIDE_BY_SIDE)],
            len(finished) > 1,
        ),
        (
            "Epoch by epoch",
            "1 − AUROC on held-out patients, by which trials are pruned. Lines that end early were.",
            lambda: [_by_epoch(study)],
            any(row.epochs for row in standing.counted),
        ),
    ]
    parts, first = [], True
    for title, text, draw, possible in drawn:
        parts.append(f"<h2>{title}</h2><p>{text}</p>")
        if not possible:
            parts.append("<p>Needs more finished trials.</p>")
        for figure in draw() if possible else ():
            figure.update_layout(template="plotly_white", title=None, margin={"t": 34, "b": 60})
            parts.append(_div(figure, first))
            first = False
    name = html.escape(str(study.user_attrs.get("architecture", "")))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tuning {name}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Tuning {name}</h1>{_facts(study, standing)}{''.join(parts)}"
        f"<h2>Trials</h2>{_trials(standing)}</body></html>\n"
    )


def _div(figure: Any, with_library: bool) -> str:
    return str(figure.to_html(full_html=False, include_plotlyjs=with_library, config={"displaylogo": False}))


def _slice(study: optuna.Study, names: list[str]) -> Any:
    """Draw some parameters side by side; all of them in one row would run off the page."""
    figure = visualization.plot_slice(study, params=names, target_name=VALUE)
    figure.update_layout(width=None, height=360)
    return figure


def _by_epoch(study: optuna.Study) -> Any:
    figure = visualization.plot_intermediate_values(study)
    figure.update_layout(xaxis_title="epoch", yaxis_title="1 − AUROC", height=480)
    # A perfect ranking has no logarithm.
    if all(v > 0 for trial in study.get_trials(deepcopy=False) for v in trial.intermediate_values.values()):
        figure.update_yaxes(type="log")
    return figure


def _facts(study: optuna.Study, standing: Standing) -> str:
    attributes, best = study.user_attrs, standing.best
    by_status = {
        status: sum(row.status == status for row in standing.rows)
        for status in ("finished", "pruned", "failed", "stopped")
    }
    counts = ", ".join(f"{n} {status}" for status, n in by_status.items() if n) or "none yet"
    minutes = sum(row.seconds or 0 for row in standing.rows) / 60
    fixed = ", ".join(f"{name} {value}" for name, value in attributes.get("fixed", {}).items())
    lines = [
        "Minimised: log loss on held-out patients after calibration, each class counting the same, half on the "
        "pictures as they are and half on copies as another hospital might export them. A coin has 0.693.",
        # One under way when fewer trials were asked for still counts.
        f"{len(standing.counted)} of {max(standing.trials, len(standing.counted))} trials of "
        f"{attributes.get('epochs', '?')} epochs ({counts}), "
        f"{minutes:.0f} minutes, seed {attributes.get('seed', '?')}" + (f"; fixed: {fixed}" if fixed else "") + ".",
        f"Best: trial {best.number}, {VALUE} {best.value:.4f}; AUROC {_figure(best.auroc)}, on shifted copies "
        f"{_figure(best.auroc_shifted)}."
        if best is not None
        else "No trial has finished.",
    ]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _trials(standing: Standing) -> str:
    names = list(dict.fromkeys(name for row in standing.rows for name in row.parameters))
    heads = ("trial", "", VALUE, "as they are", "shifted", "AUROC", "AUROC shifted", "epochs", "seconds", *names)
    best = standing.best
    lines = [_row("th", "", heads)]
    for row in sorted(standing.rows, key=lambda r: (r.value is None, r.value or 0.0, r.number)):
        kind = "best" if best is not None and row.number == best.number else "" if row.value is not None else "other"
        status = row.status + (f" ({row.note})" if row.note else "")
        lines.append(
            _row(
                "td",
                kind,
                (
                    str(row.number),
                    status,
                    *(_figure(v) for v in (row.value, row.loss, row.loss_shifted, row.auroc, row.auroc_shifted)),
                    str(row.epochs),
                    "–" if row.seconds is None else f"{row.seconds:.0f}",
                    *(brief(row.parameters.get(name)) for name in names),
                ),
            )
        )
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _row(cell: str, kind: str, texts: Sequence[str]) -> str:
    return f'<tr class="{kind}">{"".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in texts)}</tr>'


def _figure(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def brief(value: object) -> str:
    """Return a parameter's value for people: three digits are enough."""
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
