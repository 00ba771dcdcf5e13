"""The one administrator of an installation: a code that sets the password once, and the password.

    <data_dir>/first-code.json      Argon2 hash of the one-time code of this start of the app, until it is used
    <data_dir>/administrator.json   Argon2 hash of the password, and a mark that changes with every password
    <data_dir>/attempts.json        how often in a row a code or password was wrong, and until when to wait

All are readable by the app's user alone. Whoever can write there is the administrator already: deleting
`administrator.json` and starting the app again brings a new code. Argon2id after RFC 9106.
"""

from __future__ import annotations

import json
import secrets
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import SignInError
from core.files import locked, write_atomically
from core.formatting import format_wait
from core.settings import Settings

NAME = "administrator"
ACCOUNT, FIRST_CODE, ATTEMPTS = "administrator.json", "first-code.json", "attempts.json"
SHORTEST, LONGEST = 12, 256
EXPECTED = f"at least {SHORTEST} characters, six of them different, and not just a word or a row that anybody would try"
FORGOTTEN = (
    "Whoever forgot the password deletes administrator.json in the data folder and starts the app again: it "
    "then prints a new one-time code."
)
# Wrong ones that cost nothing, then the first wait, which doubles with every further one up to the longest.
FREE_ATTEMPTS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5, 15.0, 900.0
# Without letters that are mistaken for each other: 32 signs, 5 bits each, 60 bits in all (Crockford's base 32).
_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS, _GROUP = 3, 4
_MISREAD = str.maketrans("OIL", "011")
_TRIED_FIRST = (
    "password",
    "passwort",
    "pneumolens",
    "administrator",
    "admin",
    "welcome",
    "letmein",
    "qwerty",
    "qwertz",
    "iloveyou",
    "hospital",
    "radiology",
    "changeme",
    "secret",
)
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)
_hasher = PasswordHasher()


def has_password(settings: Settings) -> bool:
    """Whether a password was set; a damaged file counts, so that damaging it never brings the first code back."""
    return (settings.data_dir / ACCOUNT).exists()


def new_first_code(settings: Settings) -> str | None:
    """Make the one-time code of this start of the app and forget the one before; None once there is a password.

    Raises SignInError when the data folder cannot be written.
    """
    with _one_at_a_time(settings):
        if has_password(settings):
            return None
        signs = [secrets.choice(_SIGNS) for _ in range(_GROUPS * _GROUP)]
        _write(settings, FIRST_CODE, {"code": _hasher.hash("".join(signs)), "made_at": _now()})
        return "-".join("".join(signs[i : i + _GROUP]) for i in range(0, len(signs), _GROUP))


def set_password(settings: Settings, code: str, password: str) -> str:
    """Set the password by means of the one-time code, which is used up by it; return the mark of the new password.

    Raises SignInError when the code is wrong or used up, the password weak, or there were too many wrong codes. A weak
    password is refused before the code is looked at and costs no attempt.
    """
    refuse_weak(password)
    with _one_at_a_time(settings):
        if has_password(settings):
            raise SignInError(
                "expected an installation without a password. Received: one that has a password",
                advice="The password was set meanwhile. Sign in with it.",
            )
        stored = _read(settings, FIRST_CODE).get("code")
        if stored is None:
            raise SignInError(
                "expected a one-time code of this start. Received: none was made",
                advice="Start the app again; it prints a new one-time code to its terminal.",
            )
        _attempt(
            settings,
            str(stored),
            "".join(filter(str.isalnum, code.upper())).translate(_MISREAD),
            "The one-time code is not right. It stands in the terminal in which the app was started; each start "
            "makes a new one.",
        )
        mark = secrets.token_hex(16)
        _write(
            settings,
            ACCOUNT,
            {"name": NAME, "password": _hasher.hash(_normal(password)), "mark": mark, "set_at": _now()},
        )
        (settings.data_dir / FIRST_CODE).unlink(missing_ok=True)
        return mark


def check_password(settings: Settings, password: str) -> str:
    """Return the mark of the password in force if `password` is right.

    Raises SignInError when it is wrong, when none was set, or when there were too many wrong ones.
    """
    with _one_at_a_time(settings):
        account = _read(settings, ACCOUNT)
        if not {"password", "mark"} <= account.keys():
            raise SignInError(
                "expected an administrator's password. Received: none, or a damaged file", advice=FORGOTTEN
            )
        stored, mark, typed = str(account["password"]), str(account["mark"]), _normal(password)
        _attempt(settings, stored, typed, "The password is not right.")
        if _hasher.check_needs_rehash(stored):
            _write(settings, ACCOUNT, account | {"password": _hasher.hash(typed)})
        return mark


def password_mark(settings: Settings) -> str | None:
    """Return the mark of the password in force, None when there is none; a visit signed in under another is over."""
    mark = _read(settings, ACCOUNT).get("mark")
    return None if mark is None else str(mark)


def refuse_weak(password: str) -> None:
    """Raise SignInError, which says what is expected, for a password that is short or easily guessed."""
    normal = _normal(password)
    plain = normal.lower()
    if not SHORTEST <= len(normal) <= LONGEST:
        problem = f"{len(normal)} characters"
    elif len(set(plain)) < 6:
        problem = "too few different characters"
    elif any(plain[i : i + 8] in row or plain[i : i + 8][::-1] in row for row in _ROWS for i in range(len(plain) - 7)):
        problem = "a row of neighbouring characters"
    elif len(_without_words(plain)) < 6:
        problem = "hardly more than figures, or than a word that is tried first"
    else:
        return
    raise SignInError(
        f"expected a password of {EXPECTED}. Received: {problem}",
        advice=f"Choose another password: {EXPECTED}. Four unrelated words do well.",
    )


def _without_words(plain: str) -> str:
    """Return the letters that are left of a password without the words that are tried first, and without figures."""
    for word in _TRIED_FIRST:
        plain = plain.replace(word, "")
    return "".join(sign for sign in plain if not sign.isdigit())


def _attempt(settings: Settings, stored: str, typed: str, advice: str) -> None:
    """Compare what was typed with an Argon2 hash; wrong ones are counted on disk, and the later ones have to wait.

    Counted as wrong before it is compared: killing the app in between must not give a free attempt.
    """
    state, now = _read(settings, ATTEMPTS), time.time()
    wrong = _whole(state.get("wrong"))
    # Never more than the longest wait, even where the clock was set back meanwhile.
    left = min(float(_whole(state.get("wait_until"))) - now, LONGEST_WAIT_SECONDS)
    if left > 0:
        raise SignInError(
            f"expected a wait after {wrong} wrong attempts. Received: another attempt",
            advice=f"Too many wrong attempts. Try again in {format_wait(left)}.",
        )
    wrong += 1
    wait = wait_seconds(wrong)
    _write(settings, ATTEMPTS, {"wrong": wrong, "wait_until": int(now + wait + 0.999) if wait else 0})
    try:
        _hasher.verify(stored, typed)
    except (VerificationError, InvalidHashError) as error:
        raise SignInError(
            "expected what was agreed. Received: something else",
            advice=f"{advice} {f'Try again in {format_wait(wait)}.' if wait else ''}".strip(),
        ) from error
    (settings.data_dir / ATTEMPTS).unlink(missing_ok=True)


def wait_seconds(wrong: int) -> float:
    """Return how long to wait after `wrong` wrong attempts in a row."""
    if wrong < FREE_ATTEMPTS:
        return 0.0
    return min(FIRST_WAIT_SECONDS * 2.0 ** min(wrong - FREE_ATTEMPTS, 30), LONGEST_WAIT_SECONDS)


def _normal(password: str) -> str:
    """Return the password with its characters composed alike, whatever keyboard it comes from (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


@contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    """Keep other attempts out: else many at once would all be compared before the first is counted."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with locked(settings.data_dir / ACCOUNT):
            yield
    except OSError as error:
        raise SignInError(
            f"expected a data folder that can be read and written. Received: {type(error).__name__}",
            advice="The data folder cannot be used. See that it exists, belongs to the app's user, and "
            "that the disk is not full.",
        ) from error


def _read(settings: Settings, name: str) -> dict[str, Any]:
    """Return what a file says, empty when there is none or when it is damaged."""
    try:
        values = json.loads((settings.data_dir / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(settings: Settings, name: str, values: dict[str, Any]) -> None:
    write_atomically(settings.data_dir / name, json.dumps(values), mode=0o600)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
