"""Write THIRD_PARTY.md: what an installation of requirements.txt brings along, from the metadata of what is installed.

Run it with the interpreter of the environment: `.venv/bin/python .ci/third_party.py`.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "THIRD_PARTY.md"
HEAD = """# Third-party notices

PneumoLens is under the [Apache License 2.0](LICENSE). `.venv/bin/python .ci/third_party.py` writes this list.

## Packages

The packages below are not part of PneumoLens: pip installs them, unchanged, from their own distributions, which hold
their licences in full. They are called as libraries and can be replaced by other versions within the ranges of
`requirements.txt`.

"""
# What the metadata alone would not tell.
REMARKS = {
    "fpdf2": "used unmodified through its interface; its source is at the address on the right",
    "opencv-python": "the wheel holds FFmpeg (LGPL-2.1) and, on Linux, Qt 5 (LGPL-3.0) as separate libraries",
    "python-gdcm": "the wheel holds GDCM (BSD) with its codecs: CharLS, OpenJPEG, libjpeg",
}
FONTS = """
## Fonts

Bundled in `reports/fonts/`, as subsets; [its README](reports/fonts/README.md) says which and how they were made.

| font | licence |
|---|---|
| Noto Sans, also Math, Arabic, Hebrew, Thai, Devanagari | [SIL OFL 1.1](reports/fonts/LICENSE-OFL-1.1.txt) |
| Droid Sans Fallback | [Apache License 2.0](reports/fonts/LICENSE-Apache-2.0.txt) |
"""


def requirements() -> list[str]:
    """Return the lines of requirements.txt without remarks."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def installed() -> dict[str, Distribution]:
    """Return what the requirements bring along on this system, by canonical name."""
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(line), "") for line in requirements()]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        if name in found and not wanted.extras:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError as error:
            raise SystemExit(f"expected {name} in this environment. Received: no such package") from error
        needs = found[name].requires or []
        waiting += [(Requirement(line), one) for line in needs for one in (wanted.extras or {""})]
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """Return the licence that a distribution's metadata name."""
    about = package.metadata
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classified = [
        line.rsplit(" :: ", 1)[1]
        for line in about.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    if classified:
        return ", ".join(classified)
    first = (about.get("License") or "").strip().splitlines()
    return first[0][:80] if first else "see the distribution"


def address(package: Distribution) -> str:
    """Return where the source of a distribution is, its page at PyPI where the metadata do not say."""
    urls = dict(line.split(", ", 1) for line in package.metadata.get_all("Project-URL") or [])
    by_name = {name.lower(): url for name, url in urls.items()}
    wanted = ("source", "source code", "repository", "code", "github", "homepage", "home")
    named = next((by_name[name] for name in wanted if name in by_name), package.metadata.get("Home-page"))
    return str(named or f"https://pypi.org/project/{package.name}/")


def text() -> str:
    """Return the document."""
    rows = ["| package | version | licence | source |", "|---|---|---|---|"]
    for name, package in installed().items():
        words = f"{licence(package)}; {REMARKS[name]}" if REMARKS.get(name) else licence(package)
        rows.append(f"| {name} | {package.version} | {re.sub(r'[|]', '/', words)} | <{address(package)}> |")
    return HEAD + "\n".join(rows) + "\n" + FONTS


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
