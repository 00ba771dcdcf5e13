"""Administrator account of an installation: one-time code and password; attempts are throttled by source.

    <data_dir>/first-code.json      Argon2 hash of the one-time code of this start of the app, until it is used
    <data_dir>/administrator.json   Argon2 hash of the password, and a mark that changes with every password
    <data_dir>/attempts.json        failed attempts by source, see `records.throttle`

All files are readable by the app's user only. Write access to the data folder implies administrator rights: deleting
`administrator.json` and restarting the app brings a new code. Argon2id (RFC 9106).
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import SignInError
from core.files import locked, make_folder, write_atomically
from core.formatting import format_wait
from core.json_text import parse_json
from core.settings import Settings
from records import throttle
from records.throttle import LOCAL

NAME = "administrator"
ACCOUNT, FIRST_CODE = "administrator.json", "first-code.json"
SHORTEST, LONGEST = 12, 256
EXPECTED = f"at least {SHORTEST} characters, six of them different, no common word or keyboard sequence"
FORGOTTEN = (
    "To reset a forgotten password, delete administrator.json in the data folder and restart the app: it prints a new "
    "one-time code."
)
# Crockford's base 32, without letters that are easily confused: 5 bits each, 60 bits in all.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS, _GROUP = 3, 4
_MISREAD = str.maketrans("OIL", "011")
_COMMON_WORDS = (
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
_SEQUENCES = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)
_hasher = PasswordHasher()


def has_password(settings: Settings) -> bool:
    """Return whether a password is set; a damaged file counts as set, so that it does not reopen the first sign-in."""
    return (settings.data_dir / ACCOUNT).exists()


def new_first_code(settings: Settings) -> str | None:
    """Create the one-time code of this start of the app, which replaces the previous one.

    Returns
    -------
    str or None
        The code in groups of four characters; None where a password is set.

    Raises
    ------
    SignInError
        If the data folder cannot be written.
    """
    with _exclusive(settings):
        if has_password(settings):
            return None
        signs = [secrets.choice(_ALPHABET) for _ in range(_GROUPS * _GROUP)]
        _write(settings, FIRST_CODE, {"code": _hasher.hash("".join(signs)), "made_at": _now()})
        return "-".join("".join(signs[i : i + _GROUP]) for i in range(0, len(signs), _GROUP))


def set_password(settings: Settings, code: str, password: str, source: str = LOCAL) -> str:
    """Set the password with the one-time code, which is thereby used up; `source` is who asks, see `records.throttle`.

    Parameters
    ----------
    settings
        The installation.
    code
        The one-time code; case, hyphens and spaces are ignored.
    password
        Refused before the code is compared where it is weak; this does not count as an attempt.

    Returns
    -------
    str
        The mark of the new password.

    Raises
    ------
    SignInError
        If the code is wrong or used up, the password is weak, or there were too many failed attempts.
    """
    refuse_weak(password)
    with _exclusive(settings):
        if has_password(settings):
            raise SignInError(
                "expected an installation without a password. Received: a password is set",
                advice="A password has been set meanwhile. Sign in with it.",
            )
        stored = _read(settings, FIRST_CODE).get("code")
        if stored is None:
            raise SignInError(
                "expected a one-time code of this start. Received: none",
                advice="Restart the app; it prints a new one-time code to its terminal.",
            )
        _attempt(
            settings,
            source,
            str(stored),
            "".join(filter(str.isalnum, code.upper())).translate(_MISREAD),
            "The one-time code is wrong. It is printed in the terminal in which the app was started; each start "
            "prints a new one.",
        )
        mark = secrets.token_hex(16)
        _write(
            settings,
            ACCOUNT,
            {"name": NAME, "password": _hasher.hash(_normal(password)), "mark": mark, "set_at": _now()},
        )
        (settings.data_dir / FIRST_CODE).unlink(missing_ok=True)
        return mark


def check_password(settings: Settings, password: str, source: str = LOCAL) -> str:
    """Verify `password` for the installation of `settings` and return the mark of the stored password.

    `source` is who asks, see `records.throttle`.

    Raises
    ------
    SignInError
        If the password is wrong or not set, or after too many failed attempts.
    """
    with _exclusive(settings):
        account = _read(settings, ACCOUNT)
        if not {"password", "mark"} <= account.keys():
            raise SignInError("expected a stored password. Received: none, or a damaged file", advice=FORGOTTEN)
        stored, mark, typed = str(account["password"]), str(account["mark"]), _normal(password)
        _attempt(settings, source, stored, typed, "The password is wrong.")
        if _hasher.check_needs_rehash(stored):
            _write(settings, ACCOUNT, account | {"password": _hasher.hash(typed)})
        return mark


def password_mark(settings: Settings) -> str | None:
    """Return the mark of the stored password, None where there is none; a session with another mark has ended."""
    mark = _read(settings, ACCOUNT).get("mark")
    return None if mark is None else str(mark)


def refuse_weak(password: str) -> None:
    """Raise SignInError for a password that is short or easily guessed."""
    normal = _normal(password)
    plain = normal.lower()
    if not SHORTEST <= len(normal) <= LONGEST:
        problem = f"{len(normal)} characters"
    elif len(set(plain)) < 6:
        problem = "fewer than six different characters"
    elif any(
        plain[i : i + 8] in row or plain[i : i + 8][::-1] in row for row in _SEQUENCES for i in range(len(plain) - 7)
    ):
        problem = "a keyboard or alphabetic sequence"
    elif len(_without_words(plain)) < 6:
        problem = "digits or a common word with few other characters"
    else:
        return
    raise SignInError(
        f"expected a password of {EXPECTED}. Received: {problem}",
        advice=f"Choose a stronger password: {EXPECTED}. Four unrelated words are suitable.",
    )


def _without_words(plain: str) -> str:
    """Return what is left of a password without common words and digits."""
    for word in _COMMON_WORDS:
        plain = plain.replace(word, "")
    return "".join(sign for sign in plain if not sign.isdigit())


def unlock(settings: Settings) -> int:
    """End every wait after failed attempts; return the number of sources that had any.

    Raises
    ------
    SignInError
        If the data folder cannot be written.
    """
    with _exclusive(settings):
        return throttle.clear(settings)


def _attempt(settings: Settings, source: str, stored: str, typed: str, advice: str) -> None:
    """Verify an input against an Argon2 hash; failed attempts delay later ones of the same source."""
    with throttle.attempt(settings, source) as wait:
        try:
            _hasher.verify(stored, typed)
        except (VerificationError, InvalidHashError) as error:
            raise SignInError(
                "expected the stored code or password. Received: another one",
                advice=f"{advice} {f'Try again in {format_wait(wait)}.' if wait else ''}".strip(),
            ) from error


def _normal(password: str) -> str:
    """Return the password in Unicode NFKC, independent of the keyboard (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


@contextmanager
def _exclusive(settings: Settings) -> Iterator[None]:
    """Lock the account: concurrent attempts would otherwise be verified before the first is counted."""
    try:
        make_folder(settings.data_dir)
        with locked(settings.data_dir / ACCOUNT):
            yield
    except OSError as error:
        raise SignInError(
            f"expected a data folder that can be read and written. Received: {type(error).__name__}",
            advice="The data folder is not usable. Check that it exists, belongs to the app's user, and that the disk "
            "is not full.",
        ) from error


def _read(settings: Settings, name: str) -> dict[str, Any]:
    """Return the content of a JSON file, empty where it is missing or damaged."""
    try:
        values = parse_json((settings.data_dir / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(settings: Settings, name: str, values: dict[str, Any]) -> None:
    write_atomically(settings.data_dir / name, json.dumps(values), mode=0o600)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
