"""Decoder process: run as a script by `imaging.worker`, never imported.

It decodes one file after another, and what a file does to it harms nothing else: it may write no file, its memory is
bounded, and so is the processor time of each file. GDCM, which damaged code streams can crash, decodes each frame in a
copy of this process that ends with it.

The file lies in one shared buffer, the pixels leave in another; a socket carries one line of JSON each way. It ends
with the socket, which the operating system closes when the process that started it is gone. (Linux could send a signal
instead, PR_SET_PDEATHSIG, but does so when the thread ends that started it, and Streamlit's threads are short-lived.)
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LONGEST_LINE = 1 << 16
# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def main(arguments: dict[str, Any]) -> int:
    """Decode until the socket ends.

    Parameters
    ----------
    arguments
        `path` (sys.path), the descriptors `socket`, `file` and `pixels`, the size of the buffer of pixels
        `pixels_bytes`, the limits `memory` (bytes beside what the process takes to begin with) and `seconds` (of
        processor time for a file).
    """
    sys.path[:] = arguments["path"]
    _keep_freed_memory()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.putenv(name, "1")
    import cv2

    importlib.import_module("imaging.picture_decoder")  # before the limits
    cv2.setNumThreads(1)
    # PIL goes on without the tags that a truncated TIFF lacks, such as the one that says which value is white.
    warnings.filterwarnings("error", message="Corrupt EXIF data")
    line = socket.socket(fileno=arguments["socket"])
    pixels = mmap.mmap(arguments["pixels"], arguments["pixels_bytes"])
    _limit(arguments["memory"])
    _say(line, {"ready": True})
    with line, line.makefile("rb") as requests:
        while request := requests.readline(_LONGEST_LINE):
            _limit_time(arguments["seconds"])
            answer = _answer(json.loads(request), arguments["file"], pixels, arguments["seconds"])
            _say(line, answer)
            if answer.get("ended") == "MEMORY":
                break
    return 0


def _keep_freed_memory() -> None:
    """Keep what one film of usual size took for the next: else each has its pages made anew, which takes 8 ms."""
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _limit(memory: int) -> None:
    for name, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(name, (most, most))
    with suppress(OSError, ValueError):  # macOS knows neither the file nor the limit
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = taken + memory if hard == resource.RLIM_INFINITY else min(taken + memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _limit_time(seconds: int) -> None:
    """Give this process so much processor time from now on; beyond it the kernel ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + seconds, hard))


def _say(line: socket.socket, value: dict[str, Any]) -> None:
    line.sendall(json.dumps(value).encode() + b"\n")


def _answer(request: dict[str, Any], file: int, target: mmap.mmap, seconds: int) -> dict[str, Any]:
    """Decode one file: returns the shape and what else is known of its pixels, or why there are none."""
    from core.errors import RadiographError

    data = os.pread(file, request["size"], 0)
    try:
        match request["task"]:
            case "picture":
                return _picture(data, target)
            case "square":
                return _square(data, request["numbers"][0], target)
            case "jpeg":
                return _jpeg(data, target)
            case "frame":
                return _in_copy(data, request["numbers"], target, seconds)
    except RadiographError as error:
        return {"refused": [str(error), error.advice, error.code]}
    except MemoryError:
        return {"ended": "MEMORY"}
    except Exception as error:  # PIL's decoders raise many kinds of errors
        return {"failed": type(error).__name__}
    return {"failed": "unknown task"}


def _picture(data: bytes, target: mmap.mmap) -> dict[str, Any]:
    from imaging.picture_decoder import read_picture

    read = read_picture(data)
    return _put(read.pixels, target) | {
        "facts": [read.source_format, read.bits, float(read.coloured_share), bool(read.is_one_hue)]
    }


def _square(data: bytes, px: int, target: mmap.mmap) -> dict[str, Any]:
    from imaging.picture_decoder import read_picture
    from imaging.resample import eight_bits, resize

    read = read_picture(data)
    return _put(resize(eight_bits(read.pixels, read.bits), px), target)


def _jpeg(data: bytes, target: mmap.mmap) -> dict[str, Any]:
    from imaging.jpeg import grey_jpeg

    return _put(grey_jpeg(data), target)


def _put(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], target: mmap.mmap) -> dict[str, Any]:
    import numpy as np

    rows, columns = pixels.shape
    np.copyto(np.frombuffer(target, pixels.dtype, pixels.size).reshape(rows, columns), pixels)
    return {"shape": [rows, columns], "bytes": pixels.dtype.itemsize}


def _in_copy(stream: bytes, numbers: list[Any], target: mmap.mmap, seconds: int) -> dict[str, Any]:
    """Decode with GDCM in a copy of this process, whose end says whether it could."""
    from imaging.dicom import gdcm_codec

    rows, columns, allocated, stored, syntax = numbers
    size = rows * columns * (allocated // 8)
    copy = os.fork()
    if not copy:
        status = 1
        try:
            _limit_time(seconds)
            words = gdcm_codec.decode_frame(stream, rows, columns, allocated, stored, syntax)
            if len(words) == size:
                target[:size] = words
                status = 0
        finally:
            os._exit(status)  # without the interpreter's farewell, in which GDCM does not always free its own in peace
    status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    if status == -signal.SIGXCPU:
        return {"ended": "TIME"}
    if status:
        return {"failed": "GDCMError" if status > 0 else signal.Signals(-status).name}
    return {"shape": [rows, columns], "bytes": allocated // 8}


if __name__ == "__main__":
    # Nothing is to be freed one by one.
    os._exit(main(json.loads(sys.argv[1])))
