from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from core.settings import Settings, load_settings
from pages.shared import installation
from tests.pages.performance.test_performance import text
from tests.training.data.test_sources import GOOD, a_zip, folder_of
from training.data import sources
from training.data.data_request import DataRequest
from training.data.sample import CLASSES
from training.data.sources import Dataset
from training.runs import audits, jobs


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step stands behind the guard, which has tests of its own."""
    monkeypatch.setattr("pages.shared.administrator._is_signed_in", lambda _: True)


def page() -> None:
    from pages.retraining import choose
    from pages.shared import installation

    choose.show(installation.settings())


def open_choose() -> AppTest:
    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def upload(app: AppTest, name: str, data: bytes) -> AppTest:
    app.file_uploader[0].set_value((name, data, "application/zip")).run()
    assert not app.exception
    return app


def films(folder: Path, n: int) -> None:
    folder_of(folder, *(f"{label}/{number}.png" for label in ("NORMAL", "PNEUMONIA") for number in range(n)))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation whose data root is there and empty."""
    (tmp_path / "server").mkdir()
    environment = {"PNEUMOLENS_DATA_DIR": str(tmp_path / "var"), "PNEUMOLENS_DATA_ROOTS": str(tmp_path / "server")}
    monkeypatch.setattr(installation, "settings", lambda: load_settings(environment))
    return load_settings(environment)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """Datasets whose audit was asked for; none is started."""
    asked: list[Dataset] = []

    def start(_settings: Settings, *datasets: Dataset, patient_pattern: str) -> str:  # noqa: ARG001
        asked.extend(datasets)
        return "0123456789abcdef"

    monkeypatch.setattr(audits, "start_audit", start)
    return asked


@pytest.mark.usefixtures("settings")
def test_without_data_roots_the_page_says_how_to_set_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "settings", lambda: Settings(tmp_path / "var"))
    app = open_choose()
    said = text(app)
    assert "No dataset folders are configured" in said and "PNEUMOLENS_DATA_ROOTS=/srv/radiographs" in said
    assert "NORMAL and PNEUMONIA" in said and labels(app) == []


def test_empty_data_roots_are_named(settings: Settings) -> None:
    said = text(open_choose())
    assert "No dataset found" in said and str(settings.data_roots[0]) in said


def test_a_folder_of_the_server_goes_on_to_its_audit(settings: Settings, started: list[Dataset]) -> None:
    films(settings.data_roots[0] / "a", 2)
    films(settings.data_roots[0] / "b & c", 3)
    app = open_choose()
    assert app.multiselect[0].options == ["server/a", "server/b & c"] and app.multiselect[0].indices == [0]
    app.multiselect[0].set_value([sources.list_datasets(settings)[1].id]).run()
    said = text(app)
    assert str(settings.data_roots[0]) in said and "b &amp; c</p>" in said
    assert "<th>Training</th><td>3</td><td>3</td>" in said
    assert labels(app) == ["Audit dataset"], "what is not an upload cannot be deleted here"
    app.query_params["run"] = "earlier"
    press(app, "Audit dataset")
    assert [dataset.name for dataset in started] == ["server/b & c"]
    assert app.query_params == {"step": "audit", "audit": "0123456789abcdef"}


def test_a_folder_that_vanished_meanwhile_is_one_sentence(settings: Settings) -> None:
    films(settings.data_roots[0] / "a", 1)
    app = open_choose()
    listed = sources.list_datasets(settings)
    (settings.data_roots[0] / "a" / "NORMAL").rename(settings.data_roots[0] / "a" / "OTHER")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "list_datasets", lambda _: listed)
        press(app, "Audit dataset")
    assert "two sub-folders called NORMAL and PNEUMONIA" in text(app) and "step" not in app.query_params


def test_an_uploaded_zip_is_stored_and_chosen(settings: Settings, started: list[Dataset]) -> None:
    films(settings.data_roots[0] / "a", 1)
    app = upload(open_choose(), "Winter.zip", a_zip(*GOOD, "chest/notes.txt").getvalue())
    said = text(app)
    assert "2 radiographs stored as “Winter”. 1 other file was skipped." in said
    assert app.multiselect[0].options == ["server/a", "Winter (upload)"]
    assert "<th>Training</th><td>1</td><td>1</td>" in said and str(settings.datasets_dir.resolve() / "Winter") in said
    press(app, "Audit dataset")
    assert [dataset.name for dataset in started] == ["Winter"]
    assert len(list(settings.datasets_dir.iterdir())) == 1, "the rerun must not store it again"


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("most", [200, 500])
def test_a_zip_is_promised_no_more_than_the_server_takes(most: int) -> None:
    before = config.get_option("server.maxUploadSize")
    config.set_option("server.maxUploadSize", most)
    try:
        app = open_choose()
    finally:
        config.set_option("server.maxUploadSize", before)
    assert app.file_uploader[0].label == f"One ZIP file, up to {most} MB"
    assert app.file_uploader[0].proto.max_upload_size_mb == most
    assert f"more than {most} MB as a folder" in text(app)


@pytest.mark.usefixtures("settings")
def test_an_uploaded_directory_is_stored() -> None:
    app = open_choose()
    app.segmented_control[0].set_value("Folder on this computer").run()
    assert app.file_uploader[0].accept_directory
    app.file_uploader[0].set_value([(name, b"film", "image/png") for name in GOOD]).run()
    assert not app.exception
    assert "2 radiographs stored as “chest”." in text(app)
    assert app.multiselect[0].options == ["chest (upload)"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no zip", "Make the zip again"),
        (a_zip("notes.txt").getvalue(), "two folders called NORMAL and PNEUMONIA"),
        (a_zip(*GOOD, "../../evil.png").getvalue(), "only paths below one folder"),
    ],
)
def test_a_refused_upload_says_why_and_leaves_nothing(settings: Settings, data: bytes, words: str) -> None:
    app = upload(open_choose(), "evil<b>.zip", data)
    said = text(app)
    assert words in said and "Nothing was changed" in said and "evil" not in said
    assert not settings.datasets_dir.exists() or list(settings.datasets_dir.iterdir()) == []
    assert app.file_uploader[0].value is None, "the uploader is empty again"
    assert words not in text(app.run()), "said once"


def test_an_upload_is_deleted_after_a_question(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    forget: Callable[[Settings, Dataset], None] = lambda _, dataset: forgotten.append(dataset.name)  # noqa: E731
    monkeypatch.setattr(audits, "forget_audits", forget)
    app = upload(open_choose(), "films.zip", a_zip(*GOOD).getvalue())
    press(press(app, "Delete upload"), "Cancel")
    assert "permanently" not in text(app) and (settings.datasets_dir / "films").is_dir()
    press(app, "Delete upload")
    assert "Delete “films” permanently?" in text(app) and "2 radiographs" in text(app)
    press(app, "Delete permanently")
    assert "“films” was deleted." in text(app) and forgotten == ["films"]
    assert list(settings.datasets_dir.iterdir()) == []


@pytest.mark.parametrize("reader", ["audit", "training"])
def test_an_upload_in_use_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    app = upload(open_choose(), "films.zip", a_zip(*GOOD).getvalue())
    path = settings.datasets_dir / "films"
    if reader == "audit":
        monkeypatch.setattr(audits, "folders_in_use", lambda _: (path,))
    else:
        job: Any = type("Job", (), {"state": "queued", "data": DataRequest.of(path)})
        monkeypatch.setattr(jobs, "list_jobs", lambda _: (job,))
    press(press(app, "Delete upload"), "Delete permanently")
    assert "Wait until the audit or the training has finished" in text(app) and path.is_dir()


def test_several_datasets_are_audited_together_with_their_patients_shown(
    settings: Settings, started: list[Dataset]
) -> None:
    folder_of(settings.data_roots[0] / "a", "NORMAL/IM-0001-0001.png", "PNEUMONIA/person1_virus_2.png")
    folder_of(settings.data_roots[0] / "b", *(f"{one}/P{i // 2:04d}_{i % 2}.png" for i in range(10) for one in CLASSES))
    (settings.data_roots[0] / "b" / "NORMAL" / "notes.txt").write_text("no picture")
    app = open_choose()
    app.multiselect[0].set_value([one.id for one in sources.list_datasets(settings)]).run()
    said = text(app)
    assert "by file for the other 20 radiographs" in said and "files that are no pictures (1)" in said
    assert "Training<span>server/b</span></th><td>10</td><td>10</td>" in said
    assert "→ unknown</td>" in said and "→ a: IM-1</td>" in said
    press(app, r"Use (.*)_\d+: 5 patients")
    said = text(app)
    assert "Split by patient: 22 radiographs of 7 patients." in said and "Patient pattern</th><td>21 files" in said
    assert "→ server/b: pattern P0000" in said or "→ b: pattern P0000" in said
    press(app, "Audit 2 datasets")
    assert [dataset.name for dataset in started] == ["server/a", "server/b"]


def test_a_pattern_that_cannot_be_used_says_why_and_stops_the_audit(settings: Settings) -> None:
    films(settings.data_roots[0] / "a", 2)
    app = open_choose()
    app.text_input(key="choose.pattern").set_value("(a+)+").run()
    assert not app.exception
    assert "with the patient in parentheses" in text(app)
    assert next(button for button in app.button if button.label == "Audit dataset").disabled
    app.text_input(key="choose.pattern").set_value("").run()
    assert "Split by file: the patients of the 4 radiographs are unknown." in text(app)
