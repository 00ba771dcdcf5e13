from __future__ import annotations

import re
from dataclasses import replace

from model.card import GroupResult, Measure
from pages.performance.group_table import group_table
from tests.pages.performance.test_performance import a_card, an_evaluation

NOTHING = Measure(float("nan"), float("nan"), float("nan"))


def group(kind: str, name: str, specificity: float, normal: int = 100) -> GroupResult:
    right = round(specificity * normal)
    rate = Measure(specificity, specificity - 0.08, specificity + 0.05)
    return GroupResult(kind, name, normal, 0, normal - right, right, 0, NOTHING, NOTHING, rate, False)


GROUPS = (
    group("style", "7", 0.1),
    group("source", "N & M", 0.9),
    group("age", "18 years and over", 0.4),
    group("age", "6–12 years", 0.9),
    group("age", "under 1 year", 0.9, normal=12),
    group("view", "PA", 0.95),
    group("age", "unknown", 0.95),
)


def rows(html: str) -> dict[str, list[str]]:
    found = re.findall(r"<tr><th>([^<]+)<span>.*?</span></th>(.*?)</tr>", html)
    return {name: re.findall(r"<td>(.*?)</td>", cells) for name, cells in found}


def test_each_group_says_whether_its_radiographs_get_a_finding() -> None:
    card = a_card(anatomy_sha256="a" * 64, evaluations={"validation": replace(an_evaluation(), groups=GROUPS)})
    table = group_table(card, card.evaluations["validation"])
    assert table is not None
    found = rows(table)
    assert {name: cells[-1] for name, cells in found.items()} == {
        "18 years and over": "no",
        "6–12 years": "yes",
        "under 1 year": "–",
        "unknown": "–",
        "PA": "as the age",
        "N &amp; M": "–",
    }
    assert found["6–12 years"][1] == "0.90 <span>(0.82–0.95)</span>" and found["6–12 years"][0] == "–"
    assert "100 normal" in table and "at least 30 normal" in table


def test_versions_and_sets_that_decide_nothing_show_the_figures_alone() -> None:
    evaluation = replace(an_evaluation(), groups=GROUPS)
    earlier = a_card(evaluations={"validation": evaluation})
    table = group_table(earlier, evaluation)
    assert table is not None and "Finding given" not in table and len(rows(table)["PA"]) == 3
    framed = a_card(anatomy_sha256="a" * 64, evaluations={"validation": an_evaluation(), "other": evaluation})
    assert "Finding given" not in str(group_table(framed, evaluation))
    assert group_table(earlier, an_evaluation()) is None
