"""What the edge reads of Streamlit's messages: which session a connection has, which files and uploads it may have.

The messages are Streamlit's own format between its page and its server, so this is the one module that knows it.
`tests/server/test_visits.py` tells when another version of Streamlit speaks otherwise: uploads and media then fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.DownloadButton_pb2 import DownloadButton
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

# A media file is called by a digest of its content and an extension. Half of the digest stands for the file.
_MEDIA_DIGITS = 32
_MEDIA = re.compile(rf"(?:/.*)?/media/([0-9a-f]{{{_MEDIA_DIGITS}}})[0-9a-f]*(?:\.\w+)?")
# Where Streamlit writes the address of a file that it holds. Any other text may come from the browser, whose name of a
# file or of a request could be the address of another visit's film.
_MEDIA_MESSAGES = ("delta", "logo", "page_config_changed", "backend_operation_response")
_MEDIA_FIELDS = ("url", "image", "favicon")
# How a message names a file that Streamlit makes when it is asked for: what stands before its 32 digits.
_DEFERRED = DownloadButton(deferred_file_id="0" * 32).SerializeToString()[:-32]
_DEFERRED_FIELDS = ("deferred_file_id",)
# Requests that do not belong to a file: the rest writes into the app's folder, for whoever develops it.
_ALLOWED_OPERATIONS = ("deferred_file", "dataframe_chunk")
# What the pages of this app send. Streamlit takes more: clearing all caches, the repository's state, a shutdown.
_SENT = frozenset({"rerun_script", "stop_script", "file_urls_request", "app_heartbeat", "backend_operation_request"})


@dataclass(frozen=True, slots=True)
class Request:
    """A message from a page: its kind, and for how many files it asks where to upload them."""

    kind: str
    uploads: int = 0


def session_of(data: bytes) -> str | None:
    """Return the session that a message to the browser begins, None for other messages."""
    message = ForwardMsg()
    if _kind(message, data) != "new_session":
        return None
    return message.new_session.initialize.session_id


def request_of(data: bytes) -> Request | None:
    """Return what a message from the browser asks for, None for a kind that no page of this app sends."""
    message = BackMsg()
    kind = _kind(message, data)
    if kind not in _SENT:
        return None
    return Request(kind, len(message.file_urls_request.file_names) if kind == "file_urls_request" else 0)


def uploads_allowed(data: bytes) -> list[str] | None:
    """Return the names under which a message to the browser allows uploads, None for other messages."""
    message = ForwardMsg()
    if _kind(message, data) != "file_urls_response":
        return None
    return [one.file_id for one in message.file_urls_response.file_urls]


def operation_asked(data: bytes) -> tuple[str, str] | None:
    """Return the kind of an operation that a message from the browser asks for, and the file to be made.

    Returns
    -------
    tuple of str, or None
        The kind is empty for operations that nobody may ask for, the file for those that make none; None for other
        messages.
    """
    message = BackMsg()
    if _kind(message, data) != "backend_operation_request":
        return None
    request = message.backend_operation_request
    kind = str(request.WhichOneof("payload"))
    return (kind if kind in _ALLOWED_OPERATIONS else "", request.deferred_file.file_id)


def refused_operation(data: bytes) -> bytes:
    """Return the message to the browser that refuses the operation which its message asks for."""
    request, answer = BackMsg.FromString(data), ForwardMsg()
    answer.backend_operation_response.request_id = request.backend_operation_request.request_id
    answer.backend_operation_response.error_msg = "This file belongs to another visit, or its visit has ended."
    answer.metadata.SetInParent()
    return bytes(answer.SerializeToString())


def deferred_shown(data: bytes) -> list[str]:
    """Return the names of the files that a message to the browser offers to make."""
    message = ForwardMsg()
    if _DEFERRED not in data or _kind(message, data) != "delta":
        return []
    return list(_texts(message, _DEFERRED_FIELDS))


def media_key(file: str) -> str:
    """Return what a media file is known by here."""
    return file[:_MEDIA_DIGITS]


def media_shown(data: bytes) -> list[str]:
    """Return the keys of the media files that a message to the browser shows; the viewer's are not among them."""
    message = ForwardMsg()
    if b"/media/" not in data or _kind(message, data) not in _MEDIA_MESSAGES:
        return []
    return [found[1] for one in _texts(message, _MEDIA_FIELDS) if (found := _MEDIA.fullmatch(one))]


def _texts(message: Any, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts in fields of these names, at any depth."""
    for field, value in message.ListFields():
        if isinstance(value, str):
            if field.name in names:
                yield value
        elif hasattr(value, "ListFields"):
            yield from _texts(value, names)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value:
                yield from _texts(one, names)


def _kind(message: BackMsg | ForwardMsg, data: bytes) -> str:
    try:
        message.ParseFromString(data)
    except Exception:  # no message at all, which Streamlit itself refuses
        return ""
    return str(message.WhichOneof("type"))
