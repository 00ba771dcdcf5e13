from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import ClassifierError, DatasetError, ResourceError, RunError
from core.settings import SHIPPED_WEIGHTS, Settings
from model.card import card_from_json
from model.networks.architectures import ARCHITECTURES
from tests.fake_trainer import CLINGS, MAKES, SLEEPS, is_alive, pid_of, trains_by, wait_until, working_on
from tests.phantoms import write_dataset
from training.commands import jobs as commands
from training.commands import train, workers
from training.data.data_request import DataRequest
from training.fitting.config import default_config
from training.runs import background, jobs, preflight, processes, run_queue
from training.runs.jobs import Job
from training.runs.request import RunRequest, announce_version, create_run, read_request, request_from
from training.runs.run_queue import JobRequest

WHO = "administrator"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_dataset(folder, 12)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    yield (settings := Settings(tmp_path / "home"))
    stop_all(settings)
    for child in processes._children:
        child.wait(60)
    processes._children.clear()


# The films are of six children of each class, and validation needs two.
THIRD = ("--validation-fraction", "0.3")


def a_request(films: Path, epochs: int = 3, **others: object) -> JobRequest:
    config = default_config("cnn_2_1", epochs=epochs, input_px=64, batch_size=4, validation_fraction=0.3, copies=(1, 1))
    return JobRequest(
        **{"data": films, "config": config.to_json(), "weights": "random", "preset": "standard", **others}
    )


def states(settings: Settings) -> list[tuple[str, int]]:
    """State and place of every run, oldest first."""
    return [(job.state, job.place) for job in reversed(jobs.list_jobs(settings))]


def stop_all(settings: Settings) -> None:
    for job in jobs.list_jobs(settings):
        (job.folder / background.CANCELLED).touch()
        processes.stop(job.folder, patience=0.1)


def test_one_run_at_a_time_and_the_queue_moves_on(
    films: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    first = run_queue.enqueue(settings, a_request(films, note="from here"), WHO)
    assert (first.state, first.place, first.asked_by, first.preset, first.starting_point, first.data) == (
        "running",
        0,
        WHO,
        "standard",
        "random",
        DataRequest((films,)),
    )
    others = [run_queue.enqueue(settings, a_request(films), WHO).id for _ in range(3)]
    assert states(settings) == [("running", 0), ("queued", 1), ("queued", 2), ("queued", 3)]
    assert [job.id for job in jobs.list_jobs(settings)] == [*reversed(others), first.id]
    assert run_queue.advance(settings) is None
    # Nothing is kept in memory: the same settings anew show the same.
    assert states(Settings(settings.data_dir)) == [("running", 0), ("queued", 1), ("queued", 2), ("queued", 3)]
    assert run_queue.cancel(settings, others[0], WHO).state == "cancelled"
    trains_by(MAKES, tmp_path / "fake", monkeypatch)
    assert run_queue.cancel(settings, first.id, WHO).state == "cancelled"
    assert not working_on(first.folder)
    wait_until(lambda: jobs.read_job(settings, others[1]).state == "done")
    wait_until(lambda: not processes.is_running(settings.runs_dir / others[1]))
    assert jobs.read_job(settings, others[1]).version == "2026.01.02-" + others[1][-1]
    assert run_queue.advance(settings) == others[2]
    wait_until(lambda: states(settings) == [("cancelled", 0), ("cancelled", 0), ("done", 0), ("done", 0)])
    assert json.loads((first.folder / "run.json").read_text())["notes"] == ["from here"]


def test_a_killed_trainer_is_seen_to_have_failed_and_can_be_resumed(
    films: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    job = run_queue.enqueue(settings, a_request(films), WHO)
    with pytest.raises(RunError, match="Received: one that is running"):
        run_queue.resume(settings, job.id, WHO)
    wait_until(lambda: jobs.log_tail(job))
    os.kill(pid_of(job.folder), signal.SIGKILL)
    wait_until(lambda: jobs.read_job(settings, job.id).state == "failed", 10)
    failed = jobs.read_job(settings, job.id)
    assert failed.failure is not None and failed.failure.last_log_lines == ("epoch 1/3",) and failed.can_resume
    assert run_queue.advance(settings) is None, "what failed is not begun again by itself"
    again = run_queue.resume(settings, job.id, "somebody else")
    assert again.state == "running" and not again.can_resume and again.failure is None and again.asked_by == WHO
    wait_until(lambda: jobs.log_tail(job) == ("epoch 1/3", "epoch 1/3"))


def test_cancelling_ends_a_trainer_that_does_not_listen_and_its_children(
    films: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by(CLINGS, tmp_path / "fake", monkeypatch)
    monkeypatch.setattr(processes.stop, "__defaults__", (0.2,))
    job = run_queue.enqueue(settings, a_request(films), WHO)
    wait_until((job.folder / "pids").is_file)
    assert run_queue.cancel(settings, job.id, WHO).state == "cancelled"
    assert not any(is_alive(int(pid)) for pid in (job.folder / "pids").read_text().split())
    assert json.loads((job.folder / background.CANCELLED).read_text())["who"] == WHO
    assert run_queue.cancel(settings, job.id, WHO).state == "cancelled", "a second time is nothing"


def test_a_run_that_is_done_stays_done(
    films: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_by(MAKES, tmp_path / "fake", monkeypatch)
    job = run_queue.enqueue(settings, a_request(films), WHO)
    wait_until(lambda: jobs.read_job(settings, job.id).state == "done")
    assert run_queue.cancel(settings, job.id, WHO).state == "done"
    with pytest.raises(RunError, match="one that is done"):
        run_queue.resume(settings, job.id, WHO)
    # Another run has since taken the name that was announced: this one has not made that version.
    (settings.versions_dir / f"2026.01.02-{job.id[-1]}" / "card.json").write_text('{"created_at": "later"}')
    wait_until(lambda: jobs.read_job(settings, job.id).state == "failed")


def test_an_end_between_launch_and_bookkeeping_starts_nothing_twice(
    films: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_folder: Path, _arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "launch", end)
    with pytest.raises(KeyboardInterrupt):
        run_queue.enqueue(settings, a_request(films), WHO)
    (job,) = jobs.list_jobs(settings)
    assert job.state == "running" and job.phase == "starting"
    assert run_queue.advance(settings) is None
    asked = json.loads((job.folder / jobs.JOB).read_text())
    long_ago = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    (job.folder / jobs.JOB).write_text(json.dumps(asked | {"launched_at": long_ago}))
    job = jobs.read_job(settings, job.id)
    assert job.state == "failed" and job.failure is not None and "never started" in job.failure.message
    assert run_queue.advance(settings) is None and job.can_resume


def test_a_run_cancelled_while_it_was_being_started_does_not_train(
    films: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "launch", lambda _folder, _arguments: None)
    monkeypatch.setattr(workers, "_train", lambda _folder, _settings: pytest.fail("it was cancelled"))
    monkeypatch.setattr(os, "nice", lambda _by: 0)
    job = run_queue.enqueue(settings, a_request(films), WHO)
    (job.folder / background.CANCELLED).write_text("{}")
    assert run("_run", str(job.folder), settings=settings) == 0
    assert jobs.read_job(settings, job.id).state == "cancelled"


def test_what_cannot_work_is_refused_and_leaves_nothing(films: Path, settings: Settings, tmp_path: Path) -> None:
    for request, error in (
        (a_request(tmp_path / "nowhere"), DatasetError),
        (a_request(films, weights="gone.h5"), ClassifierError),
        (a_request(films, config='{"stages": []}'), RunError),
        (a_request(films, config="{"), RunError),
    ):
        with pytest.raises(error):
            run_queue.enqueue(settings, request, WHO)
    assert jobs.list_jobs(settings) == ()
    assert not settings.runs_dir.exists() or [p.name for p in settings.runs_dir.iterdir()] == [".queue.lock"]


def test_a_full_disk_is_told_when_a_run_is_asked_for(
    films: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="disk is full"):
        run_queue.enqueue(settings, a_request(films), WHO)
    assert [p.name for p in settings.runs_dir.iterdir()] == [".queue.lock"]


@pytest.mark.parametrize("name", ["", ".", "..", "../films", "nothing", "a/b", ".queue.lock"])
def test_only_runs_of_this_installation_can_be_named(name: str, settings: Settings) -> None:
    for act in (run_queue.cancel, run_queue.resume):
        with pytest.raises(RunError, match="a run of this installation"):
            act(settings, name, WHO)
    with pytest.raises(RunError):
        jobs.read_job(settings, name)


def test_a_run_of_the_train_command_is_listed(films: Path, settings: Settings) -> None:
    config = default_config("cnn_2_1", epochs=3, validation_fraction=0.3)
    create_run(settings.runs_dir / "mine", config, RunRequest(DataRequest.of(films), settings.versions_dir, "random"))
    (settings.runs_dir / "mine" / "log.txt").write_text("then reading radiographs: 24\n")
    (job,) = jobs.list_jobs(settings)
    assert job.state == "failed" and job.asked_by == "command line" and job.epochs == 3 and job.can_resume
    assert job.failure is not None and job.failure.last_log_lines == ("then reading radiographs: 24",)
    with processes.exclusive(job.folder):
        assert jobs.read_job(settings, "mine").state == "running"


def test_a_run_that_has_ended_is_read_once_until_it_changes(
    films: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = default_config("cnn_2_1", epochs=3, validation_fraction=0.3)
    folders = []
    for n in range(6):
        folders.append(settings.runs_dir / f"2026.01.01-{n}")
        create_run(folders[-1], config, RunRequest(DataRequest.of(films), settings.versions_dir, "random"))
        (folders[-1] / "history.json").write_text('[{"epoch": 1, "seconds": 60.0, "val_auroc": 0.9}]')
        version = settings.versions_dir / f"2026.01.01-{n}"
        if n < 4:
            version.mkdir(parents=True)
            (version / "card.json").write_text('{"created_at": "then"}')
            announce_version(folders[-1], version, "then")
    (folders[5] / background.CANCELLED).write_text("{}")

    def age(*paths: Path) -> None:
        for path in paths:
            os.utime(path, (1.7e9, 1.7e9))

    age(*folders, *settings.versions_dir.iterdir(), *settings.versions_dir.glob("*/card.json"))
    reads: Counter[Path] = Counter()
    opened = Path.open

    def counted(path: Path, *arguments: object, **named: object) -> object:
        reads[path] += 1
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", counted)
    first = jobs.list_jobs(settings)
    assert [job.state for job in first] == ["cancelled", "failed", "done", "done", "done", "done"]
    assert reads and max(reads.values()) == 1, "no file is read twice"
    reads.clear()
    assert jobs.list_jobs(settings) == first and run_queue.advance(settings) is None
    assert not reads, "a poll of what has ended reads nothing"
    (folders[0] / "history.json").unlink()
    assert jobs.list_jobs(settings)[5].epochs_done == 0
    assert {path.parent for path in reads} == {folders[0], settings.versions_dir / "2026.01.01-0"}
    (settings.versions_dir / "2026.01.01-1" / "card.json").unlink()
    assert jobs.list_jobs(settings)[4].state == "failed", "its version is gone"


def needs(architecture: str, n: int, **others: object) -> tuple[float, float]:
    config = default_config(architecture, **others)
    return preflight.memory_needed(config, n), preflight.disk_needed(config, n)[0]


def test_memory_and_disk_that_a_run_needs() -> None:
    memory, disk = needs("inception_v3", 0)
    assert 3.2e9 < memory < 3.8e9 and 0.66e9 < disk < 0.9e9
    assert needs("inception_v3", 5000)[0] - memory == pytest.approx(2 * 5000 * 224**2)
    assert needs("inception_v3", 0, batch_size=8)[0] < 0.6 * memory
    assert needs("cnn_2_1", 0)[1] < 0.1e9
    assert needs("my.networks:large", 0)[1] >= disk, "what is not known is taken for large"
    framed = [needs(name, 5000)[0] - needs(name, 0)[0] for name in ("inception_v3_lungs", "my.networks:large")]
    assert framed == pytest.approx([7 * 5000 * 224**2] * 2), "films framed by their lungs have three channels"


def test_parameters_of_the_estimate_are_nearly_all_of_a_network() -> None:
    """Those that are trained; statistics of normalisation layers are a few in a thousand more."""
    card = next(SHIPPED_WEIGHTS.glob("*/card.json")).read_text(encoding="utf-8")
    assert ARCHITECTURES["inception_v3"].parameters == pytest.approx(card_from_json(card).parameters, rel=0.01)


@pytest.mark.parametrize(("what", "advice"), [("disk", "Free some disk space"), ("memory", "smaller batch")])
def test_a_machine_that_is_too_small_is_told_before_anything_heavy(
    what: str, advice: str, films: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "launch", lambda _folder, _arguments: None)
    monkeypatch.setattr(os, "nice", lambda _by: 0)
    monkeypatch.setattr(preflight, f"{what}_needed", lambda _config, _n: (1e15, 1e15) if what == "disk" else 1e15)
    monkeypatch.setattr("model.tf_startup.start_tensorflow", lambda **_: pytest.fail("too late"))
    job = run_queue.enqueue(settings, a_request(films), WHO)
    assert run("_run", str(job.folder), settings=settings) == 1
    job = jobs.read_job(settings, job.id)
    assert job.state == "failed" and job.failure is not None
    assert f"GB of free {what}" in job.failure.message and advice in job.failure.advice
    here = settings.runs_dir / "in-the-foreground"
    monkeypatch.setattr("training.commands.train.start_tensorflow", lambda **_: pytest.fail("too late"))
    small = ("--architecture", "cnn_2_1", "--epochs", "1", *THIRD)
    for arguments in (("--data", str(films), *small, "--run-dir", str(here)), ("--resume", str(here))):
        with pytest.raises(ResourceError, match=f"GB of free {what}"):
            run("train", *arguments, settings=settings)
        assert advice in json.loads((here / processes.ERROR).read_text())["advice"]


def run(*arguments: str, settings: Settings) -> int:
    """Run one command in this process and return its exit status."""
    parser = argparse.ArgumentParser()
    acts = parser.add_subparsers()
    commands.add_commands(acts)
    train.add_commands(acts)
    workers.add_workers(acts)
    options = parser.parse_args(arguments)
    return int(options.act(options, settings))


def test_commands_show_start_cancel_and_resume(
    films: Path,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    assert run("runs", settings=settings) == 0 and "No run yet" in capsys.readouterr().err
    small = ("--architecture", "cnn_2_1", "--epochs", "3", "--validation-fraction", "0.3")
    assert run("start", "--data", str(films), *small, "--tensorboard", "logs", settings=settings) == 0
    said = capsys.readouterr()
    id = said.out.strip()
    assert f"watch {id}" in said.err and "Started." in said.err
    assert read_request(settings.runs_dir / id).tensorboard == Path("logs").resolve()
    assert run("start", "--data", str(films), *small, settings=settings) == 0
    assert "position 1" in capsys.readouterr().err
    assert run("start", "--data", str(films), "--architecture", "cnn_2_1", "--epochs", "0", settings=settings) == 2
    capsys.readouterr()
    assert run("runs", settings=settings) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "preset", "epochs", "AUROC", "minutes", "version"]
    assert "queued, position 1" in lines[0] and lines[1].split()[:2] == [id, "running"]
    stop_all(settings)
    assert run("resume", id, settings=settings) == 0 and "watch" in capsys.readouterr().err
    assert run("cancel", id, settings=settings) == 0 and "is cancelled" in capsys.readouterr().err
    assert run("cancel", id, settings=settings) == 0 and "had already ended" in capsys.readouterr().err
    assert not working_on(settings.runs_dir)


def test_a_run_can_start_from_the_classifier_in_use(
    films: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "launch", lambda _folder, _arguments: None)
    assert run("start", "--data", str(films), "--from", "in-use", "--preset", "quick", *THIRD, settings=settings) == 0
    (job,) = jobs.list_jobs(settings)
    version = json.loads((SHIPPED_WEIGHTS / "active.json").read_text())["version"]
    assert (job.starting_point, job.architecture, job.preset) == (f"version {version}", "inception_v3", "quick")
    with pytest.raises(ClassifierError, match="1999"):
        run("start", "--data", str(films), "--from", "1999.1.1-1", settings=settings)


def test_watching_in_a_pipe_says_each_epoch_once_and_how_it_ended(
    films: Path,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {"epoch": n, "stage": "fit", "loss": 0.5, "train_auroc": 0.8, "val_auroc": 0.9, "seconds": 60.0} for n in (1, 2)
    ]
    write = f"(folder / 'history.json').write_text({json.dumps(json.dumps(rows))})\n"
    trains_by(write + MAKES.replace("\n    ", "\n"), tmp_path / "fake", monkeypatch)
    with pytest.raises(RunError, match="Received: none"):
        run("watch", settings=settings)
    job = run_queue.enqueue(settings, a_request(films), WHO)
    assert run("watch", settings=settings) == 0
    said = capsys.readouterr().out
    assert said.count("epoch 1/3") == said.count("epoch 2/3") == 1
    assert f"{job.id} is done: version" in said and "0.9000" in said
    trains_by("print('no luck', flush=True); sys.exit(1)", tmp_path / "fake", monkeypatch)
    wait_until(lambda: not processes.is_running(job.folder))
    job = run_queue.enqueue(settings, a_request(films), WHO)
    assert run("watch", job.id, settings=settings) == 1
    said = capsys.readouterr().err
    assert "no luck" in said and f"resume {job.id}" in said
    trains_by(SLEEPS, tmp_path / "fake", monkeypatch)
    wait_until(lambda: jobs.read_job(settings, job.id).state == "failed")
    run_queue.resume(settings, job.id, WHO)

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(jobs.time, "sleep", interrupt)
        assert run("watch", job.id, settings=settings) == 130
    assert (
        "continues in the background" in capsys.readouterr().err and jobs.read_job(settings, job.id).state == "running"
    )


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PNEUMOLENS_")]:
        monkeypatch.delenv(name)


def is_fitting(settings: Settings, id: str) -> bool:
    job = jobs.read_job(settings, id)
    assert job.state == "running", job
    return job.phase == "fitting"


def wait_for_end(settings: Settings, id: str) -> Job:
    wait_until(lambda: jobs.read_job(settings, id).state not in ("queued", "running"), 300)
    return jobs.read_job(settings, id)


@pytest.mark.nightly
@pytest.mark.usefixtures("plain_environment")
def test_a_real_training_is_cancelled_killed_resumed_and_done(films: Path, settings: Settings) -> None:
    job = run_queue.enqueue(settings, a_request(films, epochs=24), WHO)
    second = run_queue.enqueue(settings, a_request(films, epochs=1), WHO)
    wait_until(lambda: is_fitting(settings, job.id), 120)
    assert second.place == 1 and run_queue.cancel(settings, second.id, WHO).state == "cancelled"
    assert len(working_on(job.folder)) == 1
    assert run_queue.cancel(settings, job.id, WHO).state == "cancelled"
    assert not working_on(job.folder)
    run_queue.resume(settings, job.id, WHO)
    before = len(jobs.epochs(job))
    wait_until(lambda: len(jobs.epochs(jobs.read_job(settings, job.id))) > before, 120)
    os.kill(pid_of(job.folder), signal.SIGKILL)
    wait_until(lambda: jobs.read_job(settings, job.id).state == "failed", 10)
    failed = jobs.read_job(settings, job.id)
    assert failed.failure is not None and any("epoch" in line for line in failed.failure.last_log_lines)
    assert not settings.versions_dir.exists(), "nothing may be registered by a run that was killed"
    kept = jobs.epochs(failed)
    run_queue.resume(settings, job.id, WHO)
    # It hands on to the next in the queue by itself: nobody looks meanwhile.
    third = run_queue.enqueue(settings, a_request(films, epochs=1), WHO)
    assert wait_for_end(settings, third.id).state == "done"
    job = jobs.read_job(settings, job.id)
    assert job.state == "done" and job.version is not None, job.failure
    assert jobs.epochs(job)[: len(kept)] == kept and job.epochs_done == 24
    assert all(1 <= row["epoch"] <= 24 for row in jobs.points(job))
    assert len(list(settings.versions_dir.glob("[!.]*"))) == 2
    assert not (settings.data_dir / "active.json").exists(), "a run never puts its version into use"
    assert not list(job.folder.glob(".*.tmp")) and not (job.folder / ".reserve").exists()


FULL = """
import os
sync = os.fsync
def fsync(descriptor):
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    if any(name in path for name in os.environ.get("TEST_FULL_FOR", "").split()):
        raise OSError(28, "No space left on device")
    sync(descriptor)
os.fsync = fsync
"""


@pytest.mark.nightly
@pytest.mark.usefixtures("plain_environment")
def test_a_disk_that_fills_up_and_files_that_cannot_be_read(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = tmp_path / "own"
    write_dataset(films, 12)
    (films / "NORMAL" / "IM-0700-0001.jpeg").write_bytes(b"not a picture")
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(FULL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "patch"))
    # The checkpoint does not fit at first, then the new version does not, and both times nothing fits that says so.
    monkeypatch.setenv("TEST_FULL_FOR", "checkpoint error.json")
    job = run_queue.enqueue(settings, a_request(films), WHO)
    for full in ("versions error.json", ""):
        job = wait_for_end(settings, job.id)
        assert job.state == "failed" and job.failure is not None and job.failure.message == "The disk is full."
        assert not list(settings.versions_dir.glob("*")), "nothing half registered"
        monkeypatch.setenv("TEST_FULL_FOR", full)
        run_queue.resume(settings, job.id, WHO)
    job = wait_for_end(settings, job.id)
    assert job.state == "done" and job.version is not None, job.failure
    card = card_from_json((settings.versions_dir / job.version / "card.json").read_text(encoding="utf-8"))
    assert card.data["unreadable"] == 1 and job.epochs_done == 3


@pytest.mark.usefixtures("plain_environment")
def test_films_that_vanish_are_told(
    films: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    shutil.copytree(films, own)
    with monkeypatch.context() as patched:
        patched.setattr(run_queue, "advance", lambda _settings: None)
        job = run_queue.enqueue(settings, a_request(own), WHO)
    own.rename(tmp_path / "elsewhere")
    assert run_queue.advance(settings) == job.id
    failure = wait_for_end(settings, job.id).failure
    assert failure is not None and "Name a folder that exists" in failure.advice


def test_a_request_of_one_folder_is_read_by_earlier_versions_and_theirs_by_this_one(
    films: Path, settings: Settings
) -> None:
    config = default_config("cnn_2_1", epochs=3, validation_fraction=0.3)
    create_run(settings.runs_dir / "one", config, RunRequest(DataRequest.of(films), settings.versions_dir, "random"))
    values = json.loads((settings.runs_dir / "one" / "run.json").read_text())
    assert values["data"] == str(films)
    del values["data_request"]
    # Whose run began before is split as it was.
    assert request_from(values).data == DataRequest((films,), patient_rule="before_0_2")


def test_a_request_of_several_sources_is_kept_and_earlier_versions_refuse_it(films: Path, settings: Settings) -> None:
    other = films.with_name("other")
    shutil.copytree(films, other)
    asked = RunRequest(DataRequest((films, other), ("a", ""), "(.*)-.*", "file"), settings.versions_dir, "random")
    asked = dataclasses.replace(asked, stated={"licence": "CC BY 4.0"})
    create_run(settings.runs_dir / "two", default_config("cnn_2_1", epochs=3, validation_fraction=0.3), asked)
    assert read_request(settings.runs_dir / "two") == asked
    # An earlier version makes a path of `data`, and a list is none.
    assert json.loads((settings.runs_dir / "two" / "run.json").read_text())["data"] == [str(films), str(other)]
