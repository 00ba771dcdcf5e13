"""Decoder processes: every picture and every compressed frame is decoded in one, under limits of memory and time.

They are started when they are needed and kept for the next file, because starting one takes longer than decoding. A
file that exhausts or crashes its process is refused, and the next file gets another process. Threads share them, and
one is always left for other visitors than those whose files are being decoded (`on_behalf_of`); a copy of this process
(`os.fork`) starts its own.

>>> decoded, _ = decode("picture", data)                         # doctest: +SKIP
>>> decoded.pixels.shape                                         # doctest: +SKIP
(1600, 2000)
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.errors import RadiographError
from core.formatting import format_size
from imaging.film import Pixels
from imaging.limits import DAMAGED, EXPORT, LIMITS

Task = Literal["picture", "square", "jpeg", "frame"]

PROGRAM = Path(__file__).with_name("decoder_process.py")
_MOST = min(8, os.cpu_count() or 1) + 1  # processes; one is at its answer while the others decode
_FILES = 2_000  # after so many a process is replaced, whatever its libraries have come to hold
_WAIT = 60.0  # seconds of the clock for a file, and for a start, on a busy machine
_IDLE = 60.0  # seconds after which all but one of the idle processes end
_KEPT_BYTES = 16_000_000  # what a buffer holds between two files
_LONGEST_LINE = 1 << 16

_log = logging.getLogger(__name__)
_whose: ContextVar[str] = ContextVar("whose", default="")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What a decoder returns.

    Attributes
    ----------
    pixels
        (H, W), uint8 or uint16, as `task` describes them.
    facts
        What else it says of a picture: source format, bits, share in colour, whether in one hue.
    """

    pixels: Pixels
    facts: tuple[Any, ...] = ()


class _EndedError(Exception):
    """The process has ended, or answers nonsense, or has to be ended; `why` is TIME, MEMORY or CRASH."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Process:
    """One decoder process, used by one thread at a time."""

    def __init__(self, program: Path, memory: int, seconds: int) -> None:
        self.files, self.idle_since, self.whose = 0, 0.0, ""
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(_WAIT)
        self.file, self.pixels, self._room = _buffer("file"), _buffer("pixels"), 2 * LIMITS.pixels
        os.ftruncate(self.pixels, self._room)
        arguments = {
            "path": [str(PROGRAM.parent.parent), *(entry or str(Path.cwd()) for entry in sys.path)],
            "socket": theirs.fileno(),
            "file": self.file,
            "pixels": self.pixels,
            "pixels_bytes": self._room,
            "memory": memory,
            "seconds": seconds,
        }
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-B", "-W", "ignore", str(program), json.dumps(arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # libtiff and GDCM write to it
                    pass_fds=(theirs.fileno(), self.file, self.pixels),
                    process_group=0,
                )
        except BaseException:
            self.let_go()
            raise
        try:
            self._hear()
        except BaseException:
            self.end()
            raise

    def decode(
        self, task: Task, data: bytes, numbers: Sequence[int | str], meanwhile: Callable[[], str]
    ) -> tuple[Decoded, str]:
        """Decode one file; raises RadiographError, or _EndedError after which the process is of no use."""
        self.files += 1
        try:
            _write(self.file, data)
            request = {"task": task, "size": len(data), "numbers": list(numbers)}
            self.socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise _EndedError("CRASH") from error
        other = meanwhile()
        answer = self._hear()
        if "refused" in answer:
            message, advice, code = map(str, answer["refused"])
            raise RadiographError(message, advice=advice, code=code)
        if "failed" in answer:
            raise RadiographError(
                f"expected a complete image file. Received: {answer['failed']} while decoding", advice=DAMAGED
            )
        try:
            (rows, columns), width = map(int, answer["shape"]), int(answer["bytes"])
            if min(rows, columns) < 1 or rows * columns * width > self._room:
                raise ValueError("more pixels than there is room for")
            pixels: Pixels = np.empty((rows, columns), {1: np.uint8, 2: np.uint16}[width])
            _read(self.pixels, pixels)
            decoded = Decoded(pixels, tuple(answer.get("facts", ())))
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise _EndedError("CRASH") from error
        if len(data) > _KEPT_BYTES:
            os.ftruncate(self.file, 0)
        if pixels.nbytes > _KEPT_BYTES:
            os.ftruncate(self.pixels, 0)
            os.ftruncate(self.pixels, self._room)
        return decoded, other

    def _hear(self) -> dict[str, Any]:
        heard = b""
        try:
            while not heard.endswith(b"\n") and (part := self.socket.recv(_LONGEST_LINE)):
                heard += part
                if len(heard) > _LONGEST_LINE:
                    raise _EndedError("CRASH")
            answer = json.loads(heard)
        except TimeoutError as error:
            raise _EndedError("TIME") from error
        except (OSError, ValueError) as error:
            raise _EndedError(self._why()) from error
        if not isinstance(answer, dict):
            raise _EndedError("CRASH")
        if "ended" in answer:
            raise _EndedError(str(answer["ended"]))
        return answer

    def _why(self) -> str:
        """Return why the process has ended, which closed the socket."""
        with suppress(subprocess.TimeoutExpired):
            return "TIME" if self.process.wait(5) == -signal.SIGXCPU else "CRASH"
        return "CRASH"

    def end(self) -> None:
        """End the process and the copies that it made of itself."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.let_go()

    def let_go(self) -> None:
        """Close this side's descriptors."""
        self.socket.close()
        os.close(self.file)
        os.close(self.pixels)

    def forget(self) -> None:
        """Let go of a process that belongs to the one that this process is a copy of."""
        self.process.returncode = 0  # nobody here waits for it
        self.let_go()


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """A thread that waits for a process, and on whose behalf; "" is nobody's."""

    whose: str


class Pool:
    """Decoder processes for any number of threads. None is started before the first file.

    A process that is free goes to whoever has fewest, and the last one to nobody who has all the others.

    Parameters
    ----------
    most
        How many processes at a time; further threads wait.
    memory
        Bytes that a process may take for a file.
    seconds
        Processor time that a file may take.
    program
        The script that the processes run.
    """

    def __init__(
        self,
        most: int = 2,
        memory: int = LIMITS.decode_bytes,
        seconds: int = LIMITS.decode_seconds,
        program: Path = PROGRAM,
    ) -> None:
        self._most, self._memory, self._seconds, self._program = most, memory, seconds, program
        self._changed = threading.Condition()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._starting = 0
        self._waiting: list[_Turn] = []
        self._held: Counter[str] = Counter()  # processes, by on whose behalf

    def decode(
        self, task: Task, data: bytes, numbers: Sequence[int | str], meanwhile: Callable[[], str]
    ) -> tuple[Decoded, str]:
        """Decode as the function `decode` of this module does."""
        while True:
            process = self._take()
            was_used, is_whole = process.files > 0, False
            try:
                result = process.decode(task, data, numbers, meanwhile)
                is_whole = process.files < _FILES
            except RadiographError:
                is_whole = process.files < _FILES
                raise
            except _EndedError as ended:
                # A process that had decoded other files may have died of one of them, or of the system's want of
                # memory: this file is tried once more, in a new one.
                if ended.why != "CRASH" or not was_used:
                    raise _refusal(ended.why, self._seconds, self._memory) from None
            else:
                return result
            finally:
                self._give(process, is_whole)

    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the decoders that run."""
        with self._changed:
            return tuple(process.process.pid for process in (*self._idle, *self._busy))

    def close(self) -> None:
        """End every process."""
        with self._changed:
            processes = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
        for process in processes:
            process.end()

    def forget(self) -> None:
        """Let go of every process, in a copy of the process that they belong to."""
        for process in (*self._idle, *self._busy):
            process.forget()

    def _take(self) -> _Process:
        turn = _Turn(_whose.get())
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._next() is not turn:
                    self._changed.wait()
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()  # another thread is the next
            self._held[turn.whose] += 1
            if self._idle:
                idle = self._idle.pop()
                idle.whose = turn.whose
                self._busy.add(idle)
                return idle
            self._starting += 1
        process: _Process | None = None
        try:
            process = _Process(self._program, self._memory, self._seconds)
            process.whose = turn.whose
            return process
        except (OSError, _EndedError) as error:
            _log.exception("expected a decoder process to start")
            raise RadiographError(
                f"expected a decoder process to start. Received: {type(error).__name__}",
                advice="This server cannot decode pictures at present; try again, and if it stays so tell whoever "
                "operates it.",
            ) from error
        finally:
            with self._changed:
                self._starting -= 1
                if process is not None:
                    self._busy.add(process)
                else:
                    self._let_go(turn.whose)

    def _next(self) -> _Turn | None:
        """Return whose turn it is, None while there is no process for any of those who wait."""
        if not self._idle and len(self._busy) + self._starting >= self._most:
            return None
        most = max(1, self._most - 1)
        may = [one for one in self._waiting if not one.whose or self._held[one.whose] < most]
        return min(may, key=lambda one: self._held[one.whose], default=None)

    def _let_go(self, whose: str) -> None:
        self._held[whose] -= 1
        if not self._held[whose]:
            del self._held[whose]
        self._changed.notify_all()

    def _give(self, process: _Process, is_whole: bool) -> None:
        now, surplus = time.monotonic(), list[_Process]()
        with self._changed:
            self._let_go(process.whose)
            if process not in self._busy:  # closed meanwhile
                return
            self._busy.discard(process)
            if not is_whole:
                surplus.append(process)
            else:
                process.idle_since = now
                self._idle.append(process)
                # The one used last is used next, so those at the front have been idle for longest.
                while len(self._idle) > 1 and now - self._idle[0].idle_since > _IDLE:
                    surplus.append(self._idle.pop(0))
        for one in surplus:
            one.end()


def _refusal(why: str, seconds: int, memory: int) -> RadiographError:
    if why == "TIME":
        return RadiographError(
            f"expected a picture that is decoded within {seconds} s of processor time. Received: one that takes longer",
            code="TOO_LARGE",
            advice=f"The picture takes too long to decode; {EXPORT}",
        )
    if why == "MEMORY":
        return RadiographError(
            f"expected a picture that is decoded within {format_size(memory)} of memory. Received: one that takes more",
            code="TOO_LARGE",
            advice=f"The picture takes too much memory to decode; {EXPORT}",
        )
    return RadiographError(
        "expected a picture that can be decoded. Received: one that ends the decoder", advice=DAMAGED
    )


def _buffer(name: str) -> int:
    """Return the descriptor of a file in memory, where the system has them; else of one without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, data: bytes) -> None:
    view, position = memoryview(data), 0
    while position < len(view):
        position += os.pwrite(descriptor, view[position:], position)


def _read(descriptor: int, pixels: Pixels) -> None:
    view, position = memoryview(pixels.data).cast("B"), 0
    while position < len(view):
        count = os.preadv(descriptor, [view[position:]], position)
        if not count:
            raise OSError("fewer pixels than the decoder says")
        position += count


_pool = Pool(_MOST)


def decode(
    task: Task, data: bytes, numbers: Sequence[int | str] = (), meanwhile: Callable[[], str] = str
) -> tuple[Decoded, str]:
    """Decode one file in a decoder process, from any thread.

    Parameters
    ----------
    task
        "picture": a file as `imaging.pictures` describes it. "square": the same, resampled to a square of 8 bits.
        "jpeg": a bare JPEG of one component, as stored. "frame": a code stream for GDCM.
    data
        The bytes of the file or the stream.
    numbers
        Of a "square": its side. Of a "frame": rows, columns, bits allocated, bits stored, transfer syntax UID.
    meanwhile
        Called once the file is with the decoder, before its answer is awaited. It is called again if the file has to be
        tried once more.

    Returns
    -------
    Decoded
        The pixels.
    str
        What `meanwhile` returned.

    Raises
    ------
    RadiographError
        As the decoder refuses the file; TOO_LARGE if it takes more than `Limits.decode_bytes` or
        `Limits.decode_seconds`, UNREADABLE if it crashes the decoder.
    """
    return _pool.decode(task, data, numbers, meanwhile)


@contextmanager
def on_behalf_of(whose: str) -> Iterator[None]:
    """Decode what the body decodes on behalf of somebody, such as a network address, who leaves a process to others."""
    token = _whose.set(whose)
    try:
        yield
    finally:
        _whose.reset(token)


def running() -> tuple[int, ...]:
    """Return the process ids of the decoders that run."""
    return _pool.pids()


def shut_down() -> None:
    """End every decoder; the next file starts another."""
    _pool.close()


def _after_fork() -> None:
    global _pool
    _pool.forget()
    _pool = Pool(_MOST)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(shut_down)
