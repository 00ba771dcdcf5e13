"""The style sheet and the pages that it is for: neither speaks of what the other does not know."""

from __future__ import annotations

import re

from tests import ROOT

STYLE = re.sub(r"/\*.*?\*/", "", (ROOT / "assets" / "style.css").read_text("utf-8"), flags=re.S)
# The sides of the operating point, which a page puts after "pl-".
SIDES = {"pl-above", "pl-below", "pl-near"}


def pages() -> str:
    files = [ROOT / "app.py", *(path for path in (ROOT / "pages").rglob("*") if path.suffix in (".py", ".js", ".html"))]
    return "\n".join(path.read_text("utf-8") for path in sorted(files))


def test_every_class_is_styled_and_every_style_is_used() -> None:
    source = pages()
    assert "pl-{side}" in source
    assert set(re.findall(r"\.(pl-[a-z0-9_-]+)", STYLE)) == set(re.findall(r"\bpl-[a-z][a-z0-9_-]*", source)) | SIDES


def test_every_container_that_is_styled_is_drawn() -> None:
    drawn = set(re.findall(r'key=f?"(\w+)', pages())) | set(re.findall(r'"(dropzone_empty)"', pages()))
    for name in set(re.findall(r"st-key-(\w+)", STYLE)):
        assert name in drawn or any(one.startswith(name) for one in drawn if name.endswith("_")), name


def test_no_colour_is_named_that_the_sheet_does_not_define() -> None:
    assert set(re.findall(r"var\((--[\w-]+)\)", STYLE)) == set(re.findall(r"^\s*(--[\w-]+):", STYLE, re.M))
