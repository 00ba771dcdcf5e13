"""The Train step before a run: training preset, initial weights, advanced settings and the estimated time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from core.errors import AppError
from core.formatting import format_count, format_duration, format_percentage
from core.settings import Settings
from model.card import ModelCard
from model.networks.architectures import ARCHITECTURES, find_architecture
from model.registry import version_folder
from pages.retraining import file_cache
from pages.retraining.choose import datasets_object
from pages.retraining.styles import worst_first
from pages.shared import classifiers, visitor
from pages.shared.administrator import still_administrator
from training.data.audit import Audit
from training.data.description import FIELDS, FROM_FILES, MOST_CHARACTERS, RECOGNISED
from training.data.recipes import MAX_STRENGTH
from training.fitting.config import OPTIMIZERS, TrainingConfig, default_config
from training.runs import audits, estimate, jobs, run_queue
from training.runs.audits import AuditState

PRESETS = {
    "quick": ("Quick", "Trains the classification head only, on features computed once."),
    "standard": ("Standard", "Fine-tunes most of the network: first at reduced, then at full resolution."),
    "thorough": ("Thorough", "As Standard, for at least twice as long. Suited to a night or a weekend."),
}
AUGMENTATIONS = {
    "strong": "Strong: crop, exposure, sharpness, compression and noise (recommended)",
    "framing": "Framing: strong, with rotated radiographs and wide borders",
    "keras_notebook": "Basic: small rotations, mirroring and zoom",
    "plain": "None",
}
# Of networks that see the film framed by its lungs.
LUNG_AUGMENTATIONS = {
    "lungs": "Strong: frame, exposure, and the look of another X-ray unit (recommended)",
    "lungs_finetune": "Strong, with nearly the whole frame",
    "plain": "None",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings of the form: preset, architecture, initial weights, advanced settings, and the group left out."""

    preset: str
    architecture: str
    weights: str
    others: dict[str, Any]
    leave_out: str = ""

    def config(self) -> TrainingConfig:
        """Return the training configuration; raises ValueError for invalid settings."""
        return default_config(self.architecture, self.preset, has_weights=self.weights != "random", **self.others)


# What the administrator is asked of the data where files do not say it, of `training.data.description.FIELDS`.
ASKED = {
    "source": "Source",
    "licence": "Licence",
    "population": "Population",
    "ages": "Ages",
    "labels": "Reference standard",
}


def show(settings: Settings, who: str, audit_key: str) -> None:
    """Draw the form for the audited dataset and start or queue the run on behalf of `who`."""
    state = audits.read_audit(settings, audit_key)
    if state.audit is None or state.audit.is_blocked or not file_cache.is_current(settings, state):
        st.html('<p class="pl-warning">This dataset has no valid audit. Audit it before training.</p>')
        if st.button("Back to the audit", key="start.back"):
            st.query_params["step"] = "audit"
            st.rerun()
        return
    left, right = st.columns((3, 2), gap="medium")
    with left, st.container(key="panel_start"):
        choice = show_form(settings, classifiers.card_in_use(), groups_to_leave_out(state))
    with right, st.container(key="panel_estimate"):
        try:
            config = choice.config()
        except ValueError as error:
            st.html(f'<p class="pl-warning">Invalid combination of settings. {escape(str(error))}</p>')
            return
        show_estimate(settings, config, state.audit)
        show_button(settings, who, state, choice, config)


def show_form(settings: Settings, in_use: ModelCard, groups: Mapping[str, str]) -> Choice:
    """Draw the form and return its settings."""
    st.html('<h2 class="pl-heading">Training preset</h2>')
    preset = st.radio(
        "Training preset",
        list(PRESETS),
        format_func=lambda name: PRESETS[name][0],
        captions=[text for _, text in PRESETS.values()],
        key="start.preset",
        label_visibility="collapsed",
    )
    st.html('<h2 class="pl-heading">Initial weights</h2>')
    place = st.empty()  # above the advanced settings, on which its options depend
    with st.expander("Advanced settings"):
        architecture, others = show_advanced(in_use)
        leave_out = st.selectbox(
            "Leave out of training",
            list(groups),
            key="start.leave_out",
            format_func=lambda one: groups.get(one, one),
            help="An acquisition style or source whose patients are all held out for validation, so that its figures "
            "show what the classifier does on a unit that it has not seen.",
        )
    options = initial_weights(settings, in_use, architecture)
    with place:
        weights = st.radio(
            "Initial weights",
            list(options),
            format_func=lambda name: options[name][0],
            key="start.from",
            captions=[text for _, text in options.values()],
            label_visibility="collapsed",
        )
    return Choice(preset, architecture, weights, others, leave_out)


def initial_weights(settings: Settings, in_use: ModelCard, architecture: str) -> dict[str, tuple[str, str]]:
    """Return the initial weights that fit an architecture: weights → (name, explanation), recommended first."""
    points = {}
    if in_use.architecture == architecture:
        weights = version_folder(settings, in_use.version) / in_use.weights_file
        points[str(weights.resolve())] = (
            f"Classifier in use, {in_use.version}",
            "Continues training from its weights. No download.",
        )
    if find_architecture(architecture).is_transfer:
        known = settings.backbone_weights
        points[known] = (
            "ImageNet",
            "Pretrained on natural photographs. "
            + ("Keras downloads about 90 MB." if known == "imagenet" else "The weights are on this machine."),
        )
    else:
        points["random"] = ("Random weights", "Trains from scratch, as intended for this architecture.")
    return points


def show_advanced(in_use: ModelCard) -> tuple[str, dict[str, Any]]:
    """Draw the advanced settings; return the architecture and the fields of the configuration."""
    names = list(ARCHITECTURES)
    known = in_use.architecture in names
    architecture = st.selectbox(
        "Architecture",
        names,
        index=names.index(in_use.architecture) if known else 0,
        key="start.architecture",
        format_func=lambda name: f"{name}: {ARCHITECTURES[name].summary}",
        help="The shipped classifier uses InceptionV3. Small networks train in minutes and are less accurate.",
    )
    is_framed = find_architecture(architecture).is_framed
    offered = LUNG_AUGMENTATIONS if is_framed else AUGMENTATIONS
    left, right = st.columns(2)
    with left:
        augmentation = st.selectbox(
            "Data augmentation",
            list(offered),
            format_func=offered.__getitem__,
            key="start.augmentation_lungs" if is_framed else "start.augmentation",
            help="Random transformations during training, to reduce dependence on one hospital's framing, exposure "
            "and export.",
        )
        strength = st.slider(
            "Augmentation strength",
            0.0,
            MAX_STRENGTH,
            1.0,
            0.1,
            key="start.strength",
            help="0: none. 1: as described. 2: twice as strong.",
        )
        optimizer = st.selectbox(
            "Optimizer",
            OPTIMIZERS,
            key="start.optimizer",
            help="AdamW suits all architectures here.",
        )
        batch = st.select_slider(
            "Batch size",
            (8, 16, 32, 64),
            32,
            key="start.batch",
            help="Radiographs per optimization step. Smaller batches need less memory and give noisier gradients.",
        )
    with right:
        validation = st.slider(
            "Validation split (% of patients)",
            5,
            40,
            12,
            1,
            key="start.validation",
            help="Used for calibration and the choice of the operating point, never for fitting.",
        )
        dropout = st.slider(
            "Dropout",
            0.0,
            0.8,
            0.25,
            0.05,
            key="start.dropout",
            help="Fraction of features dropped at random in each step. Higher values reduce overfitting.",
        )
        mirror = st.checkbox(
            "Test-time augmentation",
            key="start.mirror",
            help="Averages the logits of the radiograph and its mirror image. Slightly more stable; each "
            "assessment takes twice as long.",
        )
        budget = st.number_input(
            "Time limit (min)",
            0,
            10_000,
            0,
            10,
            key="start.budget",
            help="0: no limit. Epochs are shortened so that the whole schedule fits.",
        )
    seed = st.number_input(
        "Random seed",
        0,
        2**31 - 1,
        2026,
        key="start.seed",
        help="Determines the validation split, the order of the radiographs and the augmentation. The same seed on the "
        "same machine gives the same result.",
    )
    return architecture, {
        "augmentation": augmentation,
        "augmentation_strength": strength,
        "optimizer": optimizer,
        "batch_size": batch,
        "validation_fraction": validation / 100,
        "dropout": dropout,
        "mirror": mirror,
        "budget_minutes": float(budget),
        "seed": int(seed),
    }


def counts(audit: Audit) -> tuple[int, int]:
    """Return the numbers of (pneumonia, normal) radiographs in the training and validation splits."""
    splits = [audit.class_counts.get(split, {}) for split in ("train", "val")]
    pneumonia, normal = (sum(split.get(name, 0) for split in splits) for name in ("PNEUMONIA", "NORMAL"))
    return pneumonia, normal


def show_estimate(settings: Settings, config: TrainingConfig, audit: Audit) -> None:
    """Draw the training plan and the estimated time; measures this machine once for each architecture."""
    pneumonia, normal = counts(audit)
    st.html(
        '<h2 class="pl-heading">Training plan</h2>'
        f'<p class="pl-note">{pneumonia:,} pneumonia and {normal:,} normal radiographs; '
        f"{format_percentage(config.validation_fraction)} of the patients are held out for validation. "
        f"{len(config.epochs)} epochs, then calibration and evaluation on the held-out patients. Clinical use does not "
        "change until the new version is promoted.</p>"
        '<h2 class="pl-heading">Estimated time</h2>'
    )
    speed = estimate.known_speed(settings, config.architecture)
    if speed is not None:
        seconds = estimate.fit_seconds(config, pneumonia, normal, speed)
        st.html(
            f'<p class="pl-figure">{format_duration(seconds).capitalize()}</p><p class="pl-note">On this machine '
            "without other load. The training continues if you leave this page.</p>"
        )
    elif any(job.state == "running" for job in jobs.list_jobs(settings)):
        st.html(
            '<p class="pl-note">Not available: the speed of this machine is measured when no training is running.</p>'
        )
    elif estimate.measuring_failed(settings, config.architecture):
        st.html(
            '<p class="pl-note">Not available: the speed of this machine could not be measured. The time left is '
            "shown once training has started.</p>"
        )
    else:
        estimate.start_measuring(settings, config.architecture)
        wait_for_speed(settings, config.architecture)


@st.fragment(run_every=2)
def wait_for_speed(settings: Settings, architecture: str) -> None:
    """Draw that the speed is being measured, and the whole page again once it is known."""
    still_administrator()
    st.html(
        '<p class="pl-note" role="status">Measuring the speed of this machine (once, about 30 seconds). You can '
        "start the training now.</p>"
    )
    if not estimate.is_measuring(settings, architecture):
        st.rerun()


def ask_about_data(known: Mapping[str, Any]) -> dict[str, str]:
    """Ask for what headers and tables do not say of the training data; return what was entered.

    Parameters
    ----------
    known
        What they say, from `training.data.description.describe`. Published facts are filled in.
    """
    read = {name: known[name]["value"] for name in FIELDS if (known.get(name) or {}).get("from") == FROM_FILES}
    published = {name: known[name]["value"] for name in FIELDS if (known.get(name) or {}).get("from") == RECOGNISED}
    with st.expander("Training data, for the model card"):
        if read:
            rows = "".join(
                f"<tr><th>{name.capitalize()}</th><td>{escape(str(value))}</td></tr>" for name, value in read.items()
            )
            st.html(
                f'<p class="pl-name"><span>From headers and tables</span></p><table class="pl-facts">{rows}</table>'
            )
        st.html(
            '<p class="pl-note">What is left empty is “not stated” on the model card, and the intended use follows '
            "from it. Do not enter patient data.</p>"
        )
        texts = {
            name: st.text_input(
                label,
                value=str(published.get(name, "")),
                key=f"start.stated.{name}",
                max_chars=MOST_CHARACTERS,
                help=f"{FIELDS[name]}.",
            ).strip()
            for name, label in ASKED.items()
            if name not in read
        }
    return {name: text for name, text in texts.items() if text and text != published.get(name)}


def groups_to_leave_out(state: AuditState) -> dict[str, str]:
    """Return the groups that training may leave out, as `training.runs.leave_out` names them, with their words."""
    found = {"": "None"}
    if state.audit is None:
        return found
    for one in worst_first(state.audit.styles):
        counts = one.counts.get("train", {})
        words = ", ".join(f"{n:,} {name}" for name, n in counts.items())
        found[f"style={one.name}"] = f"Style {one.name}: {words}"
    sources = {} if state.audit.data is None else state.audit.data.sources
    if len(sources) > 1:
        found |= {f"source={name}": f"Source {name}: {sum(counts.values()):,}" for name, counts in sources.items()}
    return found


def show_button(settings: Settings, who: str, state: AuditState, choice: Choice, config: TrainingConfig) -> None:
    """Draw the note and the button that starts or queues the run."""
    ahead = sum(job.state in ("running", "queued") for job in jobs.list_jobs(settings))
    note = st.text_input(
        "Note (optional)",
        key="start.note",
        max_chars=300,
        help="Stored on the model card of the new version. Do not enter patient data.",
    )
    try:
        known = file_cache.description(state)
    except AppError as error:
        st.html(f'<p class="pl-warning"><strong>{escape(error.advice)}</strong><br>{escape(str(error))}</p>')
        return
    stated = ask_about_data(known)
    label = "Start training" if not ahead else "Add to queue"
    if ahead:
        st.html(f'<p class="pl-note">{format_count(ahead, "training")} ahead; one runs at a time.</p>')
    if not st.button(label, type="primary", key="start.go"):
        return
    if not audits.is_current(settings, state):  # every file, also those overwritten in place
        st.html('<p class="pl-warning">The dataset has changed since its audit. Audit it again.</p>')
        return
    estimate.stop_measuring(settings)
    try:
        job = run_queue.enqueue(
            settings,
            run_queue.JobRequest(
                state.data,
                config.to_json(),
                choice.weights,
                choice.preset,
                note.strip(),
                stated=stated,
                leave_out=choice.leave_out,
            ),
            who,
        )
    except AppError as error:
        visitor.note(settings, "start", datasets_object(state.datasets), "refused")
        st.html(f'<p class="pl-warning"><strong>{escape(error.advice)}</strong><br>{escape(str(error))}</p>')
        return
    visitor.note(settings, "start", job.id)
    st.query_params["run"] = job.id
    st.query_params["step"] = "train"
    st.rerun()
