from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from core.settings import Settings
from pages.retraining import charts_audit
from pages.retraining.audit import baseline_sentence
from pages.shared import installation
from tests.pages.performance.test_performance import charts, text
from tests.pages.retraining.test_choose import labels, press
from tests.phantoms import write_dataset
from training.data.audit import Audit, Group, Issue, audit_to_json
from training.data.sources import dataset_at
from training.data.style_audit import StyleGroup
from training.runs import audits, processes


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step stands behind the guard, which has tests of its own."""
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)


def page() -> None:
    import streamlit as st

    from pages.retraining import audit
    from pages.shared import installation

    audit.show(installation.settings(), st.query_params.get("audit", ""))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight films, drawn once: that takes longer than all else here."""
    folder = tmp_path_factory.mktemp("drawn")
    write_dataset(folder, 6)
    return folder


@pytest.fixture
def settings(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = Settings(tmp_path / "var", data_roots=(tmp_path / "films",))
    shutil.copytree(drawn, tmp_path / "films")
    monkeypatch.setattr(installation, "settings", lambda: made)
    return made


@pytest.fixture
def key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of an audit that has been asked for; its process is this one, and no other is started."""
    monkeypatch.setattr(processes, "launch", lambda folder, _: processes.record_process(folder, os.getpid()))
    return audits.start_audit(settings, dataset_at(settings, settings.data_roots[0]))


def open_audit(key: str) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    app.query_params["audit"] = key
    app.run()
    assert not app.exception
    return app


def done(settings: Settings, key: str, change: Callable[[Audit], Audit] = lambda audit: audit) -> None:
    """Do the audit here, and change what was found."""
    folder = settings.audits_dir / key
    (folder / "audit.json").write_text(audit_to_json(change(audits.work(folder))))


def pictures(app: AppTest) -> int:
    return sum(len(element.proto.imgs) for element in app.get("image"))


def go_on(app: AppTest) -> bool:
    """Whether the button that goes on can be pressed."""
    return not next(button for button in app.button if button.label == "Continue to training").disabled


@pytest.mark.usefixtures("settings")
def test_an_audit_that_does_not_exist_says_what_to_do() -> None:
    for key in ("", "../../etc/passwd", "0123456789abcdef"):
        app = open_audit(key)
        assert "Audit not found" in text(app) and "passwd" not in text(app)
    press(app, "Select other data")
    assert app.query_params == {"step": "data"}


def test_while_it_runs_the_page_says_how_far_it_is(settings: Settings, key: str) -> None:
    app = open_audit(key)
    assert "Audit of films" in text(app) and str(settings.data_roots[0].resolve()) in text(app)
    progress = app.get("progress")[0].proto
    assert (progress.value, progress.text) == (0, "Listing the files.")
    for left, words in ((240.0, ", about 4 minutes left."), (20.0, ", about 20 seconds left.")):
        processes.write_status(
            settings.audits_dir / key, phase=audits.READING, done=1204, total=4816, seconds_left=left
        )
        progress = open_audit(key).get("progress")[0].proto
        assert progress.value == 25 and progress.text == f"Reading the radiographs: 1,204 of 4,816{words}"
    assert labels(app) == ["Cancel audit"]


def test_a_running_audit_can_be_cancelled_and_started_again(
    settings: Settings, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.audits_dir / key
    monkeypatch.setattr(processes, "stop", lambda folder: processes.record_process(folder, 2**22 + 1))
    app = press(open_audit(key), "Cancel audit")
    assert "The audit was cancelled." in text(app) and labels(app) == ["Repeat audit", "Select other data"]
    press(app, "Repeat audit")
    assert app.get("progress") and app.query_params["audit"] == key and not (folder / "audit.json").exists()


def test_an_audit_that_was_killed_says_so_with_its_last_words(settings: Settings, key: str) -> None:
    folder = settings.audits_dir / key
    (folder / "output.log").write_text("out of <memory>\n")
    processes.record_process(folder, 2**22 + 1)
    app = open_audit(key)
    assert "The process was ended from outside" in text(app) and "Nothing in the folder was changed" in text(app)
    assert app.code[0].value == "out of <memory>"
    assert labels(app) == ["Repeat audit", "Select other data"]


def test_a_clean_folder_may_be_trained_on(settings: Settings, key: str) -> None:
    done(settings, key)
    app = open_audit(key)
    said = text(app)
    for words in (
        "6 NORMAL and 6 PNEUMONIA radiographs are too few",
        "12 files were read",
        "at least ten patients of each class",
    ):
        assert words in said
    assert "pl-warning" not in said and pictures(app) == 0 and not app.dataframe
    assert '"Class balance"' in charts(app) and '"Image and file size"' in charts(app)
    app.query_params["run"] = "earlier"
    press(app, "Continue to training")
    assert app.query_params == {"step": "train", "audit": key}


def test_blocking_findings_come_first_and_close_the_way_on(settings: Settings) -> None:
    root = settings.data_roots[0]
    film = next((root / "NORMAL").iterdir())
    shutil.copy(film, root / "PNEUMONIA" / "person99_virus_1.jpeg")
    (root / "NORMAL" / "broken<b>.png").write_bytes(b"no picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "launch", lambda folder, _: processes.record_process(folder, os.getpid()))
        key = audits.start_audit(settings, dataset_at(settings, root))
    done(settings, key)
    app = open_audit(key)
    said = text(app)
    order = [
        said.index(words)
        for words in (
            "Training is blocked",
            "1 radiograph has both labels",
            "Warnings",
            "1 file cannot be read and is excluded",
            "Resolve the findings above",
            "Identical radiographs with both labels",
        )
    ]
    assert order == sorted(order) and not go_on(app)
    assert pictures(app) == 2 and f"NORMAL/{film.name}" in said and "PNEUMONIA/person99_virus_1.jpeg" in said
    assert "Exact duplicates" not in said, "shown once, under the heavier heading"
    table = app.dataframe[0].value
    assert list(table["File"]) == ["NORMAL/broken<b>.png"] and "broken" not in said


def test_a_folder_that_changed_must_be_audited_again(settings: Settings, key: str) -> None:
    done(settings, key)
    next((settings.data_roots[0] / "PNEUMONIA").iterdir()).unlink()
    app = open_audit(key)
    assert "The dataset has changed since this audit</h2>" in text(app)
    assert "The dataset has changed since this audit. Repeat the audit." in text(app) and not go_on(app)
    press(app, "Repeat audit")
    assert app.query_params["audit"] != key and app.get("progress")


def test_groups_are_shown_twelve_at_a_time_and_lost_files_in_words(settings: Settings, key: str) -> None:
    film = next((settings.data_roots[0] / "NORMAL").iterdir()).name
    groups = tuple(
        Group(
            (f"NORMAL/{film}", f"PNEUMONIA/gone{n}.jpeg", "../a.png", "b.png", "c.png"),
            ("NORMAL", "PNEUMONIA", "NORMAL", "NORMAL", "NORMAL"),
            ("train", "test", "val", "train", "train"),
        )
        for n in range(14)
    )
    done(
        settings,
        key,
        lambda audit: dataclasses.replace(
            audit,
            near_duplicate_groups=groups,
            patients_in_two_splits=tuple(f"person{n}" for n in range(201)),
            issues=(Issue("NEAR_DUPLICATES", False, "14 groups of <nearly> identical radiographs."),),
        ),
    )
    app = open_audit(key)
    said = text(app)
    assert "14 groups of &lt;nearly&gt; identical" in said and "12 of 14 groups" in said and go_on(app)
    assert pictures(app) == 12 and said.count("File no longer readable.") == 12
    assert "PNEUMONIA, test" in said and said.count("and 1 more") == 12
    assert "201, of which the first 200." in said and len(app.dataframe[0].value) == 200
    press(app, "Show 2 more")
    assert pictures(app) == 14 and "Show" not in "".join(labels(app))
    assert '<p class="pl-note">14 groups</p>' in text(app)


def test_a_picture_is_never_read_from_outside_the_dataset(settings: Settings, key: str) -> None:
    film = next((settings.data_roots[0] / "NORMAL").iterdir())
    outside = settings.data_roots[0].parent / "outside.jpeg"
    shutil.copy(film, outside)
    group = Group(("../outside.jpeg", str(outside)), ("NORMAL", "NORMAL"), ("train", "train"))
    done(settings, key, lambda audit: dataclasses.replace(audit, exact_duplicate_groups=(group,)))
    app = open_audit(key)
    assert pictures(app) == 0 and text(app).count("File no longer readable.") == 2


@pytest.mark.parametrize(
    ("area", "words"),
    [
        (0.91, "separate the classes well (AUROC 0.91)"),
        (0.66, "separate the classes moderately (AUROC 0.66)"),
        (0.52, "hardly separate the classes (AUROC 0.52)"),
        (math.nan, "at least ten patients of each class"),
    ],
)
def test_the_baseline_is_one_plain_sentence(settings: Settings, key: str, area: float, words: str) -> None:
    done(settings, key, lambda audit: dataclasses.replace(audit, shortcut_auroc=area))
    audit = audits.read_audit(settings, key).audit
    assert audit is not None and words in baseline_sentence(audit)
    app = open_audit(key)
    assert words in text(app) and '"Shortcut baseline (no lung content)"' in charts(app)


# Figures.

COUNTS = {"train": {"NORMAL": 40, "PNEUMONIA": 120}, "val": {"NORMAL": 8, "PNEUMONIA": 8}}
SPREAD = {
    name: {
        "width": [900.0, 1300.0, 1700.0],
        "height": [700.0, 900.0, 1200.0],
        "aspect": [1.1, 1.4, 1.9],
        "bytes": [40_000.0, 90_000.0, 300_000.0],
    }
    for name in ("NORMAL", "PNEUMONIA")
}


def test_every_figure_names_its_axes_and_what_it_rests_on() -> None:
    figures = [
        charts_audit.class_balance(COUNTS),
        charts_audit.sizes(SPREAD, 176),
        charts_audit.baseline({"bytes": 0.8, "width": 0.6}, 0.85),
    ]
    for figure in figures:
        assert figure.layout.title.text and figure.layout.title.subtitle.text
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "#151a21"
        json.loads(figure.to_json())
    assert [axis.title.text for axis in figures[1].select_xaxes()] == [
        "Width (px)",
        "Height (px)",
        "Aspect ratio",
        "File size (kB)",
    ]
    assert figures[0].layout.title.subtitle.text == "48 NORMAL, 128 PNEUMONIA"


def test_class_balance_counts_by_part_and_class() -> None:
    normal, pneumonia = charts_audit.class_balance(COUNTS).data
    assert (list(normal.x), list(normal.y), list(pneumonia.y)) == (["Training", "Validation"], [40, 8], [120, 8])


def test_sizes_show_percentiles_and_survive_a_missing_class() -> None:
    figure = charts_audit.sizes({"NORMAL": SPREAD["NORMAL"]}, 48)
    assert [list(trace.x) for trace in figure.data] == [
        [900, 1300, 1700],
        [700, 900, 1200],
        [1.1, 1.4, 1.9],
        [40, 90, 300],
    ]
    assert [trace.showlegend for trace in figure.data] == [True, False, False, False]
    assert not charts_audit.sizes({}, 0).data


def test_the_baseline_is_sorted_and_leaves_out_what_is_unknown() -> None:
    figure = charts_audit.baseline({"bytes": 0.8, "width": 0.6, "mean": math.nan}, 0.85)
    assert list(figure.data[0].y) == ["Width", "File size"] and list(figure.data[0].x) == [0.6, 0.8]
    (line,) = figure.layout.shapes
    assert isinstance(line, go.layout.Shape) and line.x0 == line.x1 == 0.85
    assert not charts_audit.baseline({"bytes": 0.8}, math.nan).layout.shapes


def a_style(name: str, normal: int, pneumonia: int, examples: tuple[str, ...], **changes: object) -> StyleGroup:
    counts = {"NORMAL": normal, "PNEUMONIA": pneumonia}
    return dataclasses.replace(StyleGroup(name, "large <mark>", {"train": counts}, counts, examples, 0.4), **changes)  # type: ignore[arg-type]


def test_styles_are_shown_with_pictures_and_class_balance_those_of_one_class_first(
    settings: Settings, key: str
) -> None:
    films = tuple(f"NORMAL/{path.name}" for path in sorted((settings.data_roots[0] / "NORMAL").iterdir()))
    styles = (
        a_style("1", 40, 60, films[:2]),
        a_style("2", 1, 90, (), nearly_one_class="PNEUMONIA", chance=1e-5),
        a_style("3", 0, 31, films, one_class="PNEUMONIA", chance=1e-4),
        *(a_style(str(n), 5, 5, ()) for n in range(4, 9)),
    )
    done(settings, key, lambda audit: dataclasses.replace(audit, styles=styles, style_auroc=0.93, shortcut_auroc=0.87))
    app = open_audit(key)
    said = text(app)
    assert "8 styles, 1 with one class only, 1 nearly so." in said
    order = [said.index(f"Style {name}<") for name in ("3", "2", "1")]
    assert order == sorted(order) and "Style 8<" not in said
    assert "Every radiograph is PNEUMONIA." in said and "Nearly every radiograph is PNEUMONIA." in said
    assert "Large &lt;mark&gt;" in said and "<th>Training</th><td>0</td><td>31</td>" in said
    assert pictures(app) == 6, "four of style 3, two of style 1"
    assert "Acquisition styles alone separate the classes well (AUROC 0.93)" in said and "<td>0.87</td>" in said
    press(app, "Show 2 more of 8 styles")
    assert "Style 8<" in text(app)


def test_warnings_are_listed_by_how_much_they_mislead(settings: Settings, key: str) -> None:
    issues = tuple(
        Issue(code, False, code) for code in ("SKIPPED", "FEW_HELD_OUT_PATIENTS", "ONE_CLASS_STYLE", "UNKNOWN_PATIENTS")
    )
    done(settings, key, lambda audit: dataclasses.replace(audit, issues=issues))
    said = text(open_audit(key))
    order = [said.index(code) for code in ("UNKNOWN_PATIENTS", "ONE_CLASS_STYLE", "FEW_HELD_OUT_PATIENTS", "SKIPPED")]
    assert order == sorted(order)
