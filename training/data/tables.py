"""Tables of radiographs: a CSV or Parquet file with a path and a label in each row, and what else is known of the film.

Columns: path, label, and optionally patient, source, unit, age, sex, view, pathogen, split; others are ignored. Paths
are below the table's folder. A label is NORMAL or PNEUMONIA, 0 or 1, or one of the folders' names in
`training.data.layout`.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DatasetError
from training.data.layout import LATERALS, Split, class_of, describe, kind_of_skipped, pathogen_of, split_of
from training.data.sample import PATHOGENS, Sample

NEEDED = ("path", "label")
COLUMNS = (*NEEDED, "patient", "source", "unit", "age", "sex", "view", "pathogen", "split")
MOST_ROWS = 1_000_000
_LABELS = {"0": "NORMAL", "1": "PNEUMONIA", "0.0": "NORMAL", "1.0": "PNEUMONIA", "false": "NORMAL", "true": "PNEUMONIA"}
_EMPTY = frozenset({"", "nan", "none", "null", "na", "n/a", "unknown"})
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_LATERAL_VIEWS = frozenset({"LATERAL", "LL", "RL", "L", "LAT", "LLAT", "RLAT"})
_AGE_UNITS = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_LONGEST = 120
_LONGEST_LINE = 100_000


@dataclass(frozen=True, slots=True)
class Listed:
    """The radiographs of a source with their splits, and what was skipped, by kind.

    The patient of a sample is "" unless the table names it.
    """

    samples: tuple[tuple[Split, Sample], ...]
    skipped: Counter[str]


def read_table(path: Path, confined: bool = False) -> Listed:
    """List the radiographs of a table.

    Parameters
    ----------
    path
        A .csv or .parquet file.
    confined
        Whether links that lead out of the table's folder are refused, as for tables that anybody may have written.

    Raises
    ------
    DatasetError
        If the table cannot be read, lacks a column, has a value that means nothing, or names no file that exists.
    """
    skipped: Counter[str] = Counter()
    samples: dict[Path, tuple[Split, Sample]] = {}
    labels: Counter[str] = Counter()
    missing: list[str] = []
    for number, row in _rows(path):
        word = _LABELS.get(row["label"].lower(), row["label"])
        labels[word] += 1
        known = class_of(word)
        if known is None:
            skipped["rows without a label" if word.lower() in _EMPTY else f"rows labelled {word[:40]}"] += 1
            continue
        split, sample = _sample(path, number, row, known[0], known[1], confined)
        if sample.view in _LATERAL_VIEWS:
            skipped[LATERALS] += 1
        elif not sample.path.is_file():
            missing.append(row["path"])
        elif kind := kind_of_skipped(sample.path.parts[-1:], lambda sample=sample: _head(sample.path)):  # type: ignore[misc]
            skipped[kind] += 1
        elif (before := samples.setdefault(sample.path, (split, sample))) != (split, sample):
            raise _refused(path, number, "one row for each radiograph", f"{row['path']} again, with other values")
        elif before[1] is not sample:
            skipped["rows that repeat a radiograph"] += 1
    if missing and not samples:
        raise DatasetError(
            f"expected radiographs below {path.parent}. Received: no file {missing[0]} and no other of {path.name}",
            advice="Write paths relative to the table's folder, and put the table above the radiographs.",
        )
    if missing:
        skipped["rows whose file is missing"] += len(missing)
    if not samples:
        raise DatasetError(
            f"expected rows labelled NORMAL and PNEUMONIA in {path.name}. Received: labels {describe(list(labels))}",
            advice="Write NORMAL or PNEUMONIA, or 0 or 1, into the column label.",
        )
    return Listed(tuple(samples.values()), skipped)


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the names of a table's columns in small letters; () where it cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            return tuple(str(name).strip().lower() for name in parquet.read_schema(path).names)
        with path.open("rb") as file:
            return header_of(file.readline(_LONGEST_LINE))
    except (OSError, ValueError):
        return ()


def header_of(head: bytes) -> tuple[str, ...]:
    """Return the names of the columns in the first bytes of a CSV file, in small letters; () where it is none."""
    try:
        return _header(head.splitlines()[0].decode("utf-8-sig"))[0]
    except (IndexError, ValueError, csv.Error):
        return ()


def is_header_of_radiographs(columns: Sequence[str]) -> bool:
    """Whether a table with these columns is one of radiographs."""
    return set(NEEDED) <= set(columns)


def is_table_of_radiographs(path: Path) -> bool:
    """Whether a file is a table with the columns that are needed."""
    return is_header_of_radiographs(columns_of(path))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield (line, values of the known columns) of each row."""
    if not path.is_file():
        raise DatasetError(f"expected a table. Received: {path}", advice="Name a file that exists on this machine.")
    columns = columns_of(path)
    if not columns:
        raise DatasetError(
            f"expected names of columns in {path.name}. Received: none that can be read",
            advice="Save the table as CSV in UTF-8, with the names of the columns in its first line, or as Parquet.",
        )
    if absent := [name for name in NEEDED if name not in columns]:
        raise DatasetError(
            f"expected the columns {' and '.join(NEEDED)} in {path.name}. Received: {describe(columns)}",
            advice=f"Name the column {absent[0]}; further columns may be {', '.join(COLUMNS[2:])}.",
        )
    if twice := [name for name in COLUMNS if columns.count(name) > 1]:
        raise DatasetError(
            f"expected each column once in {path.name}. Received: {twice[0]} twice", advice="Rename one of the columns."
        )
    rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    for number, row in rows:
        if number > MOST_ROWS + 1:
            raise _refused(path, number, f"at most {MOST_ROWS} rows", "more")
        yield number, {name: row.get(name, "").strip() for name in COLUMNS}


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            columns, delimiter = _header(file.readline(_LONGEST_LINE))
            reader = csv.reader(file, delimiter=delimiter)
            for values in reader:
                if values:
                    yield reader.line_num + 1, dict(zip(columns, values, strict=False))
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"expected a table in {path.name}. Received: {error}",
            advice="Save the table as CSV in UTF-8, with one radiograph in each row.",
        ) from error


def _header(line: str) -> tuple[tuple[str, ...], str]:
    """Return the columns of a CSV's first line and its delimiter: the one that is in it most."""
    delimiter = max(",;\t", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    return tuple(name.strip().lower() for name in names), delimiter


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            wanted = {name: name.strip().lower() for name in file.schema_arrow.names}
            chosen = [name for name, plain in wanted.items() if plain in COLUMNS]
            number = 1
            for batch in file.iter_batches(columns=chosen):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {wanted[name]: _as_text(value) for name, value in row.items()}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            f"expected a table in {path.name}. Received: {error}", advice="Save the table as Parquet or CSV again."
        ) from error


def _as_text(value: Any) -> str:
    """Write a value as CSV would: a whole number without a point, since a missing value makes floats of a column."""
    if value is None or value != value:  # a NaN differs from itself
        return ""
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _sample(
    path: Path, number: int, row: Mapping[str, str], label: int, pathogen: Any, confined: bool
) -> tuple[Split, Sample]:
    word = {name: "" if value.lower() in _EMPTY else value[:_LONGEST] for name, value in row.items()}
    split: Split | None = split_of(word["split"]) if word["split"] else "train"
    if split is None:
        raise _refused(path, number, "train, val or test in the column split", row["split"])
    if word["pathogen"]:
        named = class_of(word["pathogen"])
        if named is None or not named[1]:
            raise _refused(path, number, f"{' or '.join(PATHOGENS)} in the column pathogen", row["pathogen"])
        pathogen = named[1]
    place = _place(path, number, row["path"], confined)
    below = place.relative_to(path.parent).parts
    sample = Sample(
        place,
        label,
        word["patient"],
        bool(word["patient"]),
        pathogen=pathogen_of(below, pathogen) if label else "",
        source=word["source"],
        unit=word["unit"],
        age_years=_age(path, number, word["age"]),
        sex=_SEXES.get(word["sex"].lower(), ""),
        view=word["view"].upper(),
    )
    return split, sample


def _place(path: Path, number: int, text: str, confined: bool) -> Path:
    """Return the file of a row; a table must not lead to files elsewhere."""
    place = Path(os.path.normpath(path.parent / text)) if text and "\0" not in text else path.parent
    is_below = place != path.parent and place.is_relative_to(path.parent)
    if not is_below or (confined and not _is_inside(place, path.parent)):
        raise _refused(path, number, "a path below the table's folder", text or "none")
    return place


def _is_inside(file: Path, root: Path) -> bool:
    """Whether a file is below a folder after symbolic links are resolved."""
    return file.resolve().is_relative_to(root.resolve())


def _age(path: Path, number: int, text: str) -> float | None:
    """Read an age in years, or as DICOM has it ("034Y", "006M")."""
    if not text:
        return None
    unit = _AGE_UNITS.get(text[-1:].upper())
    try:
        years = float(text[:-1]) / unit if unit else float(text)
    except ValueError:
        years = -1.0
    if not 0 <= years <= 130:
        raise _refused(path, number, "an age in years in the column age", text)
    return years


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(132)
    except OSError:
        return b""


def _refused(path: Path, number: int, expected: str, received: str) -> DatasetError:
    return DatasetError(
        f"expected {expected} in line {number} of {path.name}. Received: {received[:_LONGEST]}",
        advice="Correct the table, then try again.",
    )
