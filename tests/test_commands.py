"""`learnlite train` and what follows it: predict, lr-find, export, on images made here."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_photos import ARCH, QUICK, SMALL, drawn, rows_of, train
from PIL import Image

import learnlite
from learnlite import load_learner
from learnlite.cli import main

PACKAGE = Path(learnlite.__file__).parent
ENVIRON = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("photos"), 32, 8)


@pytest.fixture(scope="module")
def few_photos(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("few"), 12, 4)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run1"
    assert train(photos, out, "--epochs", "2", "--lr", "3e-3", "--mixup", "--smooth") == 0
    return out


def test_a_run_leaves_weights_a_model_the_history_and_a_report(trained):
    assert {"settings.json", "history.csv", "report.html", "model.ll"} <= {
        path.name for path in trained.iterdir()
    }
    rows = rows_of(trained / "history.csv")
    told = [(row["epoch"], row["trained"]) for row in rows]
    assert told == [("0", "all layers"), ("1", "all layers")]
    report = (trained / "report.html").read_text()
    assert f"{ARCH} on photos" in report
    assert not re.search(r">(None|False|True|null|cpu)<", report)
    assert f"{float(rows[-1]['valid_loss']):.4f}" in report
    settings = json.loads((trained / "settings.json").read_text())
    assert settings["arch"] == ARCH and settings["lr"] == 3e-3 and settings["mixup"] == 0.4


def test_the_model_predicts_as_its_learner_did(trained, photos, capsys, tmp_path):
    folder = photos / "valid" / "dark"
    assert main(["predict", str(trained / "model.ll"), str(folder)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 8
    assert all(re.search(r"\.png  (dark|light)  \d+\.\d%$", line) for line in lines)
    table = tmp_path / "said.csv"
    assert main(["predict", str(trained), str(folder / "0.png"), "--csv", str(table)]) == 0
    (row,) = rows_of(table)
    assert row["prediction"] == re.search(r"  (\w+)  ", next(x for x in lines if "/0.png" in x))[1]
    assert float(row["dark"]) + float(row["light"]) == pytest.approx(1, abs=1e-4)


def test_the_folder_of_a_run_given_for_its_model_is_told(trained):
    with pytest.raises(ValueError, match=r"no file, but a folder .* in it lies .*model\.ll"):
        load_learner(trained)


def test_the_model_is_exported_for_torch(trained, tmp_path):
    import torch

    assert main(["export", str(trained), str(tmp_path / "model.pt2")]) == 0
    program = torch.export.load(tmp_path / "model.pt2").module()
    probabilities = program(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert probabilities.shape == (2, 2)
    assert torch.allclose(probabilities.sum(1), torch.ones(2))


def test_a_second_run_in_the_same_folder_is_refused(trained, photos, capsys):
    before = (trained / "settings.json").read_text()
    assert train(photos, trained) == 2
    assert "there is a run in" in capsys.readouterr().err
    assert (trained / "settings.json").read_text() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--arch", "resnet18"],
            f"`--arch` is resnet18 here, and the run in {{}} began with {ARCH}",
        ),
        (["--epochs", "5"], "began with 2; leave it out to go on as it began, or add `--extend`"),
        (["--epochs", "1", "--extend"], "a run goes on to more epochs"),
        (["--extend"], "say how many, by `--epochs`"),
        (["--mixup=0.2"], "`--mixup` is 0.2 here, and the run in {} began with 0.4"),
        (["--lr", "auto"], "`--lr` is auto here, and the run in {} began with 0.003"),
        (["."], "the data is "),
    ],
)
def test_other_options_than_those_of_the_run_do_not_resume_it(trained, given, message, capsys):
    """Also where they are those that a new run has if nothing is said, as 5 epochs."""
    assert main(["train", "--resume", "--out", str(trained), *given]) == 2
    assert message.format(trained) in capsys.readouterr().err


def test_a_run_that_is_done_is_left_as_it_is(trained, photos, capsys):
    def found():
        return {file: file.stat().st_mtime_ns for file in trained.rglob("*") if file.is_file()}

    before = found()
    same = [str(photos), "--arch", ARCH, "--epochs", "2", "--workers", "0"]
    assert main(["train", "--resume", "--out", str(trained), *same]) == 0
    said = capsys.readouterr().out
    assert f"nothing to train: the run in {trained} is done" in said and "report.html" in said
    assert found() == before


def test_a_run_is_extended_to_more_epochs(few_photos, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(few_photos, out, *SMALL, "--epochs", "1") == 0
    model = (out / "model.ll").read_bytes()
    on = ["train", "--resume", "--out", str(out), "--device", "cpu"]
    assert main([*on, "--epochs", "2", "--extend"]) == 0
    assert [row["epoch"] for row in rows_of(out / "history.csv")] == ["0", "1"]
    assert (out / "model.ll").read_bytes() != model
    assert json.loads((out / "settings.json").read_text())["epochs"] == 2
    capsys.readouterr()
    assert main([*on, "--epochs", "2"]) == 0
    assert "nothing to train" in capsys.readouterr().out
    shutil.rmtree(out / "checkpoints")  # of what is done they may go
    assert main([*on, "--epochs", "3", "--extend"]) == 2
    assert "are gone, so it cannot be extended" in capsys.readouterr().err
    assert train(few_photos, out, *SMALL) == 2
    assert "there is a run in" in capsys.readouterr().err


def test_what_cannot_be_written_is_told_before_anything_is_computed(trained, photos, capsys):
    photo = str(photos / "valid" / "dark" / "0.png")
    assert main(["lr-find", str(photos), *QUICK, "--plot", "lr.xyz"]) == 2
    assert "by one of .eps" in capsys.readouterr().err
    assert main(["predict", str(trained), photo, "--csv", str(photos)]) == 2
    said = capsys.readouterr()
    assert "is a folder; name a file with `--csv`" in said.err and not said.out
    assert main(["predict", str(photos), photo]) == 2
    assert "there is no `model.ll` in the folder" in capsys.readouterr().err


def test_files_that_do_not_open_are_named_and_the_others_predicted(
    trained, photos, tmp_path, capsys
):
    whole = photos / "valid" / "light" / "0.png"
    junk, cut = tmp_path / "junk.jpg", tmp_path / "cut.png"
    junk.write_text("junk")
    cut.write_bytes(whole.read_bytes()[:1000])
    assert main(["predict", str(trained), str(junk), str(whole), str(cut)]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 and said.out.startswith(str(whole))
    assert "2 of 3 files did not open" in said.err
    assert f"`{junk}` is no image" in said.err and f"`{cut}` is cut off" in said.err


def test_a_run_says_which_photos_validated_and_draws_its_curves(trained, photos):
    rows = rows_of(trained / "valid.csv")
    assert {row["file"] for row in rows} == {str(f) for f in (photos / "valid").rglob("*.png")}
    assert all(row["label"] == Path(row["file"]).parent.name for row in rows)
    right = sum(row["label"] == row["prediction"] for row in rows) / len(rows)
    assert right == pytest.approx(float(rows_of(trained / "history.csv")[-1]["accuracy"]))
    charts = sorted(trained.glob("*.svg"))
    assert {"losses.svg", "accuracy.svg"} <= {chart.name for chart in charts}
    assert all(ElementTree.parse(chart).getroot().tag.endswith("}svg") for chart in charts)


def test_the_finder_says_a_rate_and_a_run_may_ask_it(photos, capsys, tmp_path):
    plot = tmp_path / "lr.png"
    small = ["--bs", "8"]
    assert main(["lr-find", str(photos), *QUICK, *small, "--plot", str(plot)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^valley +(\d\.\d+e-\d+|nothing)  which `learnlite train` takes$", said, re.M)
    with Image.open(plot) as drawn:
        assert drawn.size[0] > 300
    assert train(photos, tmp_path / "run", "--epochs", "1", *small) == 0
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert isinstance(settings["lr"], float) and 1e-7 < settings["lr"] < 10


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train"], "say what to train on"),
        (
            ["train", "--mixup", "."],
            "without a number it stands behind the data, or write `--mixup",
        ),
        (["train", ".", "--extend"], "it stands beside `--resume`"),
        (["lr-find", ".", "--epochs", "1"], "learnlite lr-find: error: unrecognized arguments"),
        (["train", "nowhere"], "`nowhere` is no folder, no file and no known set"),
        (["train", "imagenete-160"], "imagenette-160"),
        (["train", ".", "--lr", "fast"], "--lr: it must be a number above 0, got fast"),
        (["train", ".", "--subset", "2"], "--subset: it must be a part between 0 and 1, got 2"),
        (["train", ".", "--smooth", "1"], "--smooth: it must be a number from 0 to below 1"),
        (["train", "--resume"], "there is no run in"),
        (["train", ".", "--device", "gpu"], "there is no device `gpu` here"),
        (["predict", "no.ll", "no.jpg"], "there is no file and no folder `no.ll`"),
        (["export", "no.ll", "model.h5"], "by one of .onnx .pt2; got `model.h5`"),
    ],
)
def test_what_is_given_wrongly_is_told_in_a_sentence(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(argv)
    except SystemExit as end:
        status = end.code
    assert status == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_an_architecture_that_nobody_knows_is_told_and_leaves_no_run(
    photos, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    argv = ["train", str(photos), *QUICK, "--epochs", "1", "--lr", "1e-3", "--out", "run"]
    assert main([*argv, "--arch", "resnet18x"]) == 2
    assert "resnet18x" in capsys.readouterr().err
    assert main(argv) == 0  # in a folder named from here
    assert (tmp_path / "run" / "model.ll").exists()
    assert not (tmp_path / "run" / "run").exists()


def test_a_table_of_files_and_numbers_is_trained_on(photos, tmp_path, capsys):
    rows = [
        (path.relative_to(photos), 0.5 if path.parent.name == "dark" else 1.5)
        for path in sorted((photos / "train").rglob("*.png"))
    ]
    table = photos / "levels.csv"
    table.write_text("file,level\n" + "".join(f"{file},{level}\n" for file, level in rows))
    assert train(table, tmp_path / "run", "--epochs", "1", "--lr", "1e-3") == 0
    assert "mae" in capsys.readouterr().out
    assert "Confusion" not in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_run_that_is_stopped_by_ctrl_c_goes_on_and_ends_as_if_it_had_not_been(
    few_photos, tmp_path
):
    small = ["--size", "16", "--bs", "4", "--epochs", "2", "--lr", "3e-3", "--mixup"]
    folder = tmp_path / "broken"
    command = [sys.executable, "-m", "learnlite", "train", str(few_photos), *QUICK, *small]
    broken = subprocess.Popen(
        [*command, "--out", str(folder)],
        env=ENVIRON,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and broken.poll() is None:
        if list(folder.glob("checkpoints/state-*")):  # the fit has begun
            broken.send_signal(signal.SIGINT)
            break
        time.sleep(0.01)
    said = broken.communicate(timeout=60)[1].decode()
    assert broken.returncode == 130, said[-2000:]
    on = ["train", "--resume", "--out", str(folder), "--device", "cpu"]
    assert "learnlite train: stopped by Ctrl-C" in said
    assert f"it goes on by: learnlite {' '.join(on)}" in said
    assert main(on) == 0
    assert train(few_photos, tmp_path / "whole", *small) == 0
    import torch

    files = [tmp_path / out / "weights.pth" for out in ("whole", "broken")]
    first, second = (torch.load(file, weights_only=True)["model"] for file in files)
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [
        [{k: v for k, v in row.items() if k != "time"} for row in rows_of(f)]
        for f in (tmp_path / "whole" / "history.csv", folder / "history.csv")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 2
