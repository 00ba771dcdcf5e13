from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from core.errors import DatasetError
from tests.phantoms import as_png, chest
from training.data.data_request import DataRequest
from training.data.dataset import scan
from training.data.sample import Sample
from training.data.sources import pictures

PICTURE = as_png(chest(1, (60, 70)))
HEADER = "path,label,patient,source,unit,age,view,sex,pathogen,split"


def films(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PICTURE)


def table(root: Path, *rows: str, name: str = "films.csv", header: str = HEADER) -> Path:
    (root / name).write_text("\n".join((header, *rows)) + "\n")
    return root / name


def test_a_table_says_all_of_a_radiograph(tmp_path: Path) -> None:
    films(tmp_path, "a.png", "x/b.png", "x/c.png")
    path = table(
        tmp_path,
        "a.png,NORMAL,7,Ward,AGFA,4,PA,M,,",
        "x/b.png,1,7,Clinic,,006M,ap,female,virus,train",
        "x/c.png,Bacterial pneumonia,,,,,,,,valid",
    )
    folder = scan(path)
    assert folder.train == (
        Sample(tmp_path / "a.png", 0, "7", True, "", "", "Ward", "AGFA", 4.0, "M", "PA"),
        Sample(tmp_path / "x/b.png", 1, "7", True, "virus", "", "Clinic", "", 0.5, "F", "AP"),
    )
    (third,) = folder.val
    assert (third.label, third.pathogen, third.patient_known) == (1, "bacteria", False)
    assert scan(tmp_path).train == folder.train, "a folder with one table is the same"


def test_parquet_and_other_delimiters_are_the_same_table(tmp_path: Path) -> None:
    films(tmp_path, "a.png", "b.png")
    plain = scan(table(tmp_path, "a.png,0,1,,,3,,,,", "b.png,1,2,,,,,,,")).train
    columns = {"Path": ["a.png", "b.png"], "label": [0, 1], "patient": [1, 2], "age": [3.0, None], "more": [1, 2]}
    parquet.write_table(pa.table(columns), tmp_path / "films.parquet")
    assert scan(tmp_path / "films.parquet").train == plain
    semicolons = table(tmp_path, "a.png;0;1;3", "b.png;1;2;", name="s.csv", header="\ufeffpath;label;patient;age")
    assert scan(semicolons).train == plain


def test_rows_that_are_not_used_are_counted(tmp_path: Path) -> None:
    films(tmp_path, "a.png", "b.png", "c.png")
    path = table(
        tmp_path,
        "a.png,NORMAL",
        "a.png,NORMAL",
        "b.png,PNEUMONIA",
        "gone.png,NORMAL",
        "c.png,COVID",
        "c.png,",
        "d.png,1,,,,,LATERAL",
    )
    assert scan(path).skipped == {
        "rows that repeat a radiograph": 1,
        "rows whose file is missing": 1,
        "rows labelled COVID": 1,
        "rows without a label": 1,
        "lateral views": 1,
    }


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("file,label", ["a.png,0"], "columns path and label in films.csv. Received: file, label"),
        ("path,label,label", ["a.png,0,1"], "each column once"),
        ("path,label", ["../a.png,0"], "below the table's folder in line 2"),
        ("path,label", ["/etc/passwd,0"], "below the table's folder in line 2"),
        ("path,label", ["a.png,0", "a.png,1"], "one row for each radiograph in line 3"),
        ("path,label,age", ["a.png,0,old"], "an age in years in the column age in line 2"),
        ("path,label,split", ["a.png,0,some"], "train, val or test"),
        ("path,label", ["a.png,COVID", "b.png,Edema"], "Received: labels COVID, Edema"),
        ("path,label", ["x/a.png,0", "x/b.png,1"], "no file x/a.png"),
        ("path,label", ["a.png,0"], "'PNEUMONIA': 0"),
    ],
)
def test_tables_that_mean_nothing_are_refused_with_the_place(
    tmp_path: Path, header: str, rows: list[str], message: str
) -> None:
    films(tmp_path / "films", "a.png")
    with pytest.raises(DatasetError, match=message):
        scan(table(tmp_path / "films", *rows, header=header))


def test_a_damaged_parquet_file_and_two_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "films.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DatasetError, match="names of columns"):
        scan(tmp_path / "films.parquet")
    films(tmp_path, "a.png", "b.png")
    table(tmp_path, "a.png,0", "b.png,1", name="one.csv")
    table(tmp_path, "a.png,1", "b.png,0", name="two.csv")
    with pytest.raises(DatasetError, match="one table"):
        scan(tmp_path)


def test_patients_of_one_table_are_one_numbering_whatever_the_source(tmp_path: Path) -> None:
    for ward in ("a", "b"):
        films(tmp_path / ward, "x.png", "y.png")
        table(tmp_path / ward, "x.png,0,7,one,,,,,,", "y.png,1,7,two,,,,,,")
    both = scan(DataRequest.of(tmp_path / "a", tmp_path / "b" / "films.csv")).train
    assert [(s.patient, s.source) for s in both] == [
        ("a: 7", "one"),
        ("a: 7", "two"),
        ("films: 7", "one"),
        ("films: 7", "two"),
    ]


def test_a_link_out_of_the_folder_is_for_the_command_line_alone(tmp_path: Path) -> None:
    films(tmp_path / "archive", "a.png", "b.png")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "link").symlink_to(tmp_path / "archive")
    table(tmp_path / "films", "link/a.png,0", "link/b.png,1")
    assert len(scan(tmp_path / "films").train) == 2
    with pytest.raises(DatasetError, match="below the table's folder in line 2"):
        list(pictures(tmp_path / "films"))


@pytest.mark.parametrize(("name", "content"), [("t.csv", "path,label\n".encode("utf-16")), ("t.parquet", b"none")])
def test_a_table_in_another_encoding_is_not_said_to_lack_a_column(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match="that can be read") as refused:
        scan(tmp_path / name)
    assert "UTF-8" in refused.value.advice
