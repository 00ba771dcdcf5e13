"""The generated tables of the documents agree with the data in the repository."""

from __future__ import annotations

import json

import pytest

from benchmarks.tables import DOCUMENTS, TABLES, performance, robustness
from core.settings import SHIPPED_WEIGHTS
from model.registry import read_card
from tests import ROOT


@pytest.mark.parametrize("name", DOCUMENTS)
def test_committed_table_is_what_the_command_writes(name: str) -> None:
    assert (TABLES / name).read_text(encoding="utf-8") == DOCUMENTS[name](), "run python -m benchmarks.tables"


def test_no_other_table_is_committed() -> None:
    assert {path.name for path in TABLES.iterdir()} == set(DOCUMENTS)


@pytest.mark.parametrize("table", [performance, robustness])
def test_evaluation_page_repeats_the_rows_of_the_card(table: object) -> None:
    version = json.loads((SHIPPED_WEIGHTS / "active.json").read_text(encoding="utf-8"))["version"]
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").splitlines()
    rows = table(read_card(SHIPPED_WEIGHTS / version)).splitlines()[2:]  # type: ignore[operator]
    assert len(rows) > 5 and not set(rows) - set(page)
