"""Progress on a terminal: one line that is rewritten; in a log, one line a phase and an epoch."""

from __future__ import annotations

import sys
from typing import NoReturn

from tqdm import tqdm

from core.formatting import format_short_duration
from core.progress import Progress, Report
from training.fitting.progress import EpochEnd, FittingStep

_PHASE = "{desc}: {n_fmt}/{total_fmt} {bar} {remaining} left"
_DESCRIPTION = "{desc} {bar} {percentage:3.0f}%"


def terminal_report(bar: tqdm[NoReturn]) -> Report:
    """Return a report that shows phases and the steps of a fit on `bar`, or on stderr where the bar is disabled."""
    shown = ""

    def phase(progress: Progress) -> None:
        if progress.phase != shown:
            if bar.disable:
                print(progress.phase, file=sys.stderr, flush=True)
                return
            bar.bar_format = _PHASE
            bar.reset(progress.total)
            bar.set_description_str(progress.phase, refresh=False)
        if not bar.disable:
            bar.update(progress.done - bar.n)

    def show(progress: Progress) -> None:
        nonlocal shown
        match progress.detail:
            case FittingStep() as step:
                _show_step(bar, step)
            case EpochEnd():
                pass
            case _:
                phase(progress)
        shown = progress.phase

    return show


def _show_step(bar: tqdm[NoReturn], step: FittingStep) -> None:
    val = "–" if step.val_auroc is None else f"{step.val_auroc:.4f}"
    text = (
        f"epoch {step.epoch}/{step.epochs} {step.stage} · loss {step.loss:.3f} · AUROC train "
        f"{step.train_auroc:.4f}, validation {val} · {step.images_per_second:.1f} images/s · "
        f"{format_short_duration(step.seconds_left)} left"
    )
    if bar.disable:
        if step.step == step.steps:
            print(text, file=sys.stderr, flush=True)
        return
    bar.bar_format = _DESCRIPTION
    if bar.total != step.steps or step.step < bar.n:
        bar.reset(step.steps)
    bar.set_description_str(text, refresh=False)
    bar.update(step.step - bar.n)
