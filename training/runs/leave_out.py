"""Leaving one style, source or X-ray unit out of training: its patients become validation.

>>> loaded, sentence = leave_out(loaded, audit, "style=21")
>>> sentence
'style 21 was left out of training: …'
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.errors import DatasetError
from core.formatting import format_count
from training.data.audit import Audit
from training.data.loading import LoadedFolder
from training.evaluation.groups import memberships

KINDS = ("style", "source", "unit")


def group_named(text: str) -> tuple[str, str]:
    """Return kind and name of the group that `text`, such as "style=3", names.

    Raises
    ------
    DatasetError
        Unless the kind is style, source or unit and the name is not empty.
    """
    kind, _, name = text.partition("=")
    if kind not in KINDS or not name:
        raise DatasetError(
            f"expected {', '.join(f'{one}=NAME' for one in KINDS)}. Received: {text!r}",
            advice="Look for the names in python -m training audit, then give one as in --leave-out style=3.",
        )
    return kind, name


def leave_out(loaded: LoadedFolder, audit: Audit, text: str) -> tuple[LoadedFolder, str]:
    """Move every patient with a film of one group from training to validation.

    Parameters
    ----------
    loaded
        The dataset with its split.
    audit
        Tells the style of each file.
    text
        The group, such as "style=3".

    Returns
    -------
    tuple of (LoadedFolder, str)
        The dataset with the other split, and a sentence for the card.

    Raises
    ------
    DatasetError
        If no radiograph is of the group, or training would lack a class without it.
    """
    kind, name = group_named(text)
    styles = [audit.style_of.get(loaded.folder.name_of(sample), "") for sample in loaded.samples]
    groups = memberships(loaded.samples, styles).get(kind, [])
    if name not in groups:
        raise DatasetError(
            f"expected one of the {kind}s {', '.join(sorted(set(groups))) or '(none is known)'}. Received: {name}",
            advice="Look for the names in python -m training audit.",
        )
    of_group = np.array([one == name for one in groups])
    together = np.array(loaded.groups or [sample.patient for sample in loaded.samples])
    moved = np.isin(together, together[of_group])
    held_out = loaded.held_out | moved
    if {sample.label for sample, out in zip(loaded.samples, held_out, strict=True) if not out} != {0, 1}:
        raise DatasetError(
            f"expected radiographs of both classes outside {kind} {name}. Received: one class or none",
            advice="Leave out another group, or add radiographs.",
        )
    films = format_count(int(of_group.sum()), "radiograph")
    return replace(loaded, held_out=held_out), (
        f"{kind} {name} was left out of training: its {films}, and all others of the same patients, are validation, "
        "and the network has learned from none of them. Calibration and operating points are chosen on validation, "
        "so they have met them."
    )
