"""The report of a tuning study: one HTML page with plots and trials that works offline."""

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
# Of the random forest that estimates importances, so that results are reproducible.
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
    """Return the share of the variance explained by each parameter, largest first; {} for fewer than four trials.

    References
    ----------
    Hutter et al. 2014, fANOVA; on the finished trials, a rough estimate from twenty of them.
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
    """Return the page of a `study` in the state `standing`: HTML with plotly.js embedded; it loads nothing."""
    finished = [row for row in standing.counted if row.status == "finished"]
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
    names = list(dict.fromkeys(name for row in finished for name in row.parameters))
    drawn: list[tuple[str, str, Callable[[], list[Any]], bool]] = [
        (
            "History",
            "Dots: finished trials. Line: best so far. Trial 0 has the default recipe.",
            lambda: [visualization.plot_optimization_history(study, target_name=VALUE)],
            bool(finished),
        ),
        (
            "Importance",
            "Share of the variance between finished trials that each parameter explains (fANOVA). A rough "
            "estimate from few trials; a narrow range lowers the importance.",
            lambda: [visualization.plot_param_importances(study, evaluator=evaluator, target_name=VALUE)],
            bool(importances(study)),
        ),
        (
            "Parallel coordinates",
            "One line per finished trial; darker lines have a lower log loss.",
            lambda: [visualization.plot_parallel_coordinate(study, target_name=VALUE)],
            len(finished) > 1,
        ),
        (
            "Single parameters",
            "Dots: finished trials, later ones darker.",
            lambda: [_slice(study, names[i : i + _SIDE_BY_SIDE]) for i in range(0, len(names), _SIDE_BY_SIDE)],
            len(finished) > 1,
        ),
        (
            "Validation by epoch",
            "1 − AUROC on held-out patients. Lines that end early are pruned trials.",
            lambda: [_by_epoch(study)],
            any(row.epochs for row in standing.counted),
        ),
    ]
    parts, first = [], True
    for title, text, draw, possible in drawn:
        parts.append(f"<h2>{title}</h2><p>{text}</p>")
        if not possible:
            parts.append("<p>More finished trials are needed.</p>")
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
    """Draw some parameters side by side."""
    figure = visualization.plot_slice(study, params=names, target_name=VALUE)
    figure.update_layout(width=None, height=360)
    return figure


def _by_epoch(study: optuna.Study) -> Any:
    figure = visualization.plot_intermediate_values(study)
    figure.update_layout(xaxis_title="epoch", yaxis_title="1 − AUROC", height=480)
    # Zero has no logarithm.
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
        "Objective: log loss on held-out patients after calibration, equal weight of both classes, half on the "
        "radiographs as they are and half on copies with the recipe domain_shift. Chance is 0.693.",
        # More than requested where a later call asked for fewer.
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
    heads = ("trial", "", VALUE, "clean", "shifted", "AUROC", "AUROC shifted", "epochs", "seconds", *names)
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
    """Return a parameter's value with three significant digits."""
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
