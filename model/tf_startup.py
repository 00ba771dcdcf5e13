"""TensorFlow start-up without its native messages on the terminal.

They come from C++ before any logging level is read ("Could not find cuda drivers …"), so only the file descriptor can
be held back. For command lines; a server keeps its whole log.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile


def start_tensorflow(in_batches: bool = False) -> None:
    """Import tensorflow and let it look for devices; its output is shown only if that fails.

    Parameters
    ----------
    in_batches
        Whether the network will read many pictures at a time, as in training.
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
            # Training several networks warns that each is traced anew, which is expected.
            tensorflow.get_logger().setLevel("ERROR")
        except BaseException:
            held_back.seek(0)
            os.write(kept, held_back.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
