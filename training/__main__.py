"""Entry point of `python -m training`: one module of `training.commands` for each group of commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from core.errors import AppError
from core.printable import printable, printable_stdout
from core.settings import load_settings
from training.commands import (
    anatomy,
    audit,
    cross_validate,
    evaluate,
    export,
    jobs,
    leaderboard,
    ledger,
    localisation,
    preview,
    promote,
    recalibrate,
    speed,
    train,
    tune,
    versions,
    workers,
)
from training.commands.arguments import WrongArgument

EXAMPLES = """examples:
  python -m training audit --data chest_xray --json audit.json
  python -m training preview-augmentation --data chest_xray
  python -m training train --data chest_xray
  python -m training cross-validate --data chest_xray --folds 5 --preset quick
  python -m training start --data chest_xray --from in-use --preset quick
  python -m training evaluate --data chest_xray/test --json test.json
  python -m training compare --data chest_xray/test --classifier 2026.11.20-1 --with 2026.11.21-3
  python -m training compare 2026.11.21-145503
  python -m training localisation --data chest_xray --masks lung_masks --json lungs.json
  python -m training anatomy --data chest_xray/train --masks lung_masks --out anatomy
  python -m training test-set add ward-2026 --data films/test
  python -m training tune --data chest_xray --architecture cnn_77k --trials 30
  python -m training leaderboard --data chest_xray --budget-minutes 10 --out leaderboard.md
  python -m training recalibrate --data chest_xray --classifier 2026.11.21-3
  python -m training export 2026.11.21-3 --format onnx --out lens_onnx
  python -m training versions
  python -m training rollback --reason "too many false alarms"

exit status: 0 success, 1 failure (the last line says what to do), 2 wrong arguments, 130 interrupted,
141 whoever read the output closed it
"""

# What a shell reports of a command that SIGPIPE ended, such as `yes` in `yes | head -1`.
CLOSED_PIPE = 141


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command; each sets `act` to (options, settings) → exit status."""
    made = argparse.ArgumentParser(
        prog="python -m training",
        description="Train a classifier from a folder, evaluate it, and promote it to clinical use.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = made.add_subparsers(required=True, metavar="COMMAND")
    for commands in (
        audit,
        train,
        cross_validate,
        jobs,
        tune,
        evaluate,
        localisation,
        anatomy,
        ledger,
        leaderboard,
        speed,
        preview,
        recalibrate,
        export,
        promote,
        versions,
    ):
        commands.add_commands(acts)
    return made


def worker_parser() -> argparse.ArgumentParser:
    """Return the parser of the hidden commands, which neither help nor errors list."""
    made = argparse.ArgumentParser(prog="python -m training", add_help=False)
    workers.add_workers(made.add_subparsers(required=True, metavar="COMMAND"))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_worker = bool(given) and given[0] in workers.NAMES
    try:
        try:
            options = (worker_parser() if is_worker else parser()).parse_args(given)
        except SystemExit:  # after --help, whose text may still wait to be written
            sys.stdout.flush()
            raise
        with printable_stdout():
            status = int(options.act(options, load_settings(os.environ)))
        sys.stdout.flush()
        return status
    except AppError as error:
        print(printable(str(error)), printable(error.advice), sep="\n", file=sys.stderr)
        return 2 if isinstance(error, WrongArgument) else 1
    except BrokenPipeError:
        # Whoever read the output has closed it, as `head` does; nothing may be written to it when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
