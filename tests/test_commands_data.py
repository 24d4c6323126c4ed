"""What commands train on: folders and tables, and what is said of those that do not do."""

import argparse

import pytest
from command_photos import QUICK, SMALL, draw_classes, rows_of, train

import learnlite
from learnlite.cli import main
from learnlite.commands import data
from learnlite.commands.data import known_sets
from learnlite.commands.given import RefusedError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_classes(tmp_path_factory.mktemp("photos"), 12)


def loaders(what, *options):
    parser = argparse.ArgumentParser()
    data.options(parser)
    return data.loaders(parser.parse_args([str(what), "--size", "16", "--device", "cpu", *options]))


def table(folder, *lines):
    file = folder / "table.csv"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def refused(what, *options):
    with pytest.raises((RefusedError, FileNotFoundError)) as found:
        loaders(what, *options)
    return str(found.value)


def labels_of(part):
    return [file.parent.name for file in part.items]


def test_a_share_of_each_class_validates(photos):
    dls = loaders(photos, "--valid-pct", "0.25")
    assert sorted(labels_of(dls.valid_ds)) == ["dark"] * 3 + ["light"] * 3
    assert sorted(labels_of(dls.train_ds)) == ["dark"] * 9 + ["light"] * 9


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [("image", "what"), ()])
def test_a_table_may_have_names_of_columns_or_not(photos, delimiter, header):
    rows = [(f"{name}/{i}.png", f"is {name}") for name in ("dark", "light") for i in range(5)]
    lines = [delimiter.join(row) for row in ([header] if header else []) + rows]
    dls = loaders(table(photos, *lines))
    assert dls.vocab == ["is dark", "is light"]
    assert len(dls.train_ds) + len(dls.valid_ds) == len(rows)
    for part in (dls.train_ds, dls.valid_ds):
        for i, name in enumerate(labels_of(part)):
            assert dls.vocab[int(part[i][1])] == f"is {name}"


def test_numbers_are_predicted_if_not_all_are_whole(photos):
    lines = [f"dark/{i}.png,{i / 2:g}" for i in range(8)]  # 0, 0.5, 1 …
    assert type(loaders(table(photos, *lines)).blocks[-1]).__name__ == "RegressionBlock"
    lines = [f"dark/{i}.png,{i % 2}" for i in range(8)]
    assert loaders(table(photos, *lines)).vocab == ["0", "1"]


def test_a_table_that_cannot_be_meant_is_told_with_the_line(photos):
    rows = ["dark/1.png,dark", "light/1.png,light", "dark/2.png,dark", "light/2.png,light"]
    said = refused(table(photos, "what,file", *(",".join(r.split(",")[::-1]) for r in rows)))
    assert "stand in its second column, as `dark/1.png`; exchange the two" in said
    said = refused(table(photos, *rows, "dark/99.png,dark", "dark/98.png,dark"))
    assert "line 5 of" in said and "`dark/99.png` is not in" in said and "1 other line" in said
    assert "line 1 of" in refused(table(photos, "dark/99.png,dark", *rows))  # is no name of columns
    assert "line 2 of" in refused(table(photos, "dark/1.png,dark", "light/1.png"))
    assert "has no label" in refused(table(photos, *rows, "dark/3.png,"))
    said = refused(table(photos, *rows, "dark/1.png,light"))
    assert "calls `dark/1.png` `dark` in line 1 and `light` in line 5" in said
    assert "leads out of its folder" in refused(table(photos, *rows, "../dark/1.png,dark"))
    assert "has no rows but the names" in refused(table(photos, "file,label"))
    assert "is empty" in refused(table(photos))


def test_what_is_no_table_and_no_folder_of_classes_is_told(photos, tmp_path):
    assert "is a photo; give the folder" in refused(photos / "dark" / "1.png")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\0junk\0")
    assert "is no text in utf-8" in refused(tmp_path / "bytes.csv")
    assert "one class only" in refused(photos / "dark")
    few = draw_classes(tmp_path / "few", 1)
    assert "2 photos of 2 classes, too few" in refused(few)
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(tmp_path / "empty")


def test_a_file_that_is_no_photo_is_told_before_training_and_leaves_no_run(tmp_path, capsys):
    photos = draw_classes(tmp_path / "photos", 4)
    for name in ("page.jpg", "text.png"):
        (photos / "dark" / name).write_text("<html>404" if name == "page.jpg" else "junk")
    out = tmp_path / "run"
    assert train(photos, out, *SMALL) == 2
    said = capsys.readouterr()
    assert "dark/page.jpg` is no image that is opened here" in said.err
    assert "1 more does not open" in said.err and "`--on-bad-image skip`" in said.err
    assert "Traceback" not in said.err and "epoch" not in said.out
    assert not list(out.iterdir())


@pytest.mark.filterwarnings("default")  # of the photo that another stands in for
def test_a_photo_that_is_cut_off_ends_a_run_in_a_sentence_and_keeps_no_place(tmp_path, capsys):
    photos = draw_classes(tmp_path / "photos", 12)
    whole = (photos / "dark" / "3.png").read_bytes()
    (photos / "dark" / "3.png").write_bytes(whole[: len(whole) // 2])
    small, out = [*SMALL, "--epochs", "1", "--valid-pct", "0.1"], tmp_path / "run"
    assert train(photos, out, *small) == 2
    said = capsys.readouterr().err
    assert "dark/3.png` is cut off" in said and "Traceback" not in said
    assert "goes on by" not in said  # as nothing is trained, there is nothing to go on with
    assert train(photos, out, *small, "--on-bad-image", "skip") == 0
    assert "the next one that does takes its place" in capsys.readouterr().err
    assert [row["epoch"] for row in rows_of(out / "history.csv")] == ["0"]
    assert main(["lr-find", str(photos), *QUICK, *SMALL[:4], "--valid-pct", "0.1"]) == 2
    assert "dark/3.png` is cut off" in capsys.readouterr().err


def test_known_sets_are_named_as_their_addresses_are():
    known = known_sets()
    assert known["imagenette-160"] == learnlite.data.urls.URLs.IMAGENETTE_160
    assert all(name == name.lower() and "_" not in name for name in known)
