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
