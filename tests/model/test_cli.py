from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import model.__main__ as cli
from model.assessment import Assessment
from model.card import PurposePoint
from model.listing import ASIDE
from model.pipeline import assess
from tests import ROOT
from tests.fake_classifier import fake_card, fake_classifier
from tests.imaging.test_archives import zipped
from tests.model.test_listing import OUTSIDE
from tests.phantoms import as_png, chest

FILM = as_png(chest(1, (240, 288)))
CARD = fake_card(
    purposes=(
        PurposePoint("screening", 0.0001, 0.99, 0.5, "by hand"),
        PurposePoint("balanced", 0.5, 0.9, 0.9, "by hand"),
        PurposePoint("rule_in", 0.9999, 0.5, 0.99, "by hand"),
    )
)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PNEUMOLENS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(cli, "start_tensorflow", lambda: None)
    monkeypatch.setattr(cli, "load_classifier", lambda *_, **__: fake_classifier(CARD))


def lines(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def a_ward(folder: Path) -> Path:
    ward = folder / "ward"
    (ward / "deep").mkdir(parents=True)
    (ward / "deep" / "IM000001").write_bytes(FILM)
    (ward / "a.png").write_bytes(FILM)
    (ward / "b.jpg").write_bytes(b"no picture")
    (ward / "notes.txt").write_text("x")
    (ward / ".hidden.png").write_bytes(FILM)
    (ward / "more.zip").write_bytes(zipped(("in/c.png", FILM), ("in/d.zip", zipped()), ("readme.md", b"")))
    return ward


def test_a_film_gives_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film.png").write_bytes(FILM)
    assert cli.main(["assess", str(tmp_path / "film.png")]) == 0
    (said,) = lines(capsys.readouterr().out)
    assert said["path"] == str(tmp_path / "film.png") and said["status"] == "assessed"
    assert said["classifier_version"] == "fake-1" and said["purpose"] == "default" and len(str(said["sha256"])) == 64
    assert said["finding"] in ("PNEUMONIA", "NO_PNEUMONIA") and said["turn"] == 0


def test_folders_and_archives_are_walked_and_bad_files_are_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ward = a_ward(tmp_path)
    assert cli.main(["assess", str(ward)]) == 0
    said = {str(Path(str(one["path"])).relative_to(ward)): one for one in lines(capsys.readouterr().out)}
    assert list(said) == ["a.png", "b.jpg", "deep/IM000001", "more.zip/in/c.png", "more.zip/in/d.zip"]
    assert [one["status"] for one in said.values()] == ["assessed", "refused", "assessed", "assessed", "refused"]
    assert said["a.png"]["sha256"] == said["more.zip/in/c.png"]["sha256"]
    (issue,) = said["more.zip/in/d.zip"]["issues"]  # type: ignore[misc]
    assert issue["code"] == "UNSUPPORTED" and "archive inside an archive" in issue["message"]


def test_missing_and_damaged_files_are_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.zip").write_bytes(zipped(("a.png", FILM))[:-30])
    assert cli.main(["assess", str(tmp_path / "none.png"), str(tmp_path / "cut.zip")]) == 0
    missing, cut = lines(capsys.readouterr().out)
    assert missing["issues"][0]["message"].startswith("There is no such file")  # type: ignore[index]
    assert cut["status"] == "refused" and "damaged" in cut["issues"][0]["message"]  # type: ignore[index]


def test_a_dicom_film_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.dicoms import phantom_dicom

    (tmp_path / "IM1").write_bytes(phantom_dicom(1, size=(240, 288)))
    assert cli.main(["assess", str(tmp_path)]) == 0
    (said,) = lines(capsys.readouterr().out)
    assert said["status"] == "assessed", said


def test_the_csv_has_the_same_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "ward.csv"
    assert cli.main(["assess", str(a_ward(tmp_path)), "--csv", str(target)]) == 0
    assert capsys.readouterr().out == "", "the lines go where the CSV does not only when --json says so"
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.jpg", "IM000001", "c.png", "d.zip"]
    assert {"finding", "probability", ASIDE, "issues", "messages", "corrections", "population_distance"} <= set(rows[0])
    film, target = tmp_path / "ward" / "a.png", tmp_path / "x.jsonl"
    assert cli.main(["assess", str(film), "--csv", "-", "--json", str(target)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("path,status,finding") and "u000d" not in shown
    (streamed,) = csv.DictReader(shown.splitlines())
    assert len(streamed["sha256"]) == 64
    assert len(lines(target.read_text())) == 1


def test_a_film_outside_the_population_is_on_no_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def outside(data: bytes, classifier: object) -> Assessment:
        import dataclasses

        return dataclasses.replace(assess(data, classifier), issues=(OUTSIDE,))  # type: ignore[arg-type]

    monkeypatch.setattr(cli, "assess", outside)
    (tmp_path / "film.png").write_bytes(FILM)
    assert cli.main(["assess", str(tmp_path / "film.png")]) == 0
    (said,) = lines(capsys.readouterr().out)
    assert said["status"] == "outside" and said["finding"] is None and said["probability"] is not None


def test_a_purpose_moves_the_operating_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.png"
    film.write_bytes(FILM)
    found = []
    for purpose in ("screening", "rule_in"):
        assert cli.main(["assess", str(film), "--purpose", purpose]) == 0
        found += lines(capsys.readouterr().out)
    assert [one["finding"] for one in found] == ["PNEUMONIA", "NO_PNEUMONIA"]
    assert found[0]["probability"] == found[1]["probability"] and found[0]["purpose"] == "screening"
    monkeypatch.setenv("PNEUMOLENS_PURPOSE", "rule_in")
    assert cli.main(["assess", str(film)]) == 0
    assert lines(capsys.readouterr().out)[0]["purpose"] == "rule_in", "the site's own"


def test_a_version_without_the_purpose_refuses_before_any_film(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_classifier", lambda *_, **__: fake_classifier())
    assert cli.main(["assess", str(tmp_path / "none.png"), "--purpose", "screening"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and "choose another purpose" in printed.err


def test_wrong_arguments_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["assess"], ["assess", "x", "--purpose", "guessing"], ["guess"], ["assess", "x", "--continue"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
    assert "guessing" in capsys.readouterr().err


def test_what_cannot_be_written_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "film.png").write_bytes(FILM)
    assert cli.main(["assess", str(tmp_path / "film.png"), "--csv", str(tmp_path / "no" / "ward.csv")]) == 1
    assert "Could not write the results" in capsys.readouterr().err


def test_maps_are_named_by_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import hashlib

    (tmp_path / "Doe.png").write_bytes(FILM)
    assert cli.main(["assess", str(tmp_path / "Doe.png"), "--heatmaps", str(tmp_path / "maps")]) == 0
    (picture,) = (tmp_path / "maps").iterdir()
    assert picture.name == f"{hashlib.sha256(FILM).hexdigest()[:16]}.png" and len(lines(capsys.readouterr().out)) == 1


def test_help_shows_examples_without_starting_tensorflow() -> None:
    code = (
        "import sys, runpy; sys.argv = ['model', 'assess', '--help']\n"
        "try: runpy.run_module('model', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: sys.exit('tensorflow' in sys.modules or end.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in (
        "--purpose",
        "examples:",
        "exit status",
        "--csv",
        "archives inside archives are refused",
        "--continue",
    ):
        assert words in " ".join(done.stdout.split())


def test_pictures_that_cannot_be_read_by_the_map_are_no_failure(tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(as_png(np.full((300, 300), 90, np.uint8)))
    assert cli.main(["assess", str(tmp_path), "--heatmaps", str(tmp_path / "maps"), "--json", str(tmp_path / "x")]) == 0
    assert lines((tmp_path / "x").read_text())[0]["status"] == "refused"


def test_a_run_that_was_killed_continues_to_the_same_results(tmp_path: Path) -> None:
    """Killed at its third film, in a process of its own, and with half a line of a fourth in each file."""
    ward, parts = a_ward(tmp_path), {kind: tmp_path / f"part.{kind}" for kind in ("json", "csv")}
    code = (
        "import os, signal, sys, model.__main__ as cli\n"
        "from tests.model.test_cli import CARD, fake_classifier\n"
        "cli.start_tensorflow, cli.load_classifier = lambda: None, lambda *_, **__: fake_classifier(CARD)\n"
        "begin, seen = cli._assess_one, []\n"
        "def assess_one(*arguments):\n"
        "    seen.append(1)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if len(seen) == 3 else begin(*arguments)\n"
        "cli._assess_one = assess_one\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    arguments = ["assess", str(ward), "--json", str(parts["json"]), "--csv", str(parts["csv"])]
    killed = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [len(part.read_bytes().split(b"\n")) for part in parts.values()] == [3, 4]
    parts["json"].write_bytes(parts["json"].read_bytes() + b'{"path": "half a l')
    parts["csv"].write_bytes(parts["csv"].read_bytes() + b'x.png,refused,"a line\nbreak')
    before = {kind: part.read_bytes().rsplit(b"\n", 1 if kind == "json" else 2)[0] for kind, part in parts.items()}
    assert cli.main([*arguments, "--continue"]) == 0
    whole = {kind: tmp_path / f"whole.{kind}" for kind in parts}
    assert cli.main(["assess", str(ward), "--json", str(whole["json"]), "--csv", str(whole["csv"])]) == 0
    for kind, part in parts.items():
        assert part.read_bytes().startswith(before[kind]), "what was there is not assessed again"
        assert timeless(part, kind) == timeless(whole[kind], kind)
    assert cli.main([*arguments, "--continue"]) == 0
    for kind, part in parts.items():
        assert timeless(part, kind) == timeless(whole[kind], kind), "a complete run has nothing to continue"


def timeless(path: Path, kind: str) -> list[dict[str, object]]:
    text = path.read_text(encoding="utf-8")
    found = lines(text) if kind == "json" else list(csv.DictReader(text.splitlines()))
    return [{key: value for key, value in one.items() if key not in ("seconds", "assessed_at")} for one in found]


def test_continuing_takes_up_files_that_are_new_changed_or_were_unreadable(tmp_path: Path) -> None:
    target, films = tmp_path / "x.jsonl", tmp_path / "films"
    films.mkdir()
    for name, data in (("a.png", FILM), ("b.png", FILM), ("c.png", b"no picture"), ("d.png", b"no picture")):
        (films / name).write_bytes(data)
    arguments = ["assess", str(films), "--json", str(target), "--continue"]
    assert cli.main(arguments) == 0, "without a file yet it begins one"
    (films / "b.png").write_bytes(as_png(chest(2, (240, 288))))
    (films / "d.png").write_bytes(FILM)
    (films / "e.png").write_bytes(FILM)
    assert cli.main(arguments) == 0
    names = [Path(str(one["path"])).name for one in lines(target.read_text())]
    assert names == ["a.png", "b.png", "c.png", "d.png", "b.png", "d.png", "e.png"]


@pytest.mark.parametrize("content", [b"x", b"\x89PNG\r\n", b'["path"]\n', b'{"path": "a"}\n', b'{"path": 1\n'])
@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_what_holds_no_results_is_left_as_it_is(
    content: bytes, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.png").write_bytes(FILM)
    target = tmp_path / "mine"
    target.write_bytes(content)
    assert cli.main(["assess", str(tmp_path / "film.png"), option, str(target), "--continue"]) == 1
    assert target.read_bytes() == content and "choose another file" in capsys.readouterr().err.lower()


def test_a_csv_file_that_an_earlier_version_began_keeps_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(FILM)
    target = tmp_path / "ward.csv"
    assert cli.main(["assess", str(tmp_path), "--csv", str(target)]) == 0
    with target.open(newline="", encoding="utf-8") as file:
        (first,) = csv.DictReader(file)
    columns = [name for name in first if name not in ("lungs", "groups")]
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerow(first)
    (tmp_path / "b.png").write_bytes(as_png(chest(9, (300, 300))))
    assert cli.main(["assess", str(tmp_path), "--csv", str(target), "--continue"]) == 0
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.png"]
    assert all(list(row) == columns and len(row["sha256"]) == 64 for row in rows)


def test_results_of_another_version_or_purpose_are_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.png").write_bytes(FILM)
    arguments = ["assess", str(tmp_path / "film.png"), "--json", str(tmp_path / "x"), "--continue"]
    assert cli.main(arguments) == 0 and cli.main([*arguments, "--purpose", "screening"]) == 1
    monkeypatch.setattr(cli, "load_classifier", lambda *_, **__: fake_classifier(fake_card("fake-2")))
    assert cli.main(arguments) == 1
    assert (
        "expected results of version fake-2" in capsys.readouterr().err
        and len(lines((tmp_path / "x").read_text())) == 1
    )


def test_progress_is_lines_where_it_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(20):
        (tmp_path / f"{i:02}.png").write_bytes(b"no picture")
    assert cli.main(["assess", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert len(lines(printed.out)) == 20 and "\r" not in printed.err
    said = printed.err.splitlines()
    assert len(said) == 9 and said[0].startswith("assessed 2 of 20 films, ") and said[0].endswith(" left")
