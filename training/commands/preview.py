"""Command `preview-augmentation`: a contact sheet of augmented radiographs as a file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.errors import AppError
from core.files import write_atomically
from core.formatting import format_count
from core.settings import Settings
from model.tf_startup import start_tensorflow
from training.commands.arguments import add_command, number
from training.data.dataset import scan_folder
from training.data.preview import MAX_COPIES, MAX_FILMS, TILE_PX, contact_sheet, pick_films
from training.data.recipes import MAX_STRENGTH, RECIPES, current_name, resolve


def add_commands(acts: Any) -> None:
    """Register `preview-augmentation` with argparse's sub-parsers."""
    parser = add_command(
        acts,
        "preview-augmentation",
        "draw a contact sheet of radiographs before and after data augmentation",
        "preview-augmentation --data chest_xray",
        "preview-augmentation --data chest_xray --recipe strong finetune --films 2 --out recipes.png",
        "preview-augmentation --data chest_xray --recipe strong --strength 0.5 --copies 8",
        "preview-augmentation --data chest_xray --recipe lungs lungs_finetune another_unit --films 6",
        note="The sheet shows radiographs: store it as patient data. Its rows have numbers and classes, no file names. "
        "Recipes for the lungs are shown on films framed by them, as a network sees them that is trained so; the look "
        "is taken over from films of the other class on the sheet.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with NORMAL/ and PNEUMONIA/, or with train/ above them",
    )
    parser.add_argument(
        "--recipe",
        nargs="+",
        default=["strong"],
        type=current_name,
        choices=sorted(RECIPES),
        metavar="NAME",
        help=f"one or more of {', '.join(sorted(RECIPES))} (strong)",
    )
    parser.add_argument(
        "--strength",
        type=number(float, 0, MAX_STRENGTH),
        default=1.0,
        metavar="S",
        help="0 changes nothing, 1 is the recipe itself, 2 goes twice as far (%(default)s)",
    )
    parser.add_argument(
        "--films",
        type=number(int, 1, MAX_FILMS),
        default=4,
        metavar="N",
        help="number of radiographs, both classes in turn (%(default)s)",
    )
    parser.add_argument(
        "--copies",
        type=number(int, 1, MAX_COPIES),
        default=5,
        metavar="N",
        help="augmented copies of each (%(default)s)",
    )
    parser.add_argument(
        "--fills-border",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fill black borders with the continued margin, as training does (yes)",
    )
    parser.add_argument(
        "--out", type=_png, default=Path("augmentation.png"), metavar="FILE.png", help="the sheet (%(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=number(int, 0, 2**63),
        default=0,
        metavar="N",
        help="decides which radiographs and which augmentations (%(default)s)",
    )
    parser.set_defaults(act=_preview)


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"expected a file name that ends in .png. Received: {text}")
    return Path(text)


def _preview(options: argparse.Namespace, settings: Settings) -> int:
    if not options.out.parent.is_dir():
        raise AppError(
            f"expected a folder to write into. Received: {options.out.parent}",
            advice="Name a file in a folder that exists: --out FILE.png.",
        )
    recipes = [replace(resolve(name, options.strength), fills_border=options.fills_border) for name in options.recipe]
    films = scan_folder(options.data).train
    pictures, names, labels = pick_films(films, options.films, options.seed, options.fills_border)
    pairs = _with_lungs(pictures, settings) if any(recipe.is_for_lungs for recipe in recipes) else None
    sheet = contact_sheet(pictures, names, recipes, options.copies, options.seed, TILE_PX, pairs, labels)
    _, encoded = cv2.imencode(".png", sheet)
    write_atomically(options.out, encoded.tobytes())
    shown, copies = (
        format_count(len(pictures), "radiograph"),
        format_count(options.copies, "augmented copy", "augmented copies"),
    )
    print(f"{options.out}: {shown}, {copies} of each with {', '.join(recipe.name for recipe in recipes)}")
    return 0


def _with_lungs(pictures: npt.NDArray[np.uint8], settings: Settings) -> npt.NDArray[np.uint8]:
    from model.anatomy_files import load_anatomy_finder, shipped_anatomy
    from model.framing import pairs_of

    start_tensorflow(in_batches=True)
    return pairs_of(pictures, load_anatomy_finder(*shipped_anatomy(settings)))
