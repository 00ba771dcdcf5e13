"""Command `export`: a classifier version in the format of another runtime."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.printable import printable
from core.settings import Settings
from model.export import FORMATS, SIDECAR, TOLERANCE
from model.tf_startup import start_tensorflow
from training.commands.arguments import add_command

_NOTE = f"""\
The logits of drawn pictures are compared with the version's own in the runtime of the format; nothing is written unless
they agree within {TOLERANCE:g}. Of a version that frames films by their lungs the anatomy network is exported and
compared too. {SIDECAR} in the folder says how a file becomes the input, and the logit a probability.
onnx and openvino take packages of their own: pip install "pneumolens[export]"."""


def add_commands(acts: Any) -> None:
    """Add the command to the sub-commands."""
    export = add_command(
        acts,
        "export",
        "export the network of a version for another runtime, with preprocessing and calibration as JSON",
        "export 2026.11.22-10 --format saved_model --out lens",
        "export --format openvino --out lens_openvino",
        note=_NOTE,
    )
    export.add_argument("version", nargs="?", metavar="VERSION", help="the version (default: the one in use)")
    export.add_argument("--format", choices=FORMATS, required=True, help="format of the network")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; it must not exist")
    export.set_defaults(act=_export)


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from model.export import export_version, refuse_existing
    from model.promotions import verified
    from model.registry import active_version

    refuse_existing(options.out)
    folder = verified(settings, options.version or active_version(settings))[0]
    start_tensorflow(in_batches=True)
    made = export_version(folder, options.out, options.format, settings.architectures)
    print(
        printable(
            f"{folder.name} as {options.format} in {made.folder}: logits of {made.films} drawn pictures differ by "
            f"{made.largest_difference:.1e} at most (limit {TOLERANCE:g})"
            + (
                f", lungs and poses by {made.largest_anatomy_difference:.1e}"
                if made.largest_anatomy_difference is not None
                else ""
            )
        )
    )
    return 0
