"""The classifier in use without what it knows of its training population, for tests that show it drawn films.

A drawn film is nobody's chest and unlike any, so the version that ships refuses it or says that it lies outside: right,
and of no use to a test of what the page does with a finding.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from core.settings import Settings
from model.registry import active_version, add_version, read_card, version_folder

VERSION = "2026.01.01-1"


def add_ungated(data_dir: Path) -> dict[str, str]:
    """Add that version below a data folder and return the environment in which it serves."""
    settings = Settings(data_dir)
    folder = version_folder(settings, active_version(settings))
    card = read_card(folder)
    add_version(
        settings.versions_dir,
        dataclasses.replace(card, version=VERSION),
        lambda path: shutil.copyfile(folder / card.weights_file, path),
    )
    return {"PNEUMOLENS_CLASSIFIER": VERSION}
