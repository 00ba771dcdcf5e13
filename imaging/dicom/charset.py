r"""Text of a DICOM header in the character sets that it names (PS3.5 section 6.1.2, PS3.3 C.12.1.1.2).

pydicom has the table of character sets. Its decoder is not used: it warns of what it cannot decode and goes on with
replacement characters, where a reader here needs to know that the text is not what was written.

>>> decode_text(b"\x1b$B6;It\x1b(B", ("", "ISO 2022 IR 87"))
'胸部'
"""

from __future__ import annotations

import re

_ESCAPE = b"\x1b"
_SPELLING = re.compile(r"ISO[ _-]*(2022)?[ _-]*IR[ _-]*(\d+)", re.IGNORECASE)
_FRAGMENTS = re.compile(rb"\x1b?[^\x1b]+|\x1b")
# The codecs of JIS X 0208 and 0212 keep the escape sequence, and find delimiters by themselves.
_ESCAPED_CODECS = ("iso2022_jp", "iso2022_jp_2")


def defined_terms(value: bytes) -> tuple[str, ...]:
    """Read SpecificCharacterSet.

    Parameters
    ----------
    value
        The element as stored. Common misspellings of the defined terms are accepted: "ISO-IR 100", "ISO 2022-IR 87".

    Returns
    -------
    tuple of str
        The defined terms, "" for the default repertoire before code extensions; () where the header names none, or one
        that the standard does not have.
    """
    parts = [part.strip("\0 ") for part in value.decode("ascii", "replace").split("\\")]
    if not any(parts):
        return ()
    from pydicom.charset import python_encoding

    terms = tuple(_SPELLING.sub(_spelled, part).upper() for part in parts)
    return terms if all(term in python_encoding for term in terms) else ()


def decode_text(value: bytes, terms: tuple[str, ...], delimiters: bytes = b"\\") -> str | None:
    """Decode the value of a text element.

    Parameters
    ----------
    value
        The element as stored, all of its values with the backslashes between them. It is decoded as a whole, since the
        second byte of a Chinese or Japanese character may be that of the backslash.
    terms
        As `defined_terms` returns them. Without any, text is ASCII or UTF-8.
    delimiters
        The characters after which the first character set is in force again: also "^" and "=" in a PN.

    Returns
    -------
    str or None
        None where the value is not text of these character sets.
    """
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    try:
        if not terms and _ESCAPE not in value:
            return value.decode("utf-8")
        return _decoded(value, terms or ("",), delimiters)
    except UnicodeDecodeError:
        return None


def _spelled(found: re.Match[str]) -> str:
    return f"ISO 2022 IR {found[2]}" if found[1] else f"ISO_IR {found[2]}"


def _decoded(value: bytes, terms: tuple[str, ...], delimiters: bytes) -> str | None:
    from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, python_encoding

    first = python_encoding[terms[0]]
    if terms[0] in STAND_ALONE_ENCODINGS or _ESCAPE not in value:
        return value.decode(first)
    text = ""
    for fragment in _FRAGMENTS.findall(value):
        if not fragment.startswith(_ESCAPE):
            text += fragment.decode(first)
            continue
        length = 4 if fragment[1:3] in (b"$(", b"$)") else 3
        codec = CODES_TO_ENCODINGS.get(fragment[:length])
        if codec is None:
            return None
        if codec in _ESCAPED_CODECS:
            text += fragment.decode(codec)
            continue
        rest = fragment[length:]
        end = next((place for place, byte in enumerate(rest) if byte in delimiters), len(rest))
        text += rest[:end].decode(codec) + rest[end:].decode(first)
    return text
