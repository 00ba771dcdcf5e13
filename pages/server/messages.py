"""What the edge reads of Streamlit's messages: which session a connection has, which uploads it was allowed.

The messages are Streamlit's own format between its page and its server, so this is the one module that knows it.
`tests/server/test_visits.py` tells when another version of Streamlit speaks otherwise: uploads and media then fail.
"""

from __future__ import annotations

import re

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

# A media file is called by a digest of its content and an extension. What follows in a message may look like more of
# either, so that the first half of the digest, which all of them have, stands for the file.
_MEDIA_DIGITS = 32
_MEDIA = re.compile(rb"/media/([0-9a-f]{%d})" % _MEDIA_DIGITS)
# A request for uploads holds the names of files; what is larger is the state of a page.
_MOST_REQUEST_BYTES = 10_000_000


def session_of(data: bytes) -> str | None:
    """Return the session that a message to the browser begins, None for other messages."""
    message = ForwardMsg()
    if _kind(message, data) != "new_session":
        return None
    return message.new_session.initialize.session_id


def uploads_asked(data: bytes) -> int:
    """Return for how many files a message from the browser asks where to upload them."""
    message = BackMsg()
    if len(data) > _MOST_REQUEST_BYTES or _kind(message, data) != "file_urls_request":
        return 0
    return len(message.file_urls_request.file_names)


def uploads_allowed(data: bytes) -> list[str] | None:
    """Return the names under which a message to the browser allows uploads, None for other messages."""
    message = ForwardMsg()
    if _kind(message, data) != "file_urls_response":
        return None
    return [one.file_id for one in message.file_urls_response.file_urls]


def media_key(file: str) -> str:
    """Return what a media file is known by here."""
    return file[:_MEDIA_DIGITS]


def media_shown(data: bytes) -> list[str]:
    """Return the keys of the media files that a message to the browser names."""
    return [name.decode() for name in _MEDIA.findall(data)]


def _kind(message: BackMsg | ForwardMsg, data: bytes) -> str:
    try:
        message.ParseFromString(data)
    except Exception:  # no message at all, which Streamlit itself refuses
        return ""
    return str(message.WhichOneof("type"))
