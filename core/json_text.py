"""JSON from files that anybody may have changed: whatever is no JSON raises ValueError, however it is made."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises
    ------
    ValueError
        If the text is not JSON, or nested more deeply than Python can read (`json.loads` raises RecursionError then).

    Examples
    --------
    >>> parse_json('{"version": "2026.12.01-1"}')
    {'version': '2026.12.01-1'}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("expected JSON nested at most a few hundred levels deep. Received: more levels") from None


def json_with_names(values: Any) -> str:
    r"""Return values as JSON that can be written as UTF-8, whatever bytes the file names in them have.

    Halves of surrogate pairs, by which Python keeps bytes of a name that are not UTF-8, are escaped, and `parse_json`
    returns them.

    Examples
    --------
    >>> parse_json(json_with_names(["\udcd0.png"])) == ["\udcd0.png"]
    True
    """
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()
