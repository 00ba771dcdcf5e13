"""python -m training: train a classifier from a folder, look into it, put it into use."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from core.errors import AppError
from core.settings import load_settings
from training.commands import (
    audit,
    candidate,
    evaluate,
    jobs,
    leaderboard,
    measure,
    preview,
    promote,
    recalibrate,
    train,
    tune,
    versions,
)

EXAMPLES = """examples:
  python -m training audit --data chest_xray --json audit.json
  python -m training preview-augmentation --data chest_xray
  python -m training train --data chest_xray
  python -m training start --data chest_xray --from in-use --preset quick
  python -m training evaluate --data chest_xray/test --json test.json
  python -m training compare --data chest_xray/test --classifier 2026.11.20-1 --with 2026.11.21-3
  python -m training compare 2026.11.21-145503
  python -m training tune --data chest_xray --architecture cnn_77k --trials 30
  python -m training leaderboard --data chest_xray --budget-minutes 10
  python -m training recalibrate --data chest_xray --classifier 2026.11.21-3
  python -m training versions
  python -m training rollback --reason "too many false alarms"

exit status: 0 done, 1 it could not be done (the last line says why), 2 wrong arguments, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = parser.add_subparsers(required=True, metavar="COMMAND")
    for commands in (
        audit,
        train,
        jobs,
        tune,
        evaluate,
        candidate,
        leaderboard,
        measure,
        preview,
        recalibrate,
        promote,
        versions,
    ):
        commands.add_commands(acts)
    options = parser.parse_args(arguments)
    try:
        return int(options.act(options, load_settings(os.environ)))
    except AppError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
