"""Foundation of every room: errors, files, settings, progress and the written form of figures."""

from __future__ import annotations

try:
    import fcntl as _fcntl  # noqa: F401
except ImportError as error:
    raise ImportError("PneumoLens needs a POSIX system such as Linux or macOS; on Windows, run it in WSL 2.") from error
