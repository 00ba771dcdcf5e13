"""python -m training: train a classifier from a folder, evaluate it, put it into use."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from model.errors import AppError
from model.files import write_atomically
from model.quiet import start_tensorflow
from model.settings import Settings, load_settings

if TYPE_CHECKING:
    from training.fit import Progress
    from training.run import Watcher

EXAMPLES = """examples:
  python -m training train --data chest_xray
  python -m training train --data chest_xray --preset quick --backbone-weights inception_v3.h5 --promote
  python -m training train --resume var/runs/2026.11.20-142233
  python -m training audit --data chest_xray --json audit.json
  python -m training evaluate --data chest_xray/test --json test.json
  python -m training versions

exit status: 0 done, 1 it could not be done (the last line says why), 2 wrong arguments, 130 interrupted
"""
# (epochs of the head, on small pictures, at full size)
PRESETS = {"quick": (1, 2, 0), "standard": (1, 10, 3), "thorough": (1, 24, 8)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(os.environ)
        return int(options.act(options, settings))
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    acts = parser.add_subparsers(required=True, metavar="COMMAND")

    train = acts.add_parser("train", help="make a classifier version from a folder of radiographs", epilog=EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter)
    which = train.add_mutually_exclusive_group(required=True)
    which.add_argument("--data", type=Path, metavar="DIR",
                       help="folder with NORMAL/ and PNEUMONIA/, or with train/ [val/] [test/] above them")
    which.add_argument("--resume", type=Path, metavar="RUN", help="continue an interrupted run from its last epoch")
    train.add_argument("--out", type=Path, metavar="DIR", help="where the version goes (default: the app's own folder)")
    train.add_argument("--run-dir", type=Path, metavar="RUN", help="directory of the run (default: a new one, by time)")
    train.add_argument("--architecture", default="inception_v3", choices=("inception_v3",))
    train.add_argument("--backbone-weights", metavar="FILE",
                       help='starting weights: a local file, "imagenet" (Keras downloads them) or "random" '
                            "(default: the setting PNEUMOLENS_BACKBONE_WEIGHTS)")
    train.add_argument("--preset", choices=tuple(PRESETS), default="standard",
                       help="epochs of the head, on small pictures and at full size: "
                            + "; ".join(f"{name} {' + '.join(map(str, n))}" for name, n in PRESETS.items()))
    for name, what in (("head", "of the head alone"), ("small", "on small pictures"), ("full", "at full size")):
        train.add_argument(f"--{name}-epochs", type=int, metavar="N", help=f"epochs {what} (default: the preset's)")
    train.add_argument("--small-px", type=int, default=192, metavar="PX",
                       help="side of the small pictures (%(default)s)")
    train.add_argument("--input-px", type=int, default=299, metavar="PX",
                       help="side of the pictures at full size and in service (%(default)s)")
    train.add_argument("--train-after", default="mixed3", metavar="LAYER",
                       help="the last frozen layer while fine-tuning (%(default)s)")
    train.add_argument("--learning-rate", type=float, default=2e-4, metavar="R", help="peak (%(default)s)")
    train.add_argument("--batch-size", type=int, default=32, metavar="N", help="(%(default)s)")
    train.add_argument("--seed", type=int, default=2026, help="decides split, order and augmentation (%(default)s)")
    train.add_argument("--validation-fraction", type=float, default=0.12, metavar="F",
                       help="share of the patients held out (%(default)s)")
    train.add_argument("--precision", default="auto", choices=("auto", "float32", "mixed_bfloat16"))
    train.add_argument("--source", default="", metavar="TEXT", help="where the data comes from, for the card")
    train.add_argument("--note", action="append", default=[], metavar="TEXT",
                       help="a remark for the card; may be repeated")
    train.add_argument("--also-evaluate", action="append", default=[], metavar="NAME=DIR",
                       help="evaluate on a further folder and put the result onto the card; may be repeated")
    train.add_argument("--promote", action="store_true", help="put the new version into use")
    train.set_defaults(act=_train)

    evaluate = acts.add_parser("evaluate", help="evaluate a version on a folder with NORMAL/ and PNEUMONIA/")
    evaluate.add_argument("--data", type=Path, required=True, metavar="DIR")
    evaluate.add_argument("--classifier", metavar="VERSION", help="(default: the version in use)")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    evaluate.set_defaults(act=_evaluate)

    audit = acts.add_parser("audit", help="look for what a dataset folder hides: duplicates, leaks, damaged files",
                            description="Exit status 1 when a finding blocks training.")
    audit.add_argument("--data", type=Path, required=True, metavar="DIR")
    audit.add_argument("--json", type=Path, metavar="FILE", help="write all of it there")
    audit.set_defaults(act=_audit)

    versions = acts.add_parser("versions", help="list the classifier versions; * marks the one in use")
    versions.set_defaults(act=_versions)
    promote = acts.add_parser("promote", help="put a version into use")
    promote.add_argument("version", metavar="VERSION")
    promote.set_defaults(act=_promote)
    return parser


def _train(options: argparse.Namespace, settings: Settings) -> int:
    start_tensorflow()
    from training.config import TrainingConfig, fine_tuning_stages
    from training.run import RunRequest, create_run, execute, read_request

    if options.resume:
        run_dir = options.resume
    else:
        run_dir = options.run_dir or settings.runs_dir / f"{datetime.now(UTC):%Y.%m.%d-%H%M%S}"
        head, small, full = (preset if chosen is None else chosen for preset, chosen in zip(
            PRESETS[options.preset], (options.head_epochs, options.small_epochs, options.full_epochs), strict=True))
        try:
            config = TrainingConfig(
                architecture=options.architecture, seed=options.seed, batch_size=options.batch_size,
                validation_fraction=options.validation_fraction, precision=options.precision,
                input_px=options.input_px, stages=fine_tuning_stages(
                    head, small, full, small_px=options.small_px, full_px=options.input_px,
                    train_after=options.train_after, learning_rate=options.learning_rate))
            extra = tuple((name, Path(folder).resolve()) for name, _, folder in
                          (pair.partition("=") for pair in options.also_evaluate))
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        weights = options.backbone_weights or settings.backbone_weights
        if Path(weights).is_file():
            weights = str(Path(weights).resolve())
        create_run(run_dir, config, RunRequest(
            options.data.resolve(), (options.out or settings.versions_dir).resolve(), weights, options.source,
            options.promote, extra, tuple(options.note)))
    print(f"run {run_dir}", file=sys.stderr)
    with tqdm(disable=None, leave=False) as bar:
        try:
            folder = execute(run_dir, settings, _terminal(bar))
        except KeyboardInterrupt:
            bar.close()
            print(f"Stopped. Continue with: python -m training train --resume {run_dir}", file=sys.stderr)
            return 130
    if read_request(run_dir).promote:
        from model.registry import promote
        promote(settings, folder.name)
    _say_result(folder)
    return 0


def _terminal(bar: tqdm[NoReturn]) -> Watcher:
    """Show a run on one line of a terminal, or as one line an epoch in a log."""
    from training.run import Watcher

    shown = ""

    def phase(name: str, done: int, total: int) -> None:
        nonlocal shown
        if name != shown:
            shown = name
            if bar.disable:
                print(name, file=sys.stderr, flush=True)
                return
            bar.bar_format = "{desc}: {n_fmt}/{total_fmt} {bar} {remaining} left"
            bar.reset(total)
            bar.set_description_str(name, refresh=False)
        if not bar.disable:
            bar.update(done - bar.n)

    def fitting(progress: Progress) -> None:
        nonlocal shown
        shown = "fitting"
        left = f"{progress.seconds_left / 60:.0f} min left"
        val = "–" if progress.val_auroc is None else f"{progress.val_auroc:.4f}"
        text = (f"epoch {progress.epoch}/{progress.epochs} {progress.stage} · loss {progress.loss:.3f} · AUROC train "
                f"{progress.train_auroc:.4f}, validation {val} · {progress.images_per_second:.1f} images/s · {left}")
        if bar.disable:
            if progress.step == progress.steps:
                print(text, file=sys.stderr, flush=True)
            return
        bar.bar_format = "{desc} {bar} {percentage:3.0f}%"
        if bar.total != progress.steps or progress.step < bar.n:
            bar.reset(progress.steps)
        bar.set_description_str(text, refresh=False)
        bar.update(progress.step - bar.n)

    return Watcher(phase, fitting)


def _say_result(folder: Path) -> None:
    from model.registry import read_card
    from training.evaluate import evaluation_to_text

    card = read_card(folder)
    for evaluation in card.evaluations.values():
        print(evaluation_to_text(evaluation, card.version))
    print(f"version {card.version} in {folder}")


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    from model.engine import load_classifier
    from model.registry import active_version, version_folder
    from training.dataset import scan_folder
    from training.evaluate import evaluate_folder, evaluation_to_json, evaluation_to_text

    total = len(scan_folder(options.data).train)
    start_tensorflow()
    classifier = load_classifier(version_folder(settings, options.classifier or active_version(settings)))
    with tqdm(total=total, desc="evaluating", disable=None, leave=False) as bar:
        evaluation, failures = evaluate_folder(classifier, options.data, progress=bar.update)
    for path, reason in failures:
        print(f"left out {path}: {reason}", file=sys.stderr)
    if options.json:
        write_atomically(options.json, evaluation_to_json(evaluation, classifier.version) + "\n")
    print(evaluation_to_text(evaluation, classifier.version))
    return 0


def _audit(options: argparse.Namespace, settings: Settings) -> int:
    from training.audit import audit_folder, audit_to_json, audit_to_text
    from training.dataset import scan_folder

    folder = scan_folder(options.data)
    total = sum(len(part) for part in (folder.train, folder.val, folder.test))
    with tqdm(total=total, desc="auditing", disable=None, leave=False) as bar:
        audit = audit_folder(folder, bar.update)
    if options.json:
        write_atomically(options.json, audit_to_json(audit) + "\n")
    print(audit_to_text(audit))
    return 1 if audit.is_blocked else 0


def _versions(options: argparse.Namespace, settings: Settings) -> int:
    from model.registry import active_version, list_versions, load_card

    names = list_versions(settings)
    if not names:
        print("No classifier version yet. Make one with: python -m training train --data DIR", file=sys.stderr)
        return 0
    active = active_version(settings)
    for name in names:
        card = load_card(settings, name)
        area = card.evaluations["validation"].measures["auroc"]
        print(f"{'*' if name == active else ' '} {name}  {card.architecture}  {card.created_at[:10]}  "
              f"validation AUROC {area.value:.4f} ({area.low:.4f}–{area.high:.4f})")
    return 0


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    from model.registry import promote

    promote(settings, options.version)
    print(f"{options.version} is in use.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
