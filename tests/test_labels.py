"""Labels from paths and tables, CSV files without pandas, names that stay in their folder."""

import copy
import os
import pickle
import re
from collections import namedtuple
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch

from learnlite.data.labels import (
    ColReader,
    RegexLabeller,
    is_missing,
    parent_label,
    plain,
    using_attr,
)
from learnlite.data.tables import Row, cell, column, each_of, read_csv, rows_of, safe_join
from learnlite.data.wording import did_you_mean, named, quoted, short
from learnlite.vision.image_loaders import ImageDataLoaders

Pet = namedtuple("Pet", "fname label")

PET = r"^(.*)_\d+.jpg$"


def csv_file(folder, text, **settings):
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- from paths


@pytest.mark.parametrize("make", [str, Path])
def test_the_folder_of_a_file_is_its_label(make):
    assert parent_label(make("a/train/ants/1.jpg")) == "ants"


@pytest.mark.parametrize("path", ["1.jpg", "/1.jpg"])
def test_a_file_in_no_folder_has_no_label(path):
    with pytest.raises(ValueError, match=f"`{path}` lies in no folder that could name its class"):
        parent_label(path)


def test_the_first_group_of_a_pattern_is_the_label():
    path = Path("images") / "great_pyrenees_173.jpg"
    assert RegexLabeller(r"/([^/]+)_\d+.jpg$")(path) == "great_pyrenees"
    assert using_attr(RegexLabeller(PET), "name")(path) == "great_pyrenees"
    assert using_attr(RegexLabeller(PET), "name")(str(path)) == "great_pyrenees"
    assert using_attr(str.upper, "suffix")(path) == ".JPG"


def test_a_pattern_searches_anywhere_or_matches_at_the_beginning():
    assert RegexLabeller(r"(\d+)")("a/12.jpg") == "12"
    with pytest.raises(ValueError, match="finds no label at the beginning of `a/12.jpg`"):
        RegexLabeller(r"(\d+)", match=True)("a/12.jpg")


def test_a_pattern_that_finds_nothing_is_named_with_the_file():
    both = re.escape(f"`{PET}`") + ".*`pets/readme.txt`"
    with pytest.raises(ValueError, match=both):
        RegexLabeller(PET)("pets/readme.txt")
    with pytest.raises(ValueError, match="finds no label anywhere in `b`"):
        RegexLabeller("(a)?b")("b")


def test_a_pattern_without_a_group_is_refused_at_once():
    with pytest.raises(ValueError, match=r"`\^cat` has no group .* in parentheses"):
        RegexLabeller("^cat")


@pytest.mark.parametrize(
    "labeller",
    [
        RegexLabeller(r"/([^/]+)_"),
        using_attr(parent_label, "parent"),
        ColReader("a", label_delim=" "),
    ],
)
def test_labellers_travel_to_other_processes(labeller):
    item = {"a": "x y"} if isinstance(labeller, ColReader) else Path("a/b/c_1.jpg")
    assert pickle.loads(pickle.dumps(labeller))(item) == labeller(item)


# --- safe names


def test_a_name_is_joined_to_its_folder():
    assert safe_join("photos", "cats/1.jpg") == Path("photos/cats/1.jpg")
    assert safe_join(Path("photos"), "a..b/..c.jpg") == Path("photos/a..b/..c.jpg")
    assert safe_join("photos", "./1.jpg") == Path("photos/1.jpg")


HOSTILE = ["/etc/passwd", "../1.jpg", "cats/../../1.jpg", "..", "..\\1.jpg", "a\\..\\..\\b"]
HOSTILE += ["C:\\secret.txt", "c:/secret.txt", "\\\\host\\share\\1.jpg", "//host/share", "\\1.jpg"]
HOSTILE += ["", "  ", "1.jpg\0.txt"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_out_of_its_folder_is_refused(name):
    with pytest.raises(ValueError, match="absolute|leads out|is empty|zero byte"):
        safe_join("photos", name)
    if name.strip():
        with pytest.raises(ValueError, match="absolute|leads out|zero byte"):
            ColReader("fname", pref=Path("photos"))({"fname": name})


def test_names_are_joined_as_safely_under_text_that_ends_like_a_folder():
    with pytest.raises(ValueError, match="`../../1.jpg` leads out of its folder"):
        ColReader("fname", pref="photos/", suff=".jpg")({"fname": "../../1"})


# --- rows


ROWS = [
    {"fname": "1.jpg", "label": "cat"},
    Row(fname="1.jpg", label="cat"),
    Pet("1.jpg", "cat"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_a_cell_is_found_by_name_and_by_position(row):
    assert cell(row, "label") == cell(row, 1) == cell(row, -1) == "cat"
    for col, message in (
        ("lable", "no column `lable` among `fname`, `label`; did you mean `label`"),
    ):
        with pytest.raises(ValueError, match=message):
            cell(row, col)
    with pytest.raises(ValueError, match="no column 2: the row has 2, `fname`, `label`"):
        cell(row, 2)


def test_plain_sequences_have_positions_only():
    assert cell(("1.jpg", "cat"), 1) == cell(["1.jpg", "cat"], 1) == "cat"
    assert cell(np.array([3, 4]), 1) == cell(torch.tensor([3, 4]), 1) == 4
    with pytest.raises(ValueError, match="no column `label` among `0`, `1`"):
        cell(("1.jpg", "cat"), "label")


def test_what_is_no_row_is_told_so():
    with pytest.raises(TypeError, match="are read from rows of a table, got"):
        ColReader("label")(Path("cats/1.jpg"))


def test_a_row_is_read_by_attribute_too_and_survives_copies():
    row = Row({"fname": "1.jpg", "the label": "cat", "keys": 3})
    assert row.fname == "1.jpg" and callable(row.keys) and row["keys"] == 3
    assert pickle.loads(pickle.dumps(row)) == copy.deepcopy(row) == row
    with pytest.raises(AttributeError, match="no column `label` among .*`the label`"):
        row.label  # noqa: B018
    with pytest.raises(KeyError, match="no column `name`"):
        row["name"]
    assert row.get("name") is None and not hasattr(row, "name")


def test_rows_come_from_columns_and_are_left_alone_if_they_are_rows():
    rows = rows_of({"fname": ["1.jpg", "2.jpg"], "label": np.array(["cat", "dog"])})
    assert rows == [{"fname": "1.jpg", "label": "cat"}, {"fname": "2.jpg", "label": "dog"}]
    assert rows_of(rows) is rows
    assert column({"label": [1, 2]}, 0) == [1, 2]
    assert each_of("abc") == "abc"


def test_columns_of_different_length_are_named():
    with pytest.raises(ValueError, match="`fname` has 3, `label` has 2; each row needs all"):
        rows_of({"fname": "abc", "label": [1, 2]})


@pytest.mark.parametrize("table", ["labels.csv", Path("labels.csv"), 3])
def test_what_is_no_table_is_told_so(table):
    with pytest.raises(TypeError, match=r"a file is read by `read_csv\(path\)`"):
        rows_of(table)


def test_a_column_reader_puts_text_around_and_splits():
    row = Row(fname="1", labels="cat dog", n=3, empty="", none=None)
    assert ColReader("fname")(row) == "1"
    assert ColReader("n")(row) == 3
    assert ColReader("fname", pref="x_", suff=".jpg")(row) == "x_1.jpg"
    assert ColReader("n", pref=Path("photos"), suff=".jpg")(row) == os.path.join("photos", "3.jpg")
    assert ColReader("labels", label_delim=" ")(row) == ["cat", "dog"]
    assert ColReader("empty", label_delim=" ")(row) == ColReader("none", label_delim=" ")(row) == []
    assert ColReader(["fname", 2])(row) == ["1", 3]
    assert ColReader("empty")(row) is ColReader("none")(row) is None
    with pytest.raises(ValueError, match="column `empty` is empty in the row {'fname'"):
        ColReader("empty", pref="photos/")(row)
    with pytest.raises(ValueError, match="`label_delim` is empty"):
        ColReader("labels", label_delim="")
    with pytest.raises(ValueError, match="`cols` names no column"):
        ColReader([])
    assert repr(ColReader("a", pref="p/", suff=".x")) == "ColReader('a', pref='p/', suff='.x')"


# --- pandas, where there is


def test_rows_of_a_data_frame_are_read_as_those_of_a_file(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = csv_file(tmp_path, "fname,label,n\n1.jpg,cat,3\n2.jpg,,4\n")
    frame = pandas.read_csv(path, index_col=False).set_index(pd_index := np.array([7, 5]))
    assert list(frame.index) == list(pd_index)
    rows = rows_of(frame)
    assert [type(value) for value in rows[0].values()] == [str, str, int]
    assert rows[1].fname == read_csv(path)[1].fname == "2.jpg"
    assert is_missing(rows[1].label)
    assert ColReader("label", label_delim=" ")(rows[1]) == []
    series = frame.iloc[0]
    assert cell(series, "label") == cell(series, 1) == "cat"
    assert cell(next(frame.itertuples()), "label") == "cat"
    assert column(frame, "n") == column(frame, 2) == [3, 4]
    for table in (frame, series):
        with pytest.raises(ValueError, match="no column `lable` among .* did you mean `label`"):
            (column if table is frame else cell)(table, "lable")
    with pytest.raises(ValueError, match="several columns of the name `a`"):
        rows_of(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


# --- CSV files


def test_a_file_is_read_into_rows_of_text(tmp_path):
    path = csv_file(tmp_path, '\ufefffname,label\r\n"a, b.jpg","the ""cat"""\r\n\r\n2.jpg,\r\n')
    assert read_csv(path) == [
        {"fname": "a, b.jpg", "label": 'the "cat"'},
        {"fname": "2.jpg", "label": ""},
    ]
    path = csv_file(tmp_path, "1.jpg;cat\n2.jpg;dog\n")
    assert read_csv(str(path), ";", header=False)[1] == {"0": "2.jpg", "1": "dog"}
    assert read_csv(path, ";", header=["fname", "label"])[0] == {"fname": "1.jpg", "label": "cat"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fname,label\n1.jpg,cat\n2.jpg\n", "line 3 of `.*` has 1 values, but there are 2 columns"),
        (
            "fname,label\n1,2.jpg,cat\n",
            "line 2 .* has 3 values.*`fname`, `label`; values with a ','",
        ),
        ("a,b,a\n1,2,3\n", "has several columns of the name `a`; rename them"),
        ("", "has no rows$"),
        ("fname,label\n", "has no rows but the header"),
        ('fname,label\n"1.jpg,cat\n2.jpg,dog\n', "is no CSV: unexpected end of data"),
        (b"fname,label\n\xff\xfe.jpg,cat\n", "is not text in utf-8-sig .* name the `encoding`"),
    ],
)
def test_a_file_that_is_no_table_is_told_where(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_csv(csv_file(tmp_path, text))


def test_a_table_that_is_not_there_is_told_with_what_is(tmp_path):
    csv_file(tmp_path, "a,b\n")
    with pytest.raises(FileNotFoundError, match="no file `.*gone.csv`; in `.*` there is `.*csv`"):
        read_csv(tmp_path / "gone.csv")
    with pytest.raises(FileNotFoundError, match="no file `.*labels.csv`; in `.*` there is `.*csv`"):
        ImageDataLoaders.from_csv(tmp_path / "photos", bs=4)
    with pytest.raises(IsADirectoryError, match="is a folder, and a file is needed; .* `.*csv`"):
        read_csv(tmp_path)


def test_any_bytes_give_rows_or_one_kind_of_error(tmp_path):
    generator = np.random.default_rng(0)
    alphabet = np.frombuffer(b'ab,;"\n\r\t\0 \xc3\xa4\xff', dtype=np.uint8)
    told = 0
    for _ in range(300):
        path = csv_file(tmp_path, generator.choice(alphabet, 40).tobytes())
        try:
            rows = read_csv(path)
        except ValueError as error:
            told += str(path) in str(error)
        else:
            told += 1
            assert rows and all(row.keys() == rows[0].keys() for row in rows)
    assert told == 300


# --- words


def test_scalars_of_other_libraries_become_plain():
    for label in (np.int64(3), np.array(3), torch.tensor(3), 3):
        assert type(plain(label)) is int
    assert type(plain(np.bool_(True))) is bool and type(plain(np.str_("a"))) is str
    assert plain([3]) == [3]


def test_what_is_missing_is_known_from_what_is_empty():
    assert all(map(is_missing, (None, float("nan"), np.float32("nan"))))
    assert not any(map(is_missing, ("", 0, "nan", [], np.int64(0))))


def test_names_in_messages_cannot_drive_a_terminal():
    assert quoted("\x1b[31mred\n") == r"`\x1b[31mred\n`"
    assert quoted(PureWindowsPath("a")) == "`a`"
    assert named(range(12), 2) == "`0`, `1` and 10 more"
    assert did_you_mean("CAT", ["cat"]) == "; did you mean `cat`?"
    assert did_you_mean("zebra", ["cat"]) == ""
    assert len(short("x" * 1000)) == 100
