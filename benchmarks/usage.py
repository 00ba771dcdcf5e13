"""Processor time of this process, of those that it has waited for and of its decoders (`imaging.worker`)."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

from imaging import worker


def processor() -> float:
    """Return the processor time in seconds."""
    ended = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    ticks = 0
    for pid in worker.running():
        with suppress(FileNotFoundError):
            # utime, stime and those of the copies that it has waited for (proc_pid_stat(5)).
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
    return ended + ticks / os.sysconf("SC_CLK_TCK")
