"""Start TensorFlow without its native start-up lines on the terminal.

They come from C++ before any logging level is read ("Could not find cuda drivers …"), so a command whose output people
read can only hold back the file descriptor. For command lines; a server keeps its log whole.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile


def start_tensorflow(in_batches: bool = False) -> None:
    """Import tensorflow and let it look for devices, showing what it printed only if that fails.

    `in_batches` tells that what follows gives the network many pictures at a time, as training does.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if in_batches:
        # TensorFlow leaves oneDNN off on processors without AVX-512. There a batch of 16 takes 0.85 of the time with
        # it, and a single film 1.3 times as long.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            tensorflow = importlib.import_module("tensorflow")
            tensorflow.config.list_logical_devices()
            # A command that trains network after network is told that each is traced anew, as it must be.
            tensorflow.get_logger().setLevel("ERROR")
        except BaseException:
            held_back.seek(0)
            os.write(kept, held_back.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
