"""Changes to Streamlit's use of memory: uploads on disk, copies of uploads, a cleared Keras session, freed heap."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

from starlette.formparsers import MultiPartParser
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.server.limits import BUDGET


def keep_uploads_in_memory() -> None:
    """Keep uploads off the disk: the server would write all of a file beyond 1 MB to a temporary one.

    What an upload may take of the memory is bounded by Streamlit's maxUploadSize, before and while it is received.
    """
    MultiPartParser.spool_max_size = 0  # no size at which it goes to disk (tempfile.SpooledTemporaryFile)


def take_upload(file: UploadedFile) -> bytes:
    """Return an uploaded file's bytes and remove Streamlit's copy, which it would keep until the visit ends."""
    data, context = file.getvalue(), get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(session_id=context.session_id, file_id=file.file_id)
        BUDGET.release(context.session_id, file.file_id)
    return data


def keep_keras_session() -> None:
    """Keep Streamlit from clearing Keras after every run of a page.

    It calls `keras.backend.clear_session` whenever Keras is loaded: that empties TensorFlow's kernel cache and
    collects garbage among half a million objects, 0.6 s for each radiograph and each press of a button. Nothing is
    built here between two runs that would need clearing; training has its own process.
    """
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.backend.clear_session = _clear_nothing
    gc.collect()
    gc.freeze()


def _clear_nothing(free_memory: bool = True) -> None:
    """Replace `keras.backend.clear_session`."""


def release_memory() -> None:
    """Return freed memory to the system.

    The C library keeps what was freed in a pool for each thread, and Streamlit runs a page in a new thread each time:
    without this the process grows with every radiograph although it holds nothing more.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
