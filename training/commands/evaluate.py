"""Commands `evaluate`, `compare`, `robustness` and `faithfulness`: measurements of a classifier.

Whatever can fail at once is tried before TensorFlow starts, and nothing slow is imported to show the help.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

from core.files import write_atomically
from core.printable import printable
from core.settings import Settings
from model.tf_startup import start_tensorflow
from training.commands.arguments import (
    add_command,
    add_data_options,
    add_patient_options,
    data_of,
    new_file,
    number,
    share,
)

if TYPE_CHECKING:
    from model.card import ModelCard
    from model.engine import Classifier
    from training.data.dataset import DatasetFolder
    from training.data.sample import Sample
    from training.data.style_features import StyleFeatures
    from training.evaluation.looks import Recorder
    from training.runs.learned_films import FilmsSeen

_COMPARE_NOTE = """\
Every difference is A minus B: A is --classifier, B is --with. With the name of a run, A is the version that it made, B
the one in use or --with, and they are compared on the radiographs that the run held out; the Retrain page shows the
same."""
_ROBUSTNESS_NOTE = """\
Each radiograph is read unchanged and after each of about twenty perturbations, which takes that many times as long as
evaluate. The operating point is not changed."""
_FAITHFULNESS_NOTE = "Each radiograph takes over a hundred passes through the network."


def add_commands(acts: Any) -> None:
    """Add the commands to the sub-parsers of `python -m training`; each sets `act` to (options, settings) → status."""
    evaluate = _command(
        acts,
        "evaluate",
        "evaluate a version on a folder with NORMAL/ and PNEUMONIA/",
        "evaluate --data chest_xray/test --json test.json",
        "evaluate --data chest_xray/test --detail detail.json --prevalence 0.1 --prevalence 0.3",
    )
    evaluate.add_argument(
        "--detail",
        type=new_file,
        metavar="FILE",
        help="also report by class, pathogen, purpose and prevalence, and write that there as JSON",
    )
    evaluate.add_argument(
        "--prevalence",
        type=share,
        action="append",
        metavar="P",
        help="also report at this prevalence, in (0, 1); may be repeated (default, with --detail: 0.05, 0.2 and 0.5)",
    )
    evaluate.add_argument(
        "--styles",
        type=Path,
        metavar="FILE",
        help="also report by acquisition style, with the styles of an audit's JSON (default: those of the card)",
    )
    evaluate.set_defaults(act=_evaluate)

    compare = _command(
        acts,
        "compare",
        "compare two versions on the same radiographs",
        "compare --data chest_xray/test --with 2026.11.21-3",
        "compare --data chest_xray/test --classifier 2026.11.22-1 --with 2026.11.21-3 --json compare.json",
        "compare 2026.11.21-145503",
        note=_COMPARE_NOTE,
        needs_data=False,
    )
    compare.add_argument("run", nargs="?", metavar="RUN", help="a training run, in place of --data and --classifier")
    compare.add_argument("--with", dest="other", metavar="VERSION", help="the version to compare with")
    compare.set_defaults(act=_compare, refuse=compare.error)

    robustness = _command(
        acts,
        "robustness",
        "measure the robustness of a version to perturbations",
        "robustness --data chest_xray/test",
        "robustness --data chest_xray/test --classifier 2026.11.22-1 --json robustness.json",
        note=_ROBUSTNESS_NOTE,
    )
    robustness.add_argument(
        "--onto-card",
        action="store_true",
        help="also write the results onto the model card, which the Performance page shows",
    )
    robustness.set_defaults(act=_robustness)

    faithfulness = _command(
        acts,
        "faithfulness",
        "measure the faithfulness of evidence maps: deletion, insertion and randomisation tests",
        "faithfulness --data chest_xray/test --films 10",
        "faithfulness --data chest_xray/test --classifier 2026.11.22-1 --json faithfulness.json",
        note=_FAITHFULNESS_NOTE,
    )
    faithfulness.add_argument(
        "--films",
        type=number(int, 1, 100_000),
        default=30,
        metavar="N",
        help="number of radiographs assessed as pneumonia (%(default)s)",
    )
    faithfulness.set_defaults(act=_faithfulness)


def _command(
    acts: Any, name: str, summary: str, *examples: str, note: str = "", needs_data: bool = True
) -> argparse.ArgumentParser:
    parser = add_command(acts, name, summary, *examples, note=note)
    add_data_options(parser, required=needs_data)
    add_patient_options(parser)
    parser.add_argument("--classifier", metavar="VERSION", help="the version to measure (default: the version in use)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the results there as JSON")
    return parser


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    folder, (classifier,) = _prepared(options, settings, options.classifier)
    samples = folder.train
    from training.evaluation.evaluate import (
        PREVALENCES,
        detail_to_json,
        detail_to_text,
        evaluate_scores,
        evaluation_to_json,
        evaluation_to_text,
        look_closer,
        score_samples,
    )
    from training.evaluation.groups import styles_of
    from training.evaluation.looks import looks_in_words
    from training.runs.learned_films import FilmsSeen

    seen = FilmsSeen()
    card = _with_styles(classifier.card, options.styles)
    features: list[StyleFeatures] = []
    with _bar("evaluating", len(samples)) as bar:
        used, logits, failures = score_samples(classifier, samples, bar.update, seen, features if card.styles else None)
    _print_skipped(failures)
    recorded = _recorder(settings, "evaluate")(used, (classifier.version,), folder.request.title)
    evaluation = evaluate_scores(card, used, logits, folder.request.title, styles_of(card, features))
    said = looks_in_words(settings, recorded)
    (learned,) = _learned(settings, (classifier.version,), seen)
    _write(options.json, evaluation_to_json(evaluation, classifier.version, said, learned))
    print(evaluation_to_text(evaluation, classifier.version))
    _print_looks(said)
    _print_learned([learned])
    if options.detail or options.prevalence:
        detail = look_closer(classifier.card, used, logits, folder.request.title, options.prevalence or PREVALENCES)
        _write(options.detail, detail_to_json(detail))
        print(detail_to_text(detail))
    return 0


def _compare(options: argparse.Namespace, settings: Settings) -> int:
    if options.run is not None:
        if options.data or options.classifier:
            options.refuse("expected RUN, or --data and --with. Received: both")
        from training.commands.compare_run import compare_run_and_print

        return compare_run_and_print(options.run, options.other, options.json, settings)
    if missing := [name for name, value in (("--data", options.data), ("--with", options.other)) if not value]:
        options.refuse(f"the following arguments are required: {', '.join(missing)}")
    folder, (a, b) = _prepared(options, settings, options.classifier, options.other)
    samples = folder.train
    from training.evaluation.compare import compare_classifiers, comparison_to_json, comparison_to_text
    from training.runs.learned_films import FilmsSeen

    seen = FilmsSeen()
    with _bar("comparing", len(samples)) as bar:
        comparison, used, failures = compare_classifiers(a, b, samples, bar.update, seen=seen)
    _print_skipped(failures)
    said = _looked(settings, "compare", used, (a.version, b.version), folder.request.title)
    names = [folder.name_of(sample) for sample in used]
    learned = _learned(settings, (a.version, b.version), seen)
    _write(options.json, comparison_to_json(comparison, names, learned))
    print(comparison_to_text(comparison, names, folder.request.title))
    _print_looks(said)
    _print_learned(learned)
    return 0


def _robustness(options: argparse.Namespace, settings: Settings) -> int:
    folder, (classifier,) = _prepared(options, settings, options.classifier)
    samples = folder.train
    from training.evaluation.robustness import robustness, robustness_to_json, robustness_to_text, rows_for_card

    with _bar("perturbing radiographs", len(samples)) as bar:
        rows, failures = robustness(classifier, samples, tick=bar.update)
    _print_skipped(failures)
    said = _looked(settings, "robustness", samples, (classifier.version,), folder.request.title)
    _write(options.json, robustness_to_json(rows, classifier.version, folder.request.title))
    if options.onto_card:
        from model.promotions import change_card
        from records.activity import command_line_user, noted

        card = dataclasses.replace(classifier.card, robustness=rows_for_card(rows, folder.request.title))
        who = command_line_user()
        with noted(settings, "change-card", who=who, object=card.version):
            change_card(settings, card, who=who, why=f"robustness on {folder.request.title}")
    print(robustness_to_text(rows, classifier.version, folder.request.title))
    _print_looks(said)
    return 0


def _faithfulness(options: argparse.Namespace, settings: Settings) -> int:
    folder, (classifier,) = _prepared(options, settings, options.classifier)
    samples = folder.train
    from model.networks.weights import load_network
    from model.registry import version_folder
    from training.evaluation.faithfulness import (
        Faithfulness,
        choose_films,
        exchanges,
        faithfulness_to_json,
        faithfulness_to_text,
    )
    from training.evaluation.sanity_checks import STAGES, compare_with_randomised, randomised_stages

    card = classifier.card
    with _bar("choosing radiographs", options.films) as bar:
        films, failures = choose_films(classifier, samples, options.films, tick=bar.update)
    _print_skipped(failures)
    said = _looked(settings, "faithfulness", samples, (classifier.version,), folder.request.title)
    with _bar("exchanging regions", len(films.pneumonia) * (2 if len(films.healthy) else 1)) as bar:
        curves = exchanges(classifier, films, tick=bar.update)
    network = load_network(
        version_folder(settings, card.version) / card.weights_file,
        card.architecture,
        classifier.input_px,
        settings.architectures,
    )
    with _bar("randomising weights", len(STAGES)) as bar:
        others, rows = compare_with_randomised(
            classifier, films.pneumonia, randomised_stages(network, card, films.pneumonia), bar.update
        )
    result = Faithfulness(classifier.version, len(films.pneumonia), curves, others, rows, films.without_map)
    _write(options.json, faithfulness_to_json(result))
    print(faithfulness_to_text(result, folder.request.title))
    _print_looks(said)
    return 0


def _prepared(
    options: argparse.Namespace, settings: Settings, *versions: str | None
) -> tuple[DatasetFolder, list[Classifier]]:
    """Return the dataset and the loaded versions, the one in use for None."""
    from model.engine import load_classifier
    from model.promotions import verified
    from model.registry import active_version
    from training.data.dataset import scan
    from training.data.patient_preview import skipped_in_words

    dataset = scan(data_of(options, settings))
    if dataset.skipped:
        print(f"Skipped: {skipped_in_words(dataset.skipped)}.", file=sys.stderr)
    folders = [verified(settings, version or active_version(settings))[0] for version in versions]
    start_tensorflow(in_batches=True)
    return dataset, [load_classifier(folder, architectures=settings.architectures) for folder in folders]


def _with_styles(card: ModelCard, path: Path | None) -> ModelCard:
    """Return the card with the styles of a file that `audit --json` wrote, where one is named."""
    if path is None:
        return card
    from training.data.styles import read_style_model, style_model_to_values

    return dataclasses.replace(card, styles=style_model_to_values(read_style_model(path)))


def _recorder(settings: Settings, command: str) -> Recorder:
    from records.activity import command_line_user
    from training.evaluation.looks import recorder

    return recorder(settings, command, command_line_user())


def _looked(
    settings: Settings, command: str, samples: Sequence[Sample], versions: Sequence[str], split: str
) -> list[str]:
    """Record the look at test sets and return how often each has been looked at."""
    from training.evaluation.looks import looks_in_words

    return looks_in_words(settings, _recorder(settings, command)(samples, versions, split))


def _learned(settings: Settings, versions: Sequence[str], seen: FilmsSeen) -> list[dict[str, Any]]:
    """Return how many of the films each version has learned from."""
    from training.runs.learned_films import learned_films

    found = (learned_films(settings, version, seen) for version in versions)
    return [dataclasses.asdict(one) | {"warning": one.sentence} for one in found]


def _print_learned(learned: Iterable[dict[str, Any]]) -> None:
    for one in learned:
        if one["warning"]:
            print(printable(f"warning: {one['warning']}"))


def _print_looks(said: Iterable[str]) -> None:
    for one in said:
        print(printable(f"  {one}"))


def _bar(name: str, total: int) -> tqdm[NoReturn]:
    return tqdm(total=total, desc=name, disable=None, leave=False)


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        write_atomically(path, text + "\n")


def _print_skipped(failures: Iterable[tuple[Path, str]]) -> None:
    for path, reason in failures:
        print(printable(f"skipped {path}: {reason}"), file=sys.stderr)
