"""The command line: demo, doctor, and what they say when something is not as it should be."""

import argparse
import builtins
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import learnlite
from learnlite import cli
from learnlite.cli import main
from learnlite.commands import demo, doctor
from learnlite.data import load_shapes, make_shapes
from learnlite.interrupt import Stopped

PACKAGE = Path(learnlite.__file__).parent
PLOTS = ["losses.png", "lr_finder.png", "predictions.png", "schedule.png"]
ENVIRON = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}


def exit_status(*argv):
    """What the process would end with, also where argparse ends it."""
    try:
        return main(list(argv))
    except SystemExit as end:
        return end.code


# --- the command itself


def test_no_command_shows_what_there_is(capsys):
    assert exit_status() == 2
    shown = capsys.readouterr().err
    assert "demo" in shown and "doctor" in shown and "Traceback" not in shown


def test_help_lists_every_command_with_what_it_does(capsys):
    assert exit_status("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for command in cli.COMMANDS:
        assert f"{command.name} {' '.join(str(command.run.__doc__).split())}" in shown


def test_the_version_is_the_packages(capsys):
    assert exit_status("--version") == 0
    assert capsys.readouterr().out.strip() == learnlite.__version__


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["demmo"], "'demmo'"),
        (["demo", "--epochs", "0"], "--epochs: it must be a whole number from 1 on, got 0"),
        (["demo", "--epochs", "many"], "--epochs: it must be a whole number from 1 on, got many"),
        (["demo", "--images", "10"], "--images: it must be a whole number from 50 on, got 10"),
        (["demo", "--lr", "0"], "--lr: it must be a number above 0, got 0"),
        (["demo", "--lr", "nan"], "--lr: it must be a number above 0, got nan"),
        (["demo", "--sed", "1"], "--sed"),
        (["doctor", "--all"], "--all"),
    ],
)
def test_what_is_mistyped_is_named(capsys, argv, message):
    assert exit_status(*argv) == 2
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown


def test_a_new_command_is_one_row(monkeypatch, capsys):
    def options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name")

    def run(args: argparse.Namespace) -> None:
        """Say hello."""
        print(f"hello {args.name}")

    monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, cli.Command("hello", options, run)))
    assert exit_status("hello", "you") == 0
    assert capsys.readouterr().out == "hello you\n"


@pytest.mark.parametrize(
    ("stop", "status", "name"),
    [(KeyboardInterrupt(), 130, "Ctrl-C"), (Stopped(signal.SIGTERM), 143, "SIGTERM")],
)
def test_a_signal_ends_with_one_line_and_a_status_of_its_own(
    stop, status, name, monkeypatch, capsys
):
    def stopped(args: argparse.Namespace) -> None:
        raise stop

    monkeypatch.setattr(cli, "COMMANDS", (cli.Command("wait", doctor.options, stopped),))
    assert exit_status("wait") == status
    assert capsys.readouterr().err == f"\nlearnlite wait: stopped by {name}\n"


def test_output_that_knows_few_characters_gets_what_it_can_show(monkeypatch):
    def say(args: argparse.Namespace) -> None:
        """Say."""
        print("█ done")

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(cli, "COMMANDS", (cli.Command("say", doctor.options, say),))
    assert exit_status("say") == 0
    assert raw.getvalue().split() == [b"?", b"done"]


# --- demo


@pytest.fixture(scope="module")
def tiny_demo(tmp_path_factory):
    """A demo that trains on 60 pictures for two epochs, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "made" / "here"
    command = ["demo", "--out", str(out), "--images", "60", "--epochs", "2", "--seed", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "learnlite", *command],
        capture_output=True,
        text=True,
        env=ENVIRON | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    return out, done


def test_the_demo_trains_draws_and_says_where(tiny_demo):
    out, done = tiny_demo
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout
    assert "train_loss" in done.stdout and "accuracy" in done.stdout  # the table
    assert "of 12 held-out pictures are named rightly" in done.stdout
    assert sorted(path.name for path in out.glob("*.png")) == PLOTS
    assert all(name in done.stdout for name in PLOTS)
    assert len(list(out.glob("shapes-60/*/*/*.jpg"))) == 72


def test_the_demo_admits_a_low_accuracy(tiny_demo):
    assert "That is below the 95%" in tiny_demo[1].stdout


def test_the_plots_are_pictures_with_something_on_them(tiny_demo):
    from PIL import Image

    for name in PLOTS:
        with Image.open(tiny_demo[0] / name) as image:
            assert min(image.size) > 300
            assert len(image.convert("L").getcolors(256)) > 10


def test_what_the_demo_says_to_try_next_works(tiny_demo, capsys):
    """The commands are known to the parser; the Python lines run as they stand."""
    _, _, advice = tiny_demo[1].stdout.partition("What to try next")
    commands, _, snippet = advice.partition("and in Python, with a network of your own:")
    named = [line.split("  ")[0].split()[1:] for line in commands.strip().split("\n   ")]
    assert len(named) == 4
    for argv in named:
        assert cli._parser().parse_args(argv).command == argv[0]
    lines = [line.removeprefix("   ") for line in snippet.splitlines()]
    assert any(line.startswith("learn.fit_one_cycle(") for line in lines)
    exec("\n".join(lines), {})
    assert "accuracy" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_network(tmp_path):
    shapes = load_shapes(make_shapes(tmp_path / "set", 20, 10, size=32))

    def weights(seed):
        learn = demo.demo_learner(shapes, seed=seed, bs=10)
        with learn.no_logging():
            learn.fit_one_cycle(1, 0.01)
        return torch.cat([parameter.flatten() for parameter in learn.model.parameters()])

    before = torch.get_rng_state()
    first = weights(1)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, weights(1)) and not torch.equal(first, weights(2))


def test_without_matplotlib_the_demo_trains_all_the_same(tmp_path, monkeypatch, capsys):
    real_import = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    out = tmp_path / "out"
    assert exit_status("demo", "--out", str(out), "--images", "50", "--epochs", "1") == 0
    shown = capsys.readouterr().out
    assert 'pip install "learnlite[plot]"' in shown and "named rightly" in shown
    assert list(out.glob("*.png")) == []


def test_a_second_demo_uses_the_pictures_again_and_tells_a_broken_matplotlib(
    tiny_demo, monkeypatch, capsys
):
    def broken():
        raise RuntimeError("no backend")

    monkeypatch.setattr(demo, "pyplot", broken)
    out, _ = tiny_demo
    picture = next(out.glob("shapes-60/*/*/*.jpg"))
    before = picture.stat().st_mtime_ns
    assert exit_status("demo", "--out", str(out), "--images", "60", "--epochs", "1") == 0
    shown = capsys.readouterr().out
    assert "The pictures are there already" in shown and picture.stat().st_mtime_ns == before
    assert "matplotlib cannot be used: no backend" in shown and "named rightly" in shown


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_named_before_anything_is_drawn(tmp_path, capsys, place):
    (tmp_path / "file").write_text("in the way")
    assert exit_status("demo", "--out", str(tmp_path / place)) == 2
    shown = capsys.readouterr()
    assert f"learnlite demo: `{tmp_path / place}` cannot be written to" in shown.err
    assert "name another folder with `--out`" in shown.err
    assert shown.out == ""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_without_permission_is_named(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert exit_status("demo", "--out", str(tmp_path / "out")) == 2
    assert "cannot be written to (Permission denied)" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_in_the_demo_leaves_no_half_made_set(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "learnlite", "demo", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRON,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert "Drawing 6,000 pictures" in process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(60) == 130
    assert said.strip() == "learnlite demo: stopped by Ctrl-C"
    assert list((tmp_path / "out").iterdir()) == []


# --- doctor


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Packages that are installed as far as their records go; learnlite requires them."""

    def install(name, version, requires=(), module="", source=""):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "RECORD").write_text(f"{module}.py,,\n" if module else "")
        if module:
            (tmp_path / f"{module}.py").write_text(source)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(PACKAGE.parent)]))
    return install


def told():
    return list(doctor.report())


def line_of(name, lines):
    return next(line for line in lines if line.split()[:1] == [name])


def test_the_doctor_tells_versions_device_precision_cores_and_extras():
    done = subprocess.run(
        [sys.executable, "-m", "learnlite", "doctor"],
        capture_output=True,
        text=True,
        env=ENVIRON,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"learnlite {learnlite.__version__} in ")
    assert sys.version.split()[0] in line_of("python", lines)
    assert torch.__version__.split("+")[0] in line_of("torch", lines)
    assert line_of("fp32", lines).split()[1] == "yes"
    assert line_of("bf16", lines) and line_of("fp16", lines)
    assert f"{os.cpu_count()} CPU core" in done.stdout and " thread" in done.stdout
    assert "extras" in lines


def test_extras_come_from_what_the_installed_package_says(record):
    record(
        "learnlite",
        "7.0",
        [
            "here>=1.0",
            'old-one>=2.10.0; extra == "plot"',
            'nowhere-to-be-found; extra == "notebook"',
            "learnlite[plot]; extra == 'notebook'",
            'here>=1.0; extra == "whole"',
        ],
    )
    record("here", "1.2", module="here_module")
    record("old-one", "2.9.1", module="old_one")
    lines = told()
    assert line_of("here", lines).split() == ["here", "1.2"]
    assert "old-one 2.9.1 is older than 2.10.0: `pip install" in line_of("plot", lines)
    notebook = line_of("notebook", lines)
    assert "nowhere-to-be-found is not installed" in notebook and "old-one 2.9.1" in notebook
    assert '`pip install "learnlite[notebook]"`' in notebook
    assert line_of("whole", lines).split(maxsplit=1)[1] == "complete (here 1.2)"


def test_packages_that_cannot_be_imported_are_reported(record):
    record(
        "learnlite",
        "7.0",
        ["raises", "dies", "sound", "talks", "gone>=3", 'raises; extra == "plot"'],
    )
    record("raises", "1.0", module="raises", source="raise RuntimeError('built for another torch')")
    record("dies", "1.0", module="dies", source="import os; os.abort()")
    record("sound", "1.0", module="sound")
    record("talks", "1.0", module="talks", source="print('hello'); raise SystemExit(3)")
    lines = told()
    assert "cannot be imported (RuntimeError: built for another torch)" in line_of("raises", lines)
    assert "cannot be imported (ended the process)" in line_of("dies", lines)
    assert line_of("sound", lines).split() == ["sound", "1.0"]
    assert "cannot be imported (SystemExit: 3)" in line_of("talks", lines)
    assert "gone is not installed" in line_of("gone", lines)
    assert "raises cannot be imported" in line_of("plot", lines)


def test_a_damaged_record_does_not_stop_the_doctor(record, tmp_path):
    record("learnlite", "7.0", ["odd>=1.0", "stranger !!"])
    (tmp_path / "odd-1.0.dist-info").mkdir()
    (tmp_path / "odd-1.0.dist-info" / "METADATA").write_text("nothing of use")
    assert "unknown" in line_of("odd", told())


def test_the_doctor_works_uninstalled_and_where_no_process_may_be_started(monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError("no processes here")

    monkeypatch.setattr(subprocess, "run", refused)
    monkeypatch.setattr(doctor, "_requirements", lambda: None)
    lines = told()
    assert any("runs from its folder" in line for line in lines)
    assert line_of("pillow", lines) and line_of("fp32", lines)


def test_a_precision_that_raises_is_no_and_says_why(monkeypatch):
    def refused(device_type, dtype, enabled):
        raise RuntimeError(f"no {dtype} here")

    monkeypatch.setattr(torch, "autocast", refused)
    found = doctor.precisions(torch.device("cpu"))
    assert [precision.works for precision in found] == [False] * 3
    assert "RuntimeError: no torch.bfloat16 here" in found[1].found


@pytest.mark.gpu
def test_a_gpu_is_named_with_its_precisions():
    assert any(torch.cuda.get_device_name(0) in line for line in told())
    assert doctor.precisions(torch.device("cuda"))[2].works


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("torch>=2.10.0", ("torch", "2.10.0", (), "")),
        ("learnlite[plot, test] ; extra == 'dev'", ("learnlite", "", ("plot", "test"), "dev")),
        (
            'mkdocstrings[python]>=0.30; extra == "docs"',
            ("mkdocstrings", "0.30", ("python",), "docs"),
        ),
        ("a_b.c-d<3,>=1.5; python_version < '3.12' and extra == 'x'", ("a_b.c-d", "1.5", (), "x")),
    ],
)
def test_a_requirement_is_taken_apart(line, expected):
    assert tuple(doctor.parse_requirement(line)) == expected
