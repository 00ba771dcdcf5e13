"""Throttle of sign-in attempts: waits for each source, and a budget that all unknown sources share.

    <data_dir>/attempts.json    failed attempts and waits by source, the sources that signed in, the shared budget

A source is a client's network address, or "local" on the machine itself. Whoever fails is kept waiting, and nobody
else: a source that has signed in before, and the machine itself, are outside the shared budget, which bounds guesses
from many addresses at once. A wait that the clock has moved beyond its own length starts over from now, so it ends.

Callers hold the account's lock (`records.administrator`).
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import SignInError
from core.files import write_atomically
from core.formatting import format_wait
from core.json_text import parse_json
from core.settings import Settings

ATTEMPTS = "attempts.json"
LOCAL = "local"
# Attempts without a wait, then the first wait, which doubles with each failed attempt up to the longest.
FREE_ATTEMPTS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5, 15.0, 900.0
# Failed attempts of all unknown sources together within the longest wait.
SHARED_ATTEMPTS = 20
_MOST_SOURCES, _MOST_KNOWN, _FORGOTTEN_SECONDS = 500, 32, 86_400.0


@dataclass(frozen=True, slots=True)
class _Tally:
    """Consecutive failed attempts, the end of the wait and the time of the last attempt, in seconds since 1970."""

    wrong: int = 0
    wait_until: float = 0.0
    at: float = 0.0


def wait_seconds(wrong: int) -> float:
    """Return the waiting time in seconds after `wrong` consecutive failed attempts."""
    if wrong < FREE_ATTEMPTS:
        return 0.0
    return min(FIRST_WAIT_SECONDS * 2.0 ** min(wrong - FREE_ATTEMPTS, 30), LONGEST_WAIT_SECONDS)


@contextmanager
def attempt(settings: Settings, source: str) -> Iterator[float]:
    """Count an attempt, then let it be verified in the body; an error in it leaves the attempt counted as failed.

    It is counted before it is verified, so that killing the app in between gives no free attempt.

    Parameters
    ----------
    settings
        Settings of the installation.
    source
        The client's network address, or `LOCAL`.

    Yields
    ------
    float
        Seconds to wait after this attempt, should it fail.

    Raises
    ------
    SignInError
        If the source, or all unknown sources together, must wait first.
    """
    path, key, now = settings.data_dir / ATTEMPTS, key_of(source), time.time()
    tallies, known, shared = _read(path)
    is_known = key == LOCAL or key in known
    tally = tallies.get(key, _Tally())
    left = tally.wait_until - now
    if left > wait_seconds(tally.wrong):  # the clock was set back: the wait starts over
        left = wait_seconds(tally.wrong)
        tallies[key] = _Tally(tally.wrong, now + left, now)
        _write(path, tallies, known, shared)
    if left > 0:
        raise _refused(left, f"{tally.wrong} failed attempts")
    if not is_known:
        if not 0 <= now - shared.at < LONGEST_WAIT_SECONDS:
            shared = _Tally(at=now)
        if shared.wrong >= SHARED_ATTEMPTS:
            _write(path, tallies, known, shared)
            raise _refused(
                shared.at + LONGEST_WAIT_SECONDS - now, f"{shared.wrong} failed attempts from many addresses"
            )
        shared = _Tally(shared.wrong + 1, at=shared.at)
    wait = wait_seconds(tally.wrong + 1)
    tallies[key] = _Tally(tally.wrong + 1, now + wait if wait else 0.0, now)
    _write(path, tallies, known, shared)
    yield wait
    tallies.pop(key, None)
    known = [key, *(one for one in known if one != key)]
    _write(path, tallies, known, shared if is_known else _Tally(shared.wrong - 1, at=shared.at))


def clear(settings: Settings) -> int:
    """End every wait; return the number of sources that had failed attempts."""
    path = settings.data_dir / ATTEMPTS
    tallies, known, _ = _read(path)
    if path.exists():
        _write(path, {}, known, _Tally())
    return len(tallies)


def _refused(left: float, received: str) -> SignInError:
    return SignInError(
        f"expected a pause after {received}. Received: another attempt",
        advice=f"Too many failed attempts. Try again in {format_wait(left)}.",
    )


def key_of(source: str) -> str:
    """Return what stands for a source: an IPv6 client owns a network of 64 bits, so it counts as one."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


def _read(path: Path) -> tuple[dict[str, _Tally], list[str], _Tally]:
    """Return tallies by source, known sources and the shared budget; what is damaged counts as nothing."""
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        values = {}
    values = values if isinstance(values, dict) else {}
    sources, known = values.get("sources"), values.get("known")
    tallies = {name: _tally(one) for name, one in sources.items()} if isinstance(sources, dict) else {}
    names = [one for one in known if isinstance(one, str)] if isinstance(known, list) else []
    return tallies, names, _tally(values.get("shared"))


def _tally(values: Any) -> _Tally:
    values = values if isinstance(values, dict) else {}
    wrong, wait_until, at = (values.get(name) for name in ("wrong", "wait_until", "at"))
    return _Tally(int(min(_number(wrong), 1e6)), _number(wait_until), _number(at))


def _number(value: Any) -> float:
    """Return a number of a JSON file, 0 for what is none or not finite or below 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return 0.0
    return float(value)


def _write(path: Path, tallies: dict[str, _Tally], known: list[str], shared: _Tally) -> None:
    now = time.time()
    recent = [(name, one) for name, one in tallies.items() if abs(now - one.at) < _FORGOTTEN_SECONDS]
    recent.sort(key=lambda pair: pair[1].at)
    values = {
        "sources": {name: asdict(one) for name, one in recent[-_MOST_SOURCES:]},
        "known": known[:_MOST_KNOWN],
        "shared": asdict(shared),
    }
    write_atomically(path, json.dumps(values), mode=0o600)
