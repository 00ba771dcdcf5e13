"""Every key that the read page hears stands in its help, and what the help and the buttons name is heard."""

from __future__ import annotations

import re

from pages.reading.verdict import VERDICTS
from tests import ROOT

COMPONENT = ROOT / "pages" / "reading" / "viewer_component"
KEYS_JS = (COMPONENT / "keys.js").read_text("utf-8")
# The same key without Shift, and the minus sign of a plain keyboard, for which the help has the printed one.
ALIASES = {"=": "+", "-": "−"}
# What the handler hears without the table, and how the help calls it.
IN_CODE = {" ": "space", "arrows": "arrows", "Shift": "shift + arrows", "digits": "1 – 9"}
BY_HAND = ("drag with the right button", "drag", "wheel", "two fingers", "double click")


def bound() -> dict[str, str]:
    """Key → action, of the viewer's own table."""
    table = KEYS_JS.split("export const KEYS = {")[1].split("};")[0]
    return dict(re.findall(r'"([^"]+)": "([^"]+)"', table))


def of_the_page() -> set[str]:
    """The keys that Streamlit listens for: those of the verdict are not written beside their buttons."""
    written: set[str] = set()
    for path in sorted((ROOT / "pages").rglob("*.py")):
        written |= set(re.findall(r'shortcut="([^"]+)"', path.read_text("utf-8")))
    return {key.lower() for key in (*written, *(key for _, _, key in VERDICTS))}


def in_the_help() -> set[str]:
    rows = re.findall(r'\["([^"]+)",\s*"[^"]+"\]', KEYS_JS.split("export const HELP = [")[1].split("\n];")[0])
    named: set[str] = set()
    for row in (row.lower() for row in rows):
        if row in IN_CODE.values():
            named.add(row)
            continue
        for way in BY_HAND:
            row = re.sub(rf"(^|, ){way}(?=,|$)", "", row)
        named |= set(row.replace(",", " ").split())
    return {{"esc": "escape"}.get(key, key) for key in named}


def test_the_help_names_every_key_that_is_heard_and_no_other() -> None:
    heard = {ALIASES.get(key, key) for key in bound()} | of_the_page() | set(IN_CODE.values())
    assert in_the_help() == heard


def test_what_the_handler_hears_beside_its_table_is_known_here() -> None:
    handler = KEYS_JS.split("export function commandOf")[1]
    assert set(re.findall(r'key === "([^"]+)"', handler)) == {" "}
    assert re.findall(r"/\^(.*?)\$/", handler) == ["[1-9]"] and handler.count("event.shiftKey") == 1
    assert re.findall(r"(\w+): \[", KEYS_JS.split("const ARROWS = {")[1].split("}")[0]) == [
        "arrowleft",
        "arrowright",
        "arrowup",
        "arrowdown",
    ]
    assert set(re.findall(r"event\.(\w+Key)\b", handler)) == {"ctrlKey", "metaKey", "altKey", "shiftKey"}


def test_no_key_is_heard_twice() -> None:
    assert not set(bound()) & of_the_page() and not {" ", *"123456789"} & (set(bound()) | of_the_page())


def test_a_button_names_its_own_key() -> None:
    html, keys = (COMPONENT / "viewer.html").read_text("utf-8"), bound()
    titles = re.findall(r'data-act="([^"]+)"[^>]*?\btitle="([^"]+)"', html, re.S)
    assert len(titles) > 12
    for act, title in titles:
        if act == "presets":
            assert title.endswith("keys 1 to 9")
            continue
        key = title.rsplit(" ", 1)[-1].lower()
        assert keys[key] in (act, f"{act.split(':')[0]}:other"), (act, title)
