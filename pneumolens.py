"""The Python interface of PneumoLens: read, assess, evaluate and train from one's own code.

The names below are stable: semantic versioning applies to them and to the values that they take and return. Everything
else may move between minor versions. `docs/api.md` shows each with an example.

>>> import pneumolens
>>> classifier = pneumolens.load_active()                                # doctest: +SKIP
>>> pneumolens.assess(Path("film.dcm").read_bytes(), classifier).status  # doctest: +SKIP
'assessed'
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from core.errors import AppError
from core.printable import printable
from core.progress import Progress, Report, counted, ignore
from core.settings import Settings, load_settings
from imaging.film import Radiograph
from imaging.radiograph import decode_radiograph
from model.assessment import Assessment, Heatmap, InputIssue, Prediction
from model.card import Evaluation, Measure, ModelCard
from model.engine import Classifier
from model.pipeline import assess

if TYPE_CHECKING:
    from training.fitting.config import TrainingConfig

__version__ = "0.2.0"
__all__ = [
    "AppError",
    "Assessment",
    "Classifier",
    "Evaluation",
    "Heatmap",
    "InputIssue",
    "Measure",
    "ModelCard",
    "Prediction",
    "Progress",
    "Radiograph",
    "Settings",
    "assess",
    "decode_radiograph",
    "evaluate",
    "load_active",
    "train",
]

EXAMPLES = """examples:
  pneumolens serve
  pneumolens serve --server.port 8600
  pneumolens assess film.dcm films/ --json results.jsonl
  pneumolens assess --help
  pneumolens unlock

`pneumolens unlock` ends the waiting time after wrong passwords.
`pneumolens serve` passes all further options to `streamlit run`. Training has a command of its own: pneumolens-train.
"""


def load_active(settings: Settings | None = None) -> Classifier:
    """Load the classifier version in use.

    Parameters
    ----------
    settings
        Settings of the installation; None reads them from the environment (`PNEUMOLENS_DATA_DIR` and others).

    Returns
    -------
    Classifier
        The version in use, ready for `assess` and `evaluate`. Loading takes seconds and about 1 GB: load it once.

    Raises
    ------
    SettingsError
        If an environment variable cannot be understood.
    ClassifierError
        If there is no version in use, or its files are missing or fail their checksum.
    """
    from model.engine import load_classifier
    from model.promotions import verified
    from model.registry import active_version
    from model.tf_startup import start_tensorflow

    settings = settings or load_settings(os.environ)
    folder, _ = verified(settings, active_version(settings))
    start_tensorflow()
    return load_classifier(folder, settings.architectures)


def evaluate(
    classifier: Classifier,
    folder: str | Path,
    *,
    name: str = "",
    report: Report = ignore,
    settings: Settings | None = None,
) -> Evaluation:
    """Measure a classifier on a folder of labelled radiographs, at the operating point of its card.

    Parameters
    ----------
    classifier
        From `load_active`.
    folder
        Holds `NORMAL/` and `PNEUMONIA/`. Files that cannot be read are left out; `Evaluation.n` counts the rest.
    name
        Name of the set, such as "ward 2026"; the folder's own by default.
    report
        Called with the progress, a `Progress` at a time.
    settings
        Settings of the installation in whose ledger a look at a test set is recorded; None reads them from the
        environment.

    Returns
    -------
    Evaluation
        Counts, ten measures with 95 % intervals, curves and histograms.

    Raises
    ------
    DatasetError
        If the folder lacks one of the classes, or none of its files can be read.
    """
    from records.activity import command_line_user
    from training.data.dataset import scan_folder
    from training.evaluation.evaluate import evaluate_samples
    from training.evaluation.looks import recorder

    root = Path(folder)
    samples = scan_folder(root).train
    tick = counted(report, "evaluating", len(samples))
    record = recorder(settings or load_settings(os.environ), "Python interface", command_line_user())
    return evaluate_samples(classifier, samples, name or root.name, tick, record)[0]


def train(
    folder: str | Path,
    *,
    architecture: str = "inception_v3",
    preset: str = "standard",
    backbone_weights: str | Path | None = None,
    run_dir: str | Path | None = None,
    source: str = "",
    describe: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    report: Report = ignore,
    **config: Any,
) -> str:
    """Train a classifier version from a folder of labelled radiographs. It is registered, not promoted.

    Parameters
    ----------
    folder
        Holds `NORMAL/` and `PNEUMONIA/`, or `train/`, `val/` and `test/` with these.
    architecture
        A name that `pneumolens-train architectures` lists, or "package.module:function".
    preset
        "quick", "standard" or "thorough": how many epochs each stage has.
    backbone_weights
        Initial weights: a file, "imagenet" (downloaded by Keras) or "random"; None takes the setting's.
    run_dir
        Directory of the run. One that exists is resumed from its last epoch, and the other parameters are ignored;
        None makes a new one below the data folder.
    source
        Where the data comes from, for the card.
    describe
        What else is known of the data, by the keys of `training.data.description.FIELDS`: licence, population, ages …
    settings
        Settings of the installation; None reads them from the environment.
    report
        Called with the progress, a `Progress` at a time.
    **config
        Further fields of `TrainingConfig`, such as ``epochs=3`` or ``seed=7``.

    Returns
    -------
    str
        The version's name, such as "2026.12.01-1".

    Raises
    ------
    DatasetError
        If the folder cannot be used, or has changed since the run began.
    ClassifierError
        If the initial weights do not fit the architecture.
    """
    from model.tf_startup import start_tensorflow
    from training.data.data_request import DataRequest
    from training.data.description import checked
    from training.fitting.initial_weights import choose_initial_weights
    from training.runs.request import REQUEST, RunRequest, create_run

    settings = settings or load_settings(os.environ)
    run = Path(run_dir) if run_dir else settings.runs_dir / f"{datetime.now(UTC):%Y.%m.%d-%H%M%S-%f}"
    if not (run / REQUEST).exists():
        weights = choose_initial_weights(backbone_weights, settings.backbone_weights, architecture)
        chosen = _config(architecture, preset, weights != "random", config)
        request = RunRequest(
            DataRequest((Path(folder).resolve(),), key_file=settings.patient_key_file),
            settings.versions_dir.resolve(),
            weights,
            source,
            stated=checked(describe or {}),
        )
        create_run(run, chosen, request)
    start_tensorflow(in_batches=True)
    from training.runs.run import execute

    return execute(run, settings, report).name


def _config(architecture: str, preset: str, has_weights: bool, others: dict[str, Any]) -> TrainingConfig:
    from training.fitting.config import default_config

    return default_config(architecture, preset, has_weights=has_weights, **others)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console command `pneumolens` and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="pneumolens",
        description="PneumoLens: serve the app, assess radiographs, or unlock the sign-in.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", choices=("serve", "assess", "unlock"), help="what to do")
    command = parser.parse_args(given[:1]).command
    if command == "serve":
        _serve(given[1:])
    if command == "unlock":
        return _unlock(given[1:])
    from model.__main__ import main as assess_command

    return assess_command(given)


def _serve(options: Sequence[str]) -> NoReturn:
    """Become `streamlit run app.py`, so that a signal to this command, as of a service manager, ends the server."""
    app = Path(__file__).with_name("app.py")
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(app), *options])


def _unlock(options: Sequence[str]) -> int:
    """End the waiting times of the sign-in: whoever may write into the data folder may do so."""
    from records.activity import note
    from records.administrator import unlock

    argparse.ArgumentParser(
        prog="pneumolens unlock", description="End every waiting time after wrong passwords or one-time codes."
    ).parse_args(options)
    try:
        settings = load_settings(os.environ)
        sources = unlock(settings)
        note(settings, "unlock", who="command line")
    except AppError as error:
        print(printable(str(error)), printable(error.advice), sep="\n", file=sys.stderr)
        return 1
    print(f"The sign-in is unlocked. Addresses with failed attempts before: {sources}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
