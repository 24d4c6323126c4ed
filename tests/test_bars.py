"""The displays by themselves: a notebook's, a terminal's, a log's."""

import contextlib
import io
import sys
import threading
import types
import warnings

import pytest
from fastprogress import fastprogress
from screens import Notebook, Terminal, lines_left

from learnlite import bars

NAMES = ["epoch", "loss", "time"]


@pytest.fixture
def front(monkeypatch):
    """A notebook's front end; only the surface that is drawn on is replaced."""
    made = Notebook()
    module = types.ModuleType("IPython.display")
    module.display = made.display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    return made


@contextlib.contextmanager
def captured():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        yield out


def run_through(display):
    display.start(NAMES, 2)
    for epoch in range(2):
        for done in range(3):
            display.step(epoch, "train", done, 2, "0.5000")
        display.step(epoch, "valid", 1, 1)
        display.row([epoch, 0.25, "00:01"])
    display.close()


# A log, a pipe


def test_output_that_is_no_terminal_gets_the_header_and_a_line_an_epoch():
    with captured() as out:
        run_through(bars.open_display())
    assert out.getvalue() == (
        "epoch       loss        time\n"
        "0           0.250000    00:01\n"
        "1           0.250000    00:01\n"
    )


def test_the_output_is_looked_up_when_it_is_written():
    display = bars.Lines()
    with captured() as first:
        display.start(NAMES, 1)
    with captured() as second:
        display.row([0, 0.5, "00:00"])
    assert first.getvalue().startswith("epoch") and second.getvalue().startswith("0")


def test_a_row_of_another_length_than_the_header_is_shown():
    with captured() as out:
        display = bars.Lines()
        display.start(["epoch"], 1)
        display.row([0, 0.5])
        display.row([])
    assert out.getvalue().split() == ["epoch", "0", "0.500000"]


def test_a_name_that_the_output_cannot_write_does_not_end_the_training():
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(ascii_only):
        bars.Lines().start(["größe"], 1)
    assert ascii_only.buffer.getvalue() == b"gr??e\n"


def test_without_any_output_nothing_fails(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    run_through(bars.open_display())


# A terminal


@pytest.fixture(autouse=True)
def terminal_of_100_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_keeps_only_the_rows():
    with Terminal() as terminal:
        run_through(bars.open_display())
    assert "epoch 1/2 train |███" in terminal.output
    assert "50.00% [1/2 00:00<00:00 0.5000]" in terminal.output
    assert "epoch 2/2 valid" in terminal.output
    assert [line.split() for line in lines_left(terminal.output) if line] == [
        NAMES,
        ["0", "0.250000", "00:01"],
        ["1", "0.250000", "00:01"],
    ]


def test_a_warning_in_the_midst_begins_on_a_line_of_its_own(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", show := lambda *args: print("a warning"))
    with Terminal() as terminal, warnings.catch_warnings(action="always"):
        warnings.showwarning = show  # pytest catches warnings by a show of its own
        display = bars.open_display()
        display.start(NAMES, 1)
        display.step(0, "train", 1, 2, "0.5")
        warnings.warn("this", stacklevel=1)
        display.row([0, 0.25, "00:01"])
        display.close()
        assert warnings.showwarning is show
    lines = [line.strip() for line in lines_left(terminal.output) if line]
    assert lines[1] == "a warning" and len(lines) == 3


def cut_off():
    """A display that is cut off in the midst of a pass."""
    with Terminal() as terminal:
        display = bars.open_display()
        display.start(NAMES, 2)
        display.step(0, "train", 1, 4, "0.5000")
        display.close(interrupted=True)
        print("stopped")
    return terminal.output


def test_an_interrupt_leaves_the_bar_red_and_says_so():
    output = cut_off()
    assert output.index("\x1b[31m") < output.index("interrupted") < output.index("\x1b[0m")
    header, bar, after = [line for line in lines_left(output) if line]
    assert header.split() == NAMES
    assert bar.startswith("epoch 1/2 train |██") and bar.endswith("interrupted]")
    assert after == "stopped"


def test_colour_is_left_out_where_it_is_not_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cut_off()


@pytest.mark.parametrize("columns", [20, 40, 60, 300])
def test_a_bar_is_never_wider_than_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    with Terminal() as terminal:
        display = bars.open_display()
        display.start([], 100)
        for i in range(5):
            display.step(99, "train", 10 * i, 123456, "x" * i * 20)
        display.close()
    assert "epoch |" in terminal.output or "epoch 1" in terminal.output
    assert [line for line in lines_left(terminal.output, columns) if line] == []


def test_the_newest_display_has_the_bar_and_all_have_their_rows():
    with Terminal() as terminal:
        outer, inner = bars.open_display(), bars.open_display()
        outer.start(["outer"], 2)
        outer.step(0, "train", 1, 4)
        inner.start(["inner"], 7)
        inner.step(0, "train", 1, 4)
        outer.step(0, "train", 2, 4, "unseen")
        outer.row(["first"])
        inner.row(["second"])
        inner.close()
        outer.step(0, "train", 3, 4, "seen")
        outer.close()
    assert "unseen" not in terminal.output and "seen" in terminal.output
    assert [line for line in lines_left(terminal.output) if line] == [
        "outer",
        "inner",
        "first",
        "second",
    ]


def test_fits_in_threads_do_not_mix_their_lines():
    def fit(name):
        display = bars.open_display()
        display.start([name], 100)
        for epoch in range(100):
            display.step(epoch, "train", 1, 2)
            display.row([f"{name} row"])
        display.close()

    threads = [threading.Thread(target=fit, args=(name,)) for name in "ab"]
    with Terminal() as terminal:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    left = [line for line in lines_left(terminal.output) if line]
    assert sorted(left) == sorted(["a", "b", *["a row"] * 100, *["b row"] * 100])


def test_rows_that_are_caught_on_their_way_have_no_bars_among_them():
    with Terminal() as terminal:
        display = bars.open_display()
        display.start(NAMES, 2)
        display.step(0, "train", 1, 4)
        with captured() as out:
            display.step(0, "train", 2, 4)
            display.row([0, 0.5, "00:01"])
        display.close()
    assert out.getvalue() == "0           0.500000    00:01\n"
    assert [line.split() for line in lines_left(terminal.output) if line] == [NAMES]


@pytest.mark.parametrize("broken", ["__init__", "on_update", None])
def test_a_terminal_without_a_working_fastprogress_has_its_rows(broken, monkeypatch):
    if broken is None:
        monkeypatch.setitem(sys.modules, "fastprogress.fastprogress", None)
    else:
        monkeypatch.setattr(fastprogress.ConsoleProgressBar, broken, None)
    with Terminal() as terminal:
        run_through(bars.open_display())
    assert "epoch 1/2" not in terminal.output
    assert [line.split()[0] for line in lines_left(terminal.output) if line] == ["epoch", "0", "1"]


def test_a_terminal_that_cannot_go_back_gets_lines(monkeypatch):
    with Terminal():
        assert isinstance(bars.open_display(), bars.Terminal)
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(bars.open_display(), bars.Lines)
        assert not isinstance(bars.open_display(), bars.Terminal)


def test_what_could_steer_a_terminal_is_taken_out_of_names_and_values():
    with captured() as out:
        display = bars.Lines()
        display.start(["\x1b[2Jname"], 1)
        display.row(["a\rb\x07"])
    assert out.getvalue() == "?[2Jname\na?b?\n"


# A notebook


def test_a_notebook_keeps_the_table_and_drops_the_bars(front):
    display = bars.Notebook()
    display.start(NAMES, 1)
    display.step(0, "train", 1, 4, "0.7000")
    assert front.html.count("<progress") == 2 and "0.7000" in front.html
    display.row([0, 0.5, "00:01"])
    display.close()
    assert "<progress" not in front.html
    assert front.html.count("<tr") == 2
    assert [line.split() for line in front.text.splitlines() if line] == [
        NAMES,
        ["0", "0.500000", "00:01"],
    ]


def test_an_interrupt_leaves_red_bars_that_say_so(front):
    display = bars.Notebook()
    display.start(NAMES, 1)
    display.step(0, "train", 1, 4)
    display.close(interrupted=True)
    assert front.html.count(bars.notebook.RED) == front.html.count("<progress") == 2
    assert bars.notebook.BLUE not in front.html
    assert front.html.count("interrupted") == front.text.count("interrupted") == 2


def test_an_error_before_the_first_batch_leaves_no_bar(front):
    display = bars.Notebook()
    display.close(interrupted=True)
    assert front.contents == []
    display.start(NAMES, 1)
    display.close(interrupted=True)
    assert "<progress" not in front.html


def test_a_run_without_epochs_has_one_bar(front):
    display = bars.Notebook()
    display.start([], 0)
    display.step(0, "valid", 1, 4)
    assert front.html.count("<progress") == 1
    assert "<table" not in front.html


def test_html_depends_on_nothing_outside_of_itself(front):
    display = bars.Notebook()
    display.start(NAMES, 1)
    display.step(0, "train", 1, 4)
    display.row([0, 0.5, "00:01"])
    display.graph({"train": [(0, 1), (1, 2)]})
    for outside in ("<script", "<style", "http", "class=", "url(", "onclick", "white", "black"):
        assert outside not in front.html


def test_names_from_data_are_text_and_not_markup(front):
    display = bars.Notebook()
    display.start(["<img src=x onerror=alert(1)>"], 1)
    display.row(["<b>"])
    display.step(0, "<i>", 1, 2, "<u>")
    display.graph({"<s>": [(0, 1), (1, 2)]})
    display.close(interrupted=True)
    for tag in ("<img", "<b>", "<i>", "<u>", "<s>"):
        assert tag not in front.html
    assert "&lt;img src=x onerror=alert(1)&gt;" in front.html


def test_short_epochs_do_not_flood_the_front_end_and_none_is_lost(front):
    display = bars.Notebook()
    display.start(NAMES, 3000)
    for epoch in range(3000):
        display.row([epoch, 0.5, "00:00"])
    assert front.updates < 30
    display.close()
    assert front.html.count("<tr") == 3001
    assert len(front.contents[0]["text/plain"].splitlines()) == 3001


def test_displays_at_once_have_places_of_their_own(front):
    outer, inner = bars.Notebook(), bars.Notebook()
    outer.start(["outer"], 2)
    inner.start(["inner"], 2)
    outer.step(0, "train", 1, 2)
    inner.step(0, "train", 1, 2)
    inner.close()
    outer.row(["x"])
    outer.close()
    assert [data["text/plain"] for data in front.contents] == ["outer\nx", "", "inner", ""]


def test_a_graph_needs_two_points_that_can_be_drawn(front):
    display = bars.Notebook()
    display.start(NAMES, 1)
    display.graph({"train": [(0, float("nan")), (1, 2.0)], "valid": []})
    assert "<svg" not in front.html
    display.graph({"train": [(0, float("inf")), (1, 2.0), (2, 2.0)]})
    assert front.html.count("<polyline") == 1 and "inf" not in front.html
    display.close()
    assert "<svg" in front.html
