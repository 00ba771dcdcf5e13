"""Description of training data for the model card: what the files say, else what the administrator stated.

>>> description = describe(scan_folder(Path("chest_xray")).train, {})
>>> description["ages"]
{'value': '1–5 years', 'from': 'published'}
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DatasetError
from core.json_text import parse_json
from model.known_data import KERMANY_KNOWN, NIH_KNOWN
from training.data.sample import CLASSES, Sample

# What a card says of its data, with the question to the administrator.
FIELDS = {
    "source": "Where the radiographs come from: hospitals, years, a citation",
    "licence": "Licence, or the permission under which the radiographs are used",
    "population": "Who was imaged, such as: children seen for suspected pneumonia at one emergency department",
    "ages": "Ages of the patients, such as: 2 months to 16 years",
    "sex": "Share of girls and boys, or of women and men",
    "projections": "Projections, such as: AP, supine, with a few PA",
    "units": "X-ray units that made the radiographs",
    "period": "When the radiographs were made",
    "labels": "Who decided which radiograph shows pneumonia, and how",
}
FROM_FILES, FROM_ADMINISTRATOR = "headers and tables", "stated by the administrator"
RECOGNISED = "published"
KERMANY, NIH = "kermany", "nih"
KNOWN = {KERMANY: KERMANY_KNOWN, NIH: NIH_KNOWN}
# Published ages of a known dataset whose files do not say them: the youngest and the oldest.
_PUBLISHED_AGES = {KERMANY: (1.0, 5.0)}
MOST_CHARACTERS = 500
# The names of both classes: "IM-0115-0001" alone is also how viewers export anybody's films.
_NAMES = {
    KERMANY: {
        0: re.compile(r"(?:NORMAL2-)?IM-\d{4}-\d{4}(?:-\d{4})?|NORMAL-\d+-\d+"),
        1: re.compile(r"person\d+_(?:bacteria|virus)_\d+(?:_\d+)?|(?:BACTERIA|VIRUS)-\d+-\d+"),
    },
    NIH: {label: re.compile(r"\d{8}_\d{3}") for label in (0, 1)},
}
_BANDS = (("under 1 year", 0, 1), ("1–5 years", 1, 6), ("6–17 years", 6, 18), ("18 years and older", 18, 200))


def describe(samples: Sequence[Sample], stated: Mapping[str, str]) -> dict[str, Any]:
    """Describe the radiographs of a dataset.

    Parameters
    ----------
    samples
        All radiographs, of training and validation.
    stated
        What the administrator stated, by the keys of `FIELDS`.

    Returns
    -------
    dict
        For each key of `FIELDS` its `value` and where it is `from`, or None where nobody has said it. Further
        "age_bands", counts with "unknown"; "age_range", the 2.5th and 97.5th percentile in years, or None; "sources",
        the names of the sources with their counts; "recognised", counts by known dataset; "by_source", a dict for each
        of several sources; "n". Radiographs of a known dataset beside others count with its published ages.
    """
    known = _known(samples)
    recognised = {name: sum(s.source in own for s in samples) for name, own in known.items() if own}
    is_kermany = recognised.get(KERMANY, 0) == len(samples) > 0
    ages = [sample.age_years for sample in samples if sample.age_years is not None]
    if not is_kermany:
        for name, span in _PUBLISHED_AGES.items():
            unsaid = sum(s.age_years is None and s.source in known[name] for s in samples)
            ages += [span[i % 2] for i in range(unsaid)]
    found: dict[str, Any] = {
        "ages": _ages_in_words(ages, len(samples)),
        "sex": _counted((sample.sex for sample in samples), {"M": "male", "F": "female"}),
        "projections": _counted((sample.view for sample in samples), {}),
        "units": _counted((sample.unit for sample in samples), {}),
    }
    values: dict[str, Any] = {}
    for name in FIELDS:
        if found.get(name):
            values[name] = {"value": found[name], "from": FROM_FILES}
        elif stated.get(name):
            values[name] = {"value": stated[name], "from": FROM_ADMINISTRATOR}
        elif is_kermany and name in KERMANY_KNOWN:
            values[name] = {"value": KERMANY_KNOWN[name], "from": RECOGNISED}
        else:
            values[name] = None
    bands = {band: sum(low <= age < high for age in ages) for band, low, high in _BANDS}
    return values | {
        "age_bands": {**bands, "unknown": len(samples) - len(ages)},
        "age_range": [round(float(one), 1) for one in np.percentile(ages, (2.5, 97.5))] if ages else None,
        "sources": dict(Counter(sample.source for sample in samples if sample.source)),
        "recognised": recognised,
        "by_source": _by_source(samples, known),
        "n": len(samples),
    }


def _by_source(samples: Sequence[Sample], known: Mapping[str, Collection[str]]) -> list[dict[str, Any]]:
    """Describe each of several sources: its radiographs by class, and what is published about it."""
    names = list(dict.fromkeys(sample.source for sample in samples))
    described = []
    for name in names if len(names) > 1 else ():
        own = [sample for sample in samples if sample.source == name]
        dataset = next((one for one, sources in known.items() if name in sources), None)
        ages = [sample.age_years for sample in own if sample.age_years is not None]
        published = dict(KNOWN[dataset]) if dataset else {}
        said = {
            "ages": _ages_in_words(ages, len(own)) or published.get("ages"),
            "projections": _counted((sample.view for sample in own), {}) or published.get("projections"),
        }
        counts = {label: sum(sample.label == i for sample in own) for i, label in enumerate(CLASSES)}
        described.append({"name": name, **counts, "dataset": dataset, **published, **said})
    return described


def read_stated(path: Path) -> dict[str, str]:
    """Read what the administrator states of the data.

    Parameters
    ----------
    path
        A JSON file: an object with keys of `FIELDS`.

    Raises
    ------
    DatasetError
        If the file cannot be read or has another form.
    """
    try:
        values = parse_json(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"expected a description of the data as JSON. Received: {error}",
            advice='Write an object such as {"licence": "CC BY 4.0", "ages": "0–16 years"}.',
        ) from error
    return checked(values)


def checked(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is stated, without empty texts.

    Parameters
    ----------
    values
        Texts by the keys of `FIELDS`, each of at most `MOST_CHARACTERS` characters.

    Raises
    ------
    DatasetError
        For another key, or what is no text or too long.
    """
    for name, value in values.items():
        if name not in FIELDS or not isinstance(value, str) or len(value) > MOST_CHARACTERS:
            raise DatasetError(
                f"expected texts of at most {MOST_CHARACTERS} characters for {', '.join(FIELDS)}. Received: {name}",
                advice="Correct the description of the data.",
            )
    return {name: " ".join(value.split()) for name, value in values.items() if value.strip()}


def _known(samples: Sequence[Sample]) -> dict[str, set[str]]:
    """Return the sources whose file names, in both classes, are those of a known dataset, by its name."""
    found: dict[str, set[str]] = {name: set() for name in _NAMES}
    for source in dict.fromkeys(sample.source for sample in samples):
        own = [sample for sample in samples if sample.source == source]
        if {sample.label for sample in own} != set(range(len(CLASSES))):
            continue
        for name, patterns in _NAMES.items():
            if all(patterns[sample.label].fullmatch(sample.path.stem) for sample in own):
                found[name].add(source)
    return found


def _ages_in_words(ages: Sequence[float], n: int) -> str:
    if not ages:
        return ""
    low, quarter, median, three_quarters, high = np.percentile(ages, (0, 25, 50, 75, 100))
    known = "" if len(ages) == n else f"; known for {len(ages):,} of {n:,} radiographs"
    return (
        f"{_years(low)}–{_years(high)} years, median {_years(median)} "
        f"(quartiles {_years(quarter)}–{_years(three_quarters)}){known}"
    )


def _years(age: float) -> str:
    return f"{age:.1f}" if age < 2 else f"{int(age)}"


def _counted(values: Iterable[str], words: Mapping[str, str]) -> str:
    """Return values with their counts, most frequent first; "" where all are unknown."""
    counts = Counter(words.get(value, value) for value in values)
    unknown = counts.pop("", 0)
    if not counts:
        return ""
    said = [f"{value} {n:,}" for value, n in counts.most_common(12)]
    others = len(counts) - len(said)
    return ", ".join([*said, *([f"{others} others"] if others else []), *([f"unknown {unknown:,}"] if unknown else [])])
