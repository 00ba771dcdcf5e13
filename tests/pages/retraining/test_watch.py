from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from core.settings import Settings
from pages.retraining.charts_watch import epoch_position, training_curves
from tests.fake_trainer import MAKES, SLEEPS, trains_by, wait_until, working_on
from tests.pages.performance.test_performance import text
from tests.phantoms import as_png, write_dataset
from training.fitting.config import default_config
from training.runs import background, jobs, processes, run_queue
from training.runs.jobs import Job
from training.runs.run_queue import JobRequest

WHO = "administrator"
HISTORY = [
    {
        "epoch": n,
        "stage": "fit" if n < 3 else "full",
        "loss": 1 / n,
        "val_loss": 1.1 / n,
        "train_auroc": 0.8,
        "val_auroc": 0.9 + n / 100,
        "seconds": 90.0,
    }
    for n in (1, 2, 3)
]
POINTS = [
    {"epoch": epoch, "step": step, "steps": 10, "loss": 0.5, "train_auroc": None if step == 2 else 0.7, "stage": "fit"}
    for epoch in (1, 2)
    for step in (2, 5, 10)
]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "films & more"
    write_dataset(folder, 4, size=(60, 70))
    for patient in range(20, 31):  # with the two that are drawn 13 of each class, of whom two are held out
        for name in (f"NORMAL/IM-{patient:04d}-0001.png", f"PNEUMONIA/person{patient}_virus_1.png"):
            (folder / name).write_bytes(as_png(np.full((16, 16), 4 * patient, np.uint8)))
    return folder


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    settings = Settings(tmp_path / "home")
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    yield settings
    for job in jobs.list_jobs(settings):
        (job.folder / background.CANCELLED).touch()
        processes.stop(job.folder, patience=0.1)
    for child in processes._children:
        child.wait(60)
    processes._children.clear()


def begin(settings: Settings, films: Path) -> Job:
    config = default_config("cnn_2_1", epochs=4, input_px=64)
    return run_queue.enqueue(settings, JobRequest(films, config.to_json(), "random", "standard"), WHO)


def fill(job: Job, **status: object) -> None:
    """Write what a trainer would have written after three of four epochs."""
    (job.folder / "history.json").write_text(json.dumps(HISTORY))
    (job.folder / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in POINTS))
    processes.write_status(
        job.folder,
        **{
            "phase": "fitting",
            "done": 32,
            "total": 40,
            "stage": "full",
            "epoch": 4,
            "epochs": 4,
            "step": 2,
            "steps": 10,
            "loss": 0.4,
            "images_per_second": 12.34,
            "seconds_left": 1500.0,
        }
        | status,
    )


def script(data_dir: str, run_id: str) -> None:
    from pathlib import Path

    import streamlit as st

    from core.settings import Settings
    from pages.retraining import watch

    watch.show(Settings(Path(data_dir)), st.query_params.get("run", run_id))


def look(settings: Settings, run_id: str = "") -> AppTest:
    app = AppTest.from_function(script, default_timeout=60, args=(str(settings.data_dir), run_id)).run()
    assert not app.exception
    return app


def keys(app: AppTest) -> set[str]:
    return {str(button.key) for button in app.button}


def test_without_a_run_the_page_says_what_to_do(settings: Settings) -> None:
    app = look(settings)
    assert "No training yet" in text(app) and not app.get("plotly_chart")
    app.button(key="watch.choose_data").click().run()
    assert app.query_params["step"] == "data"


def test_a_run_shows_where_it_stands(settings: Settings, films: Path) -> None:
    job = begin(settings, films)
    app = look(settings, job.id)
    said = text(app)
    assert "Running" in said and "Learning curves appear" in said and "–" in said
    assert "films &amp; more" in said and "from random" in said
    fill(job)
    app = app.run()
    said = text(app)
    for words in ("Full resolution", "4 of 4", "12.3", "about 25 minutes", "0.930"):
        assert f"<strong>{words}</strong>" in said
    assert "32 of 40 steps" in app.get("progress")[0].proto.text
    (chart,) = app.get("plotly_chart")
    assert "validation (held-out patients)" in chart.proto.spec
    wait_until(lambda: jobs.log_tail(job))
    assert app.run().code[0].value == "epoch 1/3"
    (job.folder / "history.json").unlink()
    (job.folder / "progress.jsonl").unlink()
    fill_phase = {"phase": "reading radiographs", "done": 7, "total": 20}
    processes.write_status(job.folder, **fill_phase)
    assert "Reading the radiographs: 7 of 20" in app.run().get("progress")[0].proto.text


def layers(app: AppTest) -> tuple[str, list[str]]:
    """Which of the two charts lies in front, and what each shows."""
    style = next(one.proto.body for one in app.html if "z-index" in one.proto.body)
    return style.split("curves_")[1][0], [chart.proto.id for chart in app.get("plotly_chart")]


def test_the_old_curve_stays_on_the_screen_until_the_new_one_is_drawn(settings: Settings, films: Path) -> None:
    job = begin(settings, films)
    fill(job)
    app = look(settings, job.id)
    front, before = layers(app)
    assert front == "0" and len(before) == 1
    assert layers(app.run()) == (front, before), "what has not changed is not drawn again"
    (job.folder / "history.json").write_text(json.dumps(HISTORY[:2]))
    front, after = layers(app.run())
    assert front == "1" and len(after) == 2 and after[0] == before[0]
    (job.folder / "history.json").write_text(json.dumps(HISTORY))
    front, last = layers(app.run())
    assert front == "0" and last[1] == after[1]


def test_cancelling_asks_first_and_the_run_can_be_resumed(settings: Settings, films: Path) -> None:
    job = begin(settings, films)
    fill(job)
    app = look(settings, job.id)
    app = app.button(key="watch.cancel").click().run()
    assert "Cancel this training?" in text(app) and "3 finished epochs are kept" in text(app)
    app = app.button(key="watch.cancel_no").click().run()
    assert "Cancel this training?" not in text(app) and working_on(job.folder)
    app = app.button(key="watch.cancel").click().run().button(key="watch.cancel_yes").click().run()
    assert not app.exception and not working_on(job.folder)
    assert "Cancelled" in text(app) and "3 finished epochs are kept." in text(app)
    assert "watch.cancel" not in keys(app)
    app = app.button(key="watch.resume").click().run()
    assert jobs.read_job(settings, job.id).state == "running"
    assert "watch.cancel" in keys(app) and "Cancel this training?" not in text(app)


def test_a_failed_run_shows_its_last_words_and_can_be_resumed(
    settings: Settings, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by("print('<b>last words', flush=True); sys.exit(1)", tmp_path / "fake", monkeypatch)
    job = begin(settings, films)
    wait_until(lambda: jobs.read_job(settings, job.id).state == "failed")
    processes.write_error(job.folder, ValueError("<script>"))
    app = look(settings, job.id)
    assert "an unexpected error: ValueError" in text(app) and "0 finished epochs are kept" in text(app)
    assert "<b>last words" in [one.value for one in app.code]
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    app.button(key="watch.resume").click().run()
    assert jobs.read_job(settings, job.id).state == "running"


def test_waiting_runs_have_a_place_and_can_be_taken_out(settings: Settings, films: Path) -> None:
    first, second, third = (begin(settings, films) for _ in range(3))
    app = look(settings, third.id)
    assert "Position 2 in the queue" in text(app) and "Queue</h2>" in text(app)
    assert {"watch.remove", f"watch.remove.{second.id}"} <= keys(app)
    app = app.button(key=f"watch.remove.{second.id}").click().run()
    assert "Position 1 in the queue" in text(app)
    assert [jobs.read_job(settings, job.id).state for job in (first, second, third)] == [
        "running",
        "cancelled",
        "queued",
    ]
    app = look(settings)
    assert f"Training {first.id}</h1>" in text(app), "without a name, the one that runs"
    assert "watch.remove" not in keys(app)


def test_a_run_that_is_done_leads_to_the_comparison(
    settings: Settings, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by(MAKES, tmp_path / "fake", monkeypatch)
    job = begin(settings, films)
    wait_until(lambda: jobs.read_job(settings, job.id).state == "done")
    fill(job)
    app = look(settings, job.id)
    said = text(app)
    assert f"<strong>2026.01.02-{job.id[-1]}</strong>" in said and "until you promote the new version" in said
    app = app.button(key="watch.compare").click().run()
    assert dict(app.query_params) == {"step": "compare", "run": job.id}


def test_other_runs_stand_in_a_table_and_can_be_shown(settings: Settings, films: Path) -> None:
    first, second = begin(settings, films), begin(settings, films)
    app = look(settings, first.id)
    table = next(one.proto.body for one in app.html if "pl-table" in one.proto.body)
    assert table.index(f"{second.id}</th>") < table.index(f"{first.id}</th>") and "0 of 4" in table
    app = app.selectbox[0].set_value(second.id).run()
    assert app.query_params["run"] == second.id
    app = look(settings, "2026.01.01-000000")
    assert "Training not found" in text(app) and f"Training {first.id}</h1>" in text(app)


def test_looking_starts_the_next_run(settings: Settings, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(run_queue, "advance", lambda _: None)
        job = begin(settings, films)
    assert jobs.read_job(settings, job.id).state == "queued"
    look(settings, job.id)
    assert jobs.read_job(settings, job.id).state == "running"


def test_nothing_is_done_for_somebody_who_is_no_longer_signed_in(
    settings: Settings, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begin(settings, films)
    app = look(settings, job.id).button(key="watch.cancel").click().run()
    signed_in = [True, False]
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: signed_in[-1])
    with monkeypatch.context() as patched:
        patched.setattr("pages.retraining.watch.still_administrator", lambda: WHO)
        app.button(key="watch.cancel_yes").click().run()
    assert jobs.read_job(settings, job.id).state == "running"


def traces(figure: go.Figure, name: str) -> list[go.Scatter]:
    return [one for one in figure.data if name in str(one.name)]


def test_the_curve_grows_within_an_epoch_and_its_axes_stand_still() -> None:
    assert epoch_position({"epoch": 3, "step": 5, "steps": 10}) == 2.5
    figure = training_curves(HISTORY, POINTS, 4)
    loss, area = traces(figure, "running mean")
    assert list(loss.x) == [0.2, 0.5, 1.0, None, 1.2, 1.5, 2.0], "a gap where the mean begins anew"
    assert list(area.y)[:3] == [None, 0.7, 0.7]
    (validation,) = traces(figure, "held-out patients")
    assert list(validation.x) == [1, 2, 3] and validation.y[-1] == pytest.approx(0.93)
    assert [shape.x0 for shape in figure.layout.shapes] == [0, 2], "a line where a stage begins"
    assert [note.text for note in figure.layout.annotations] == [" all layers", " full resolution"]
    short = training_curves([HISTORY[0] | {"stage": "head"}, HISTORY[1]], [], 14)
    assert len(short.layout.shapes) == 2 and [note.text for note in short.layout.annotations] == [" all layers"]
    early = training_curves([], POINTS[:1], 4)
    assert early.layout.xaxis.range == figure.layout.xaxis.range == (0, 4.08)
    assert training_curves([], [], 0).layout.xaxis.range == (0, 1.02)
