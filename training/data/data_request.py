"""What a training, an audit or an evaluation reads: one or several sources, and how their patients are found.

>>> DataRequest.of(Path("ward/films"), Path("clinic/films")).names
('ward/films', 'clinic/films')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DatasetError
from training.data.patient_pattern import PatientPattern

TABLES = frozenset({".csv", ".parquet"})
# auto: by table, DICOM header, known file names or a patient's folder; folder: by the file's folder.
PATIENT_RULES = ("auto", "folder", "file")
# The rule of runs and versions from before 0.2.0, which must be split as they were.
AS_BEFORE = "before_0_2"


@dataclass(frozen=True, slots=True)
class DataRequest:
    """The sources of a dataset.

    Attributes
    ----------
    sources
        Folders, or tables (.csv, .parquet) above their radiographs; at least one, none below another one.
    given_names
        What figures call each source; (), or "" in a place, for the folder's own name.
    patient_pattern
        Regular expression that matches a whole file name without its ending, with the patient as its first group; ""
        for none. Files that it does not match follow `patient_rule`.
    patient_rule
        One of `PATIENT_RULES`.
    key_file
        File of the key with which DICOM patient IDs are hashed (`training.data.patients`); None for a key that is lost
        with the process.
    """

    sources: tuple[Path, ...]
    given_names: tuple[str, ...] = ()
    patient_pattern: str = ""
    patient_rule: str = "auto"
    key_file: Path | None = None

    def __post_init__(self) -> None:
        """Check that there is a source, that names and rule are valid, and that no source holds another."""
        if not self.sources:
            raise DatasetError("expected at least one source of data. Received: none", advice="Name a folder: --data.")
        if self.patient_rule not in (*PATIENT_RULES, AS_BEFORE):
            raise DatasetError(
                f"expected one of {', '.join(PATIENT_RULES)}. Received: {self.patient_rule}",
                advice="Choose one of the rules by which patients are found.",
            )
        if self.patient_pattern:
            PatientPattern(self.patient_pattern)
        places = [path.resolve() for path in self.sources]
        for i, one in enumerate(places):
            for j, other in enumerate(places):
                if i != j and one.is_relative_to(other):
                    raise DatasetError(
                        f"expected sources beside each other. Received: {one} in {other}",
                        advice="Name each radiograph's folder once.",
                    )
        if self.given_names and len(self.given_names) != len(self.sources):
            raise DatasetError(
                f"expected a name for each source. Received: {len(self.given_names)} for {len(self.sources)}",
                advice="Write each source as NAME=DIR, or none of them.",
            )
        if len(set(self.names)) < len(self.names):
            raise DatasetError(
                f"expected a name of its own for each source. Received: {', '.join(self.names)}",
                advice="Write each source as NAME=DIR, with different names.",
            )

    @classmethod
    def of(cls, *data: Path | DataRequest) -> DataRequest:
        """Return the request of some folders or tables; a request is returned as it is."""
        if len(data) == 1 and isinstance(data[0], DataRequest):
            return data[0]
        return cls(tuple(path for path in data if isinstance(path, Path)))

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folder above the radiographs of each source: the source itself, or that of a table."""
        return tuple(root_of(path) for path in self.sources)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each source: as given, else the folder's own, with folders above it where several have the same."""
        given = self.given_names or ("",) * len(self.sources)
        places = [path.resolve() for path in self.sources]
        found = [name or _own_name(place) for name, place in zip(given, places, strict=True)]
        for levels in range(2, 5):
            taken = [name for name in found if found.count(name) > 1]
            found = [
                "/".join(place.parts[1:][-levels:]) if name in taken and not own else name
                for name, place, own in zip(found, places, given, strict=True)
            ]
        return tuple(found)

    @property
    def title(self) -> str:
        """All sources in a few words: their names."""
        return " + ".join(self.names)

    def place(self, path: Path) -> tuple[int, Path]:
        """Return the place of a radiograph's source among `roots`, and the radiograph's path below it.

        Raises
        ------
        ValueError
            If it is below none of them.
        """
        for i, root in enumerate(self.roots):
            if path.is_relative_to(root):
                return i, path.relative_to(root)
        raise ValueError(f"expected a radiograph of {self.title}. Received: {path}")

    def name_of(self, path: Path) -> str:
        """Return a radiograph's path below its source, after the source's name where there are several."""
        i, below = self.place(path)
        return below.as_posix() if len(self.sources) == 1 else f"{self.names[i]}/{below.as_posix()}"

    def resolved(self) -> DataRequest:
        """Return the request with absolute paths."""
        key = None if self.key_file is None else self.key_file.resolve()
        return DataRequest(
            tuple(path.resolve() for path in self.sources),
            self.given_names,
            self.patient_pattern,
            self.patient_rule,
            key,
        )

    def with_sources(self, *sources: Path) -> DataRequest:
        """Return a request of other sources whose patients are found in the same way."""
        return DataRequest(sources, (), self.patient_pattern, self.patient_rule, self.key_file)


def root_of(source: Path) -> Path:
    """Return the folder above the radiographs of a folder or a table."""
    return source.parent if source.suffix.lower() in TABLES else source


def _own_name(place: Path) -> str:
    return place.stem if place.suffix.lower() in TABLES else place.name or str(place)


def request_to_values(request: DataRequest) -> dict[str, Any]:
    """Return the values of a request for JSON."""
    return {
        "sources": [str(path) for path in request.sources],
        "names": list(request.given_names),
        "patient_pattern": request.patient_pattern,
        "patient_rule": request.patient_rule,
        "key_file": None if request.key_file is None else str(request.key_file),
    }


def request_from_values(values: Mapping[str, Any]) -> DataRequest:
    """Return the request of values that `request_to_values` wrote.

    Raises
    ------
    DatasetError
        If a value is missing or invalid.
    """
    try:
        key = values.get("key_file")
        return DataRequest(
            tuple(Path(path) for path in values["sources"]),
            tuple(str(name) for name in values.get("names", ())),
            str(values.get("patient_pattern", "")),
            str(values.get("patient_rule", "auto")),
            None if key is None else Path(key),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"expected the sources of a dataset. Received: {error!r}", advice="Start again with --data."
        ) from error
