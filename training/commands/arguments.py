"""Form of a command: its help with examples, and the types of its arguments with their error messages."""

from __future__ import annotations

import argparse
import importlib.util
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import AppError, ClassifierError
from core.settings import Settings
from model.networks.architectures import Architecture, find_architecture, is_own
from training.data.data_request import PATIENT_RULES, DataRequest
from training.data.description import FIELDS, checked, read_stated


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


class WrongArgument(AppError):
    """An argument of a command cannot be used; the exit status is 2, as for those that argparse refuses."""


def trainable(name: str) -> Architecture:
    """Return the architecture of a name; of a function of one's own, only whether its module is there is looked at.

    Raises
    ------
    WrongArgument
        If the name is unknown, or the module cannot be found.
    """
    try:
        network = find_architecture(name)
    except ClassifierError as error:
        raise WrongArgument(str(error), advice=error.advice) from error
    if is_own(name):
        module = name.partition(":")[0]
        try:
            found = importlib.util.find_spec(module)
        except Exception as error:  # finding it imports the packages above it, which may raise anything
            found, why = None, f" ({type(error).__name__}: {error})"
        else:
            why = ""
        if found is None:
            raise WrongArgument(
                f"expected a module that can be imported. Received: {module}{why}",
                advice="Run the command in the folder that holds the module, or install its package.",
            )
    return network


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


def add_data_options(parser: Any, purpose: str = "", required: bool = True) -> None:
    """Add `--data` and what decides on the patients, from which `data_of` makes a request.

    Parameters
    ----------
    parser
        A parser, or a group of exclusive options, which then takes `--data` alone.
    purpose
        What is done with the data, before the forms that they may have.
    required
        Whether the command cannot do without.
    """
    form = "a folder with NORMAL/ and PNEUMONIA/, below train/ [val/] [test/] or not, or a table of paths and labels"
    about = f"{purpose}: {form}" if purpose else form
    needs = {"required": True} if required else {}
    parser.add_argument(
        "--data",
        type=_source,
        action="append",
        metavar="[NAME=]DIR",
        help=f"{about} (.csv, .parquet); may be repeated",
        **needs,
    )


def add_description_options(parser: argparse.ArgumentParser) -> None:
    """Add what the administrator states of the data for the model card, from which `stated_of` returns it."""
    group = parser.add_argument_group(
        "description of the data", "for the model card, where headers and tables do not say it"
    )
    for name in ("source", "licence", "population", "ages"):
        group.add_argument(f"--{name}", default="", metavar="TEXT", help=FIELDS[name][:1].lower() + FIELDS[name][1:])
    group.add_argument(
        "--describe", type=Path, metavar="FILE", help=f"JSON file with any of: {', '.join(FIELDS)}; options win"
    )


def stated_of(options: argparse.Namespace) -> dict[str, str]:
    """Return what the options say of the data, by the keys of `training.data.description.FIELDS`.

    Parameters
    ----------
    options
        Of a parser with `add_description_options`.

    Raises
    ------
    DatasetError
        If the file of `--describe` cannot be read, or a text is too long.
    """
    said = {} if options.describe is None else read_stated(options.describe)
    given = {name: getattr(options, name) for name in ("source", "licence", "population", "ages")}
    return said | checked({name: text for name, text in given.items() if text})


def add_patient_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how patients are found, beside `--data`."""
    parser.add_argument(
        "--patient-pattern",
        default="",
        metavar="REGEX",
        help="regular expression for whole file names without their ending, with the patient in parentheses",
    )
    parser.add_argument(
        "--patients",
        choices=PATIENT_RULES,
        default=PATIENT_RULES[0],
        help="auto: by table, DICOM header, known file names or patient folders; folder: by the file's folder; "
        "file: each file its own (%(default)s)",
    )


def data_of(options: argparse.Namespace, settings: Settings) -> DataRequest:
    """Return the request of the data that the options name, with absolute paths.

    Parameters
    ----------
    options
        With `add_data_options` and, where the command has them, `add_patient_options`.
    settings
        The installation, whose key hashes patient IDs.

    Raises
    ------
    DatasetError
        If names repeat, or the pattern cannot be used.
    """
    given = options.data
    return DataRequest(
        tuple(path.resolve() for _, path in given),
        tuple(name for name, _ in given) if any(name for name, _ in given) else (),
        getattr(options, "patient_pattern", ""),
        getattr(options, "patients", PATIENT_RULES[0]),
        settings.patient_key_file,
    )


def data_arguments(request: DataRequest) -> str:
    """Return the options that name the data of `request`, to be pasted into a shell."""
    given = request.given_names or ("",) * len(request.sources)
    words = []
    for name, path in zip(given, request.sources, strict=True):
        words += ["--data", f"{name}={path}" if name else str(path)]
    if request.patient_pattern:
        words += ["--patient-pattern", request.patient_pattern]
    if request.patient_rule != PATIENT_RULES[0]:
        words += ["--patients", request.patient_rule]
    return shlex.join(words)


def _source(text: str) -> tuple[str, Path]:
    """Parse DIR or NAME=DIR; a path that exists is a path, whatever is in it."""
    name, equals, folder = text.partition("=")
    if equals and name and folder and not Path(text).exists():
        return name, Path(folder)
    return "", Path(text)
