"""The record of a split, split.csv: one row for each radiograph of a run, with its part.

Paths are below the folder of their source, so that a dataset can be moved. Files of earlier versions, without the
columns after `part`, are read as well.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DatasetError
from core.files import private_opener
from core.printable import from_spreadsheet_text, spreadsheet_text
from training.data.dataset import DatasetFolder
from training.data.sample import CLASSES, PATHOGENS, Sample

MANIFEST = "split.csv"
_COLUMNS = ("path", "label", "patient", "patient_known", "sha256", "part")
_LATER = ("group", "root", "split", "pathogen", "source", "unit", "age_years", "sex", "view")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One radiograph of a run.

    Attributes
    ----------
    sample
        Its path is below the folder of its source.
    part
        "train" or "validation", as the run used it.
    root
        Place of its source among those of the run.
    split
        "train" or "val", as the dataset has it.
    group
        What the split kept together; "" for a split that knows patients and files alone, as before 0.2.0.
    """

    sample: Sample
    part: str
    root: int = 0
    split: str = "train"
    group: str = ""


def write_manifest(
    path: Path,
    samples: Sequence[Sample],
    held_out: npt.NDArray[np.bool_],
    folder: DatasetFolder,
    groups: Sequence[str] = (),
) -> None:
    """Write split.csv.

    Parameters
    ----------
    path
        The file.
    samples
        (n,), samples of `folder`.
    held_out
        (n,), bool.
    folder
        The dataset.
    groups
        (n,), the group of each sample that the split keeps together; () for a split that knows patients and files
        alone.
    """
    val = {sample.path for sample in folder.val}
    with open(path, "w", newline="", encoding="utf-8", opener=private_opener) as file:
        writer = csv.writer(file)
        writer.writerow((*_COLUMNS, *_LATER))
        for i, (sample, out) in enumerate(zip(samples, held_out, strict=True)):
            root, below = folder.request.place(sample.path)
            writer.writerow(
                (
                    spreadsheet_text(below.as_posix()),
                    CLASSES[sample.label],
                    spreadsheet_text(sample.patient),
                    int(sample.patient_known),
                    sample.sha256,
                    "validation" if out else "train",
                    spreadsheet_text(groups[i]) if groups else "",
                    root,
                    "val" if sample.path in val else "train",
                    sample.pathogen,
                    spreadsheet_text(sample.source),
                    spreadsheet_text(sample.unit),
                    "" if sample.age_years is None else f"{sample.age_years:g}",
                    sample.sex,
                    spreadsheet_text(sample.view),
                )
            )


def read_manifest_rows(path: Path) -> tuple[ManifestRow, ...]:
    """Return the radiographs of a split.csv.

    Raises
    ------
    DatasetError
        If the file is missing or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(_row(row) for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"expected the split of a training run. Received: {type(error).__name__}",
            advice="The run's records are incomplete; start a new run.",
        ) from error


def _row(row: dict[str, Any]) -> ManifestRow:
    path = Path(from_spreadsheet_text(row["path"]))
    pathogen = PATHOGENS.get(row.get("pathogen") or "", "")
    age = row.get("age_years") or ""
    sample = Sample(
        path,
        CLASSES.index(row["label"]),
        from_spreadsheet_text(row["patient"]),
        row["patient_known"] == "1",
        pathogen=pathogen,
        sha256=row["sha256"],
        source=from_spreadsheet_text(row.get("source") or ""),
        unit=from_spreadsheet_text(row.get("unit") or ""),
        age_years=float(age) if age else None,
        sex=row.get("sex") or "",
        view=from_spreadsheet_text(row.get("view") or ""),
    )
    # Earlier versions wrote no split; their validation radiographs of the dataset lay in val/.
    split = row.get("split") or ("val" if path.parts[:1] == ("val",) else "train")
    return ManifestRow(
        sample, row["part"], int(row.get("root") or 0), split, from_spreadsheet_text(row.get("group") or "")
    )
