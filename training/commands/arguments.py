"""Form of a command: its help with examples, and the types of its arguments with their error messages."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_command(acts: Any, name: str, summary: str, *examples: str, note: str = "") -> argparse.ArgumentParser:
    """Add a command to the sub-parsers of `python -m training`.

    Parameters
    ----------
    acts
        What `ArgumentParser.add_subparsers` returned.
    name
        The command's name.
    summary
        What the command does, as an imperative without a capital letter or a full stop.
    examples
        Commands that can be pasted, without `python -m training`.
    note
        What else the user should know, after the examples.
    """
    lines = ["examples:" if len(examples) > 1 else "example:", *(f"  python -m training {one}" for one in examples)]
    parser: argparse.ArgumentParser = acts.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n".join([*lines, *(["", note] if note else [])]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type for numbers from `low` to `high`, both included, of the `kind` int or float.

    The type raises argparse.ArgumentTypeError for anything else.
    """

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected a {'whole ' if kind is int else ''}number from {low:g} to {high:g}. Received: {text}"
            )
        return value

    return parse


def share(text: str) -> float:
    """Parse a number between 0 and 1, both excluded.

    Raises
    ------
    argparse.ArgumentTypeError
        For anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value < 1:
        return value
    raise argparse.ArgumentTypeError(f"expected a share between 0 and 1. Received: {text}")


def new_file(text: str) -> Path:
    """Parse the path of a file in an existing folder, so that a long computation does not end with a missing folder.

    Raises
    ------
    argparse.ArgumentTypeError
        If the folder is missing, or the path is that of a folder.
    """
    if not (path := Path(text)).resolve().parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists. Received: {text}")
    return path


def named_folder(text: str) -> tuple[str, Path]:
    """Parse NAME=DIR.

    Returns
    -------
    tuple of (str, Path)
        Name and absolute folder.

    Raises
    ------
    argparse.ArgumentTypeError
        For anything else.
    """
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, such as ward=films. Received: {text!r}")
    return name, Path(folder).resolve()
