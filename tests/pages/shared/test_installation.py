from __future__ import annotations

import re
import stat
from pathlib import Path

from core.settings import Settings
from records.administrator import set_password
from tests.server_start import start


def test_a_second_app_says_so_and_leaves_the_code_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    (folder / "runs").mkdir(mode=0o755)
    first, said = start(folder)
    found = re.search(r"One-time code for the Retrain page: (\S+)", said)
    assert found is not None
    second, words = start(folder)
    assert "Another PneumoLens app already serves this data folder" in words and "One-time code for" not in words
    set_password(Settings(folder), found[1], "correct horse battery")
    assert second.communicate()[1].count("could be read by other users") == 0
    assert first.communicate()[1].count("could be read by other users") == 2
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_when_the_first_has_ended_the_next_start_makes_a_code(tmp_path: Path) -> None:
    for _ in range(2):
        app, said = start(tmp_path / "data")
        assert "One-time code for the Retrain page" in said
        app.communicate()
