"""Start: how thorough, from where, and how long that takes on this machine; then into the queue."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from core.errors import AppError
from core.formatting import format_count, format_duration, format_percentage
from core.settings import Settings
from model.architectures import ARCHITECTURES, find_architecture
from model.card import ModelCard
from model.registry import version_folder
from pages.shared import classifiers
from pages.shared.administrator import still_administrator
from training.data.audit import Audit
from training.data.augment import MAX_STRENGTH
from training.fitting.config import OPTIMIZERS, TrainingConfig, default_config
from training.runs import estimate, jobs
from training.runs.audits import AuditState, is_current, read_audit

PRESETS = {
    "quick": ("Quick", "Adjusts only the last layer, on features that the network computes once."),
    "standard": ("Standard", "Adjusts most of the network: first on small pictures, then at full size."),
    "thorough": ("Thorough", "The same for twice as long or longer. For a night or a weekend."),
}
AUGMENTATIONS = {
    "strong": "Strong: framing, exposure, sharpness, compression and noise of other hospitals (recommended)",
    "framing": "Framing: as strong, with turned films and wide borders as well",
    "keras_notebook": "Simple: small turns, mirror images, zoom",
    "plain": "None: the radiographs as they are",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the form holds: preset, starting weights and what a person calls them, and the advanced settings."""

    preset: str
    architecture: str
    weights: str
    others: dict[str, Any]

    def config(self) -> TrainingConfig:
        """Return the configuration; raises ValueError for settings that cannot run."""
        return default_config(self.architecture, self.preset, has_weights=self.weights != "random", **self.others)


def show(settings: Settings, who: str, audit_key: str) -> None:
    """Draw the form for the audited folder and put the run into the queue; `who` asks for it."""
    state = read_audit(settings, audit_key)
    if state.audit is None or state.audit.is_blocked or not is_current(settings, state):
        st.html('<p class="pl-warning">This folder has no audit that allows a training. Audit it first.</p>')
        if st.button("Go back to the audit", key="start.back"):
            st.query_params["step"] = "audit"
            st.rerun()
        return
    left, right = st.columns((3, 2), gap="medium")
    with left, st.container(key="panel_start"):
        choice = show_form(settings, classifiers.card_in_use())
    with right, st.container(key="panel_estimate"):
        try:
            config = choice.config()
        except ValueError as error:
            st.html(f'<p class="pl-warning">These settings do not go together. {escape(str(error))}</p>')
            return
        show_estimate(settings, config, state.audit)
        show_button(settings, who, state, choice, config)


def show_form(settings: Settings, in_use: ModelCard) -> Choice:
    """Draw the settings and return what they say."""
    st.html('<h2 class="pl-heading">How thorough</h2>')
    preset = st.radio(
        "How thorough",
        list(PRESETS),
        format_func=lambda name: PRESETS[name][0],
        captions=[text for _, text in PRESETS.values()],
        key="start.preset",
        label_visibility="collapsed",
    )
    st.html('<h2 class="pl-heading">Where to start from</h2>')
    place = st.empty()  # drawn above, but what can be chosen follows from the advanced settings
    with st.expander("Advanced settings"):
        architecture, others = show_advanced(in_use)
    starts = starting_points(settings, in_use, architecture)
    with place:
        weights = st.radio(
            "Where to start from",
            list(starts),
            format_func=lambda name: starts[name][0],
            key="start.from",
            captions=[text for _, text in starts.values()],
            label_visibility="collapsed",
        )
    return Choice(preset, architecture, weights, others)


def starting_points(settings: Settings, in_use: ModelCard, architecture: str) -> dict[str, tuple[str, str]]:
    """Return the starting weights that fit an architecture: weights → (name, explanation), the best first."""
    points = {}
    if in_use.architecture == architecture:
        weights = version_folder(settings, in_use.version) / in_use.weights_file
        points[str(weights.resolve())] = (
            f"The classifier in use, {in_use.version}",
            "Goes on from what it has learned. Needs no download.",
        )
    if find_architecture(architecture).is_transfer:
        known = settings.backbone_weights
        points[known] = (
            "ImageNet",
            "Begins anew from everyday photographs. "
            + (
                "Keras downloads the weights, about 90 MB."
                if known == "imagenet"
                else "The weights are on this machine."
            ),
        )
    else:
        points["random"] = ("Random weights", "Begins from nothing, as this network is meant to.")
    return points


def show_advanced(in_use: ModelCard) -> tuple[str, dict[str, Any]]:
    """Draw the advanced settings; return the architecture and the fields of the configuration that they set."""
    names = list(ARCHITECTURES)
    known = in_use.architecture in names
    architecture = st.selectbox(
        "Network",
        names,
        index=names.index(in_use.architecture) if known else 0,
        key="start.architecture",
        format_func=lambda name: f"{name}: {ARCHITECTURES[name].summary}",
        help="InceptionV3 is the one that the product ships. The others are there for comparison; small ones train "
        "in minutes and are weaker.",
    )
    left, right = st.columns(2)
    with left:
        augmentation = st.selectbox(
            "Random changes to the radiographs",
            list(AUGMENTATIONS),
            format_func=AUGMENTATIONS.__getitem__,
            key="start.augmentation",
            help="Films are changed at random while the network learns, so that it does not depend on how one hospital "
            "frames, exposes and exports them.",
        )
        strength = st.slider(
            "Strength of the changes",
            0.0,
            MAX_STRENGTH,
            1.0,
            0.1,
            key="start.strength",
            help="0 changes nothing, 1 is as named, 2 goes twice as far.",
        )
        optimizer = st.selectbox(
            "Optimiser",
            OPTIMIZERS,
            key="start.optimizer",
            help="How the weights are moved. AdamW suits all networks here.",
        )
        batch = st.select_slider(
            "Radiographs per step",
            (8, 16, 32, 64),
            32,
            key="start.batch",
            help="Smaller needs less memory and is noisier.",
        )
    with right:
        validation = st.slider(
            "Patients held out for validation, in percent",
            5,
            40,
            12,
            1,
            key="start.validation",
            help="Calibration and operating point come from these patients; training never sees them.",
        )
        dropout = st.slider(
            "Dropout",
            0.0,
            0.8,
            0.25,
            0.05,
            key="start.dropout",
            help="Share of the features hidden at random in each step. More guards against learning by heart.",
        )
        mirror = st.checkbox(
            "Average each film with its mirror image",
            key="start.mirror",
            help="A little steadier, and every assessment takes twice as long.",
        )
        budget = st.number_input(
            "Stop fitting after so many minutes",
            0,
            10_000,
            0,
            10,
            key="start.budget",
            help="0 means no bound. Epochs are cut short so that the whole schedule fits.",
        )
    seed = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        2026,
        key="start.seed",
        help="Decides which patients are held out, the order and the random changes. The same seed "
        "on the same machine gives the same result.",
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
    """Return (pneumonia, normal) radiographs that training and validation share out."""
    parts = [audit.class_counts.get(part, {}) for part in ("train", "val")]
    pneumonia, normal = (sum(part.get(name, 0) for part in parts) for name in ("PNEUMONIA", "NORMAL"))
    return pneumonia, normal


def show_estimate(settings: Settings, config: TrainingConfig, audit: Audit) -> None:
    """Say what will happen and how long it takes here; measures this machine once for each architecture."""
    pneumonia, normal = counts(audit)
    st.html(
        '<h2 class="pl-heading">What will happen</h2>'
        f'<p class="pl-note">{pneumonia:,} radiographs with pneumonia and {normal:,} without. '
        f"{format_percentage(config.validation_fraction)} of the patients are held out. Then the network is trained "
        f"for {len(config.epochs)} epochs, calibrated on the patients held out, and evaluated. Nothing changes for the "
        "clinicians until you put the new version into service.</p>"
        '<h2 class="pl-heading">How long</h2>'
    )
    speed = estimate.known_speed(settings, config.architecture)
    if speed is not None:
        seconds = estimate.fit_seconds(config, pneumonia, normal, speed)
        st.html(
            f'<p class="pl-figure">{format_duration(seconds).capitalize()}</p><p class="pl-note">on this machine '
            "if nothing else keeps it busy; you can leave the page meanwhile.</p>"
        )
    elif any(job.state == "running" for job in jobs.list_jobs(settings)):
        st.html('<p class="pl-note">Not known yet: this machine is measured when no training is running.</p>')
    elif estimate.measuring_failed(settings, config.architecture):
        st.html(
            '<p class="pl-note">Not known: this machine could not be measured. The training shows its time left '
            "from its first minute.</p>"
        )
    else:
        estimate.start_measuring(settings, config.architecture)
        wait_for_speed(settings, config.architecture)


@st.fragment(run_every=2)
def wait_for_speed(settings: Settings, architecture: str) -> None:
    """Say that the machine is being measured, and draw the page again when that is done."""
    still_administrator()
    st.html(
        '<p class="pl-note" role="status">Measuring how fast this machine is. Once, about half a minute; the '
        "training can be started without waiting.</p>"
    )
    if not estimate.is_measuring(settings, architecture):
        st.rerun()


def show_button(settings: Settings, who: str, state: AuditState, choice: Choice, config: TrainingConfig) -> None:
    """Draw the button that starts the run or puts it into the queue."""
    waiting = sum(job.state in ("running", "queued") for job in jobs.list_jobs(settings))
    note = st.text_input(
        "Remark for the record (optional)",
        key="start.note",
        max_chars=300,
        help="Stays on the card of the new version. No patient data, please.",
    )
    label = "Start training" if not waiting else "Put into the queue"
    if waiting:
        st.html(f'<p class="pl-note">{format_count(waiting, "training")} before it; one runs at a time.</p>')
    if not st.button(label, type="primary", key="start.go"):
        return
    estimate.stop_measuring(settings)
    try:
        job = jobs.enqueue(
            settings,
            jobs.JobRequest(state.dataset.path, config.to_json(), choice.weights, choice.preset, note.strip()),
            who,
        )
    except AppError as error:
        st.html(f'<p class="pl-warning"><strong>{escape(error.advice)}</strong><br>{escape(str(error))}</p>')
        return
    st.query_params["run"] = job.id
    st.query_params["step"] = "train"
    st.rerun()
