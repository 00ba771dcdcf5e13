"""Command `speed`: measure how fast this machine trains a network."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from core.formatting import format_duration
from core.settings import Settings
from model.networks.architectures import ARCHITECTURES
from model.tf_startup import start_tensorflow
from training.commands.arguments import add_command, trainable


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-commands."""
    speed = add_command(
        acts,
        "speed",
        "measure how fast this machine trains a network, for estimates of training time",
        "speed inception_v3",
    )
    speed.add_argument(
        "architecture",
        nargs="?",
        default="inception_v3",
        metavar="ARCHITECTURE",
        help=f"{', '.join(ARCHITECTURES)} (default: inception_v3)",
    )
    speed.set_defaults(act=_speed)


def _speed(options: argparse.Namespace, settings: Settings) -> int:
    trainable(options.architecture)
    start_tensorflow(in_batches=True)
    from training.fitting.config import default_config
    from training.runs.estimate import fit_seconds, keep_speed
    from training.runs.measure import measure

    print("Measuring takes about half a minute.", file=sys.stderr, flush=True)
    speed = measure(options.architecture)
    keep_speed(settings, speed)
    print(
        f"{speed.architecture} at {speed.input_px} px on {speed.processors} processors: training "
        f"{speed.fitting:.1f} images/s, inference {speed.forward:.1f} images/s"
    )
    for preset in ("quick", "standard", "thorough"):
        seconds = fit_seconds(default_config(options.architecture, preset), 3883, 1349, speed)
        print(f"  {preset:<9} on 5,232 radiographs: {format_duration(seconds)}")
    return 0
