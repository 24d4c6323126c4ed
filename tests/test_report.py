"""One file that tells how a training went, whatever its labels try."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from learnlite import ClassificationInterpretation, DataLoaders, Learner, accuracy, on
from learnlite.commands.history import History
from learnlite.report import Curves, write_report
from learnlite.report.svg import calibration_chart, line_chart

VOID = {"meta", "img", "br", "polyline", "circle", "line", "rect"}


class Page(HTMLParser):
    """Checks that tags close in order, and keeps what a browser would act on."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.handlers, self.text = [], [], [], [], []
        self.code, self.rows = "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if "pre" in self.open:
            self.code += data
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1].append(data)


def trained(vocab):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(60, 3, 12, 12, generator=generator)
    y = torch.arange(60) % 3
    dls = DataLoaders.from_tensors((x, y), (x, y), bs=20, vocab=vocab, seed=0, device="cpu")
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    learn = Learner(dls, model, metrics=accuracy, lr=0.01, seed=0)
    with learn.no_logging():
        learn.fit(2)
    return learn


def reported(tmp_path, vocab, **settings):
    learn = trained(vocab)
    interp = ClassificationInterpretation.from_learner(learn)
    curves = Curves()
    curves.add(learn.recorder)
    path = write_report(tmp_path / "run" / "report.html", curves, interp, **settings)
    return interp, Page(path.read_text()), path


def test_the_report_holds_the_numbers_of_the_run(tmp_path):
    interp, page, path = reported(
        tmp_path, ["ant", "bee", "cat"], title="Insects", settings={"lr": 0.01}, loading="a = 1"
    )
    text = " ".join(page.text)
    counts = interp.confusion_matrix()
    assert (
        f"{counts.diagonal().sum()} of {counts.sum()} validation images are named rightly" in text
    )
    assert f"calibration error, {interp.calibration().ece:.3f}" in text
    for a, b, n in interp.most_confused()[:3]:
        assert f"{a}  taken for  {b} : {n}" in text
    for value in interp.learn.recorder.column("valid_loss"):
        assert f"{value:.4f}" in text
    assert "Insects" in text and "0.01" in text and "a = 1" in text
    assert page.tags.count("svg") == 5  # losses, accuracy, batches, rates, calibration
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_the_code_that_loads_the_model_runs_when_it_is_copied_from_the_page(tmp_path):
    code = "from math import sqrt\n\nif 1 < 2:\n    found = sqrt(4)\nsaid = 'a & \"b\"'"
    path = write_report(tmp_path / "r.html", Curves(), loading=code)
    names = {}
    exec(Page(path.read_text()).code, names)
    assert (names["found"], names["said"]) == (2.0, 'a & "b"')


def test_epochs_have_the_numbers_of_their_fits_what_was_trained_and_their_times(tmp_path):
    sets = (torch.rand(8, 3, 4, 4), torch.arange(8) % 3)
    dls = DataLoaders.from_tensors(sets, sets, bs=4, device="cpu")
    learn = Learner(
        dls,
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.Flatten(), nn.Linear(48, 3))),
        lr=0.01,
        splitter=lambda model: [[*model[0].parameters()], [*model[1].parameters()]],
    )
    curves = Curves()
    with learn.no_logging():
        learn.freeze()
        learn.fit(2)
        curves.add(learn.recorder)
        learn.unfreeze()
        learn.fit(3)
        curves.add(learn.recorder)
    assert curves.told == "2 epochs of the head, then 3 of all layers"
    assert curves.iters == [2, 4, 6, 8, 10]
    page = Page(write_report(tmp_path / "r.html", curves).read_text())
    rows = [row for row in page.rows if len(row) == 5]
    assert rows[0] == ["trained", "epoch", "train loss", "valid loss", "time"]
    told = [("the head", "0"), ("the head", "1"), *(("all layers", str(i)) for i in range(3))]
    assert [tuple(row[:2]) for row in rows[1:]] == told
    assert all(re.fullmatch(r"\d\d:\d\d", row[4]) for row in rows[1:])
    assert "the head alone is trained" in " ".join(page.text)


def test_a_run_that_goes_on_elsewhere_keeps_the_times_of_all_its_epochs():
    def learner():
        sets = (torch.rand(8, 4), torch.arange(8) % 3)
        history = History()
        dls = DataLoaders.from_tensors(sets, sets, bs=4, device="cpu")
        return Learner(dls, nn.Linear(4, 3), lr=0.01, cbs=history), history

    states = []
    first, before = learner()
    with first.no_logging():
        first.fit(3, cbs=on(after_epoch=lambda learn: states.append(learn.state_dict()), order=99))
    again, after = learner()
    with again.no_logging():
        again.fit(3, resume=states[1])
    assert after.curves.epochs == [0, 1, 2]
    assert after.curves.seconds[:2] == before.curves.seconds[:2]
    assert all(seconds > 0 for seconds in after.curves.seconds)


def test_the_table_of_a_long_run_is_folded_and_whole(tmp_path):
    history = {"train_loss": [1 / (i + 1) for i in range(100)]}
    page = Page(write_report(tmp_path / "r.html", Curves(history)).read_text())
    assert "details" in page.tags and "The numbers of all 100 epochs" in page.text
    assert page.rows[-1] == ["99", "0.0100"]


def test_settings_are_told_in_words_and_not_as_python_has_them(tmp_path):
    settings = {"mixup": None, "scratch": False, "resume": True, "lr": 1e-3}
    page = Page(write_report(tmp_path / "r.html", Curves(), settings=settings).read_text())
    assert page.rows == [["mixup", "-"], ["scratch", "no"], ["resume", "yes"], ["lr", "0.001"]]


def test_bins_of_a_calibration_tell_how_much_they_hold_and_empty_ones_have_no_bar():
    chart = calibration_chart([float("nan"), 0.0, 1.0], [0, 3, 1200])
    heights = [float(h) for h in re.findall(r'class="bar"[^>]*height="([^"]*)"', chart)]
    assert len(heights) == 2 and 0 < heights[0] < heights[1]
    assert re.findall(r'class="count"[^>]*>([^<]*)<', chart) == ["3", "1,200"]


def test_the_worst_mistakes_are_pictures_in_the_file_itself(tmp_path):
    interp, page, _ = reported(tmp_path, None)
    pictures = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    wrong = int((interp.decoded != interp.targs).sum())
    assert len(pictures) >= min(wrong, 12) > 0
    opened = Image.open(io.BytesIO(base64.b64decode(pictures[0].split(",")[1])))
    assert opened.size == (12, 12)


def test_nothing_in_a_report_runs_or_is_loaded_from_elsewhere(tmp_path):
    hostile = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\x1b[2J\u202eb"]
    _, page, path = reported(
        tmp_path, hostile, title="<q onclick=x>", settings={"<i>": "&amp;<u>"}, loading="</pre><s>"
    )
    assert not {"script", "q", "i", "u", "s", "iframe", "link", "object"} & set(page.tags)
    assert not page.handlers
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    text = path.read_text()
    assert "<script>alert(1)</script>" in " ".join(page.text)  # shown as it is
    assert "\x1b" not in text and "\u202e" not in text
    assert not re.search(r"https?://", text)


def test_a_report_needs_neither_a_classifier_nor_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    path = write_report(tmp_path / "r.html", Curves({"train_loss": [2.0, 1.0]}), title="Numbers")
    page = Page(path.read_text())
    assert "Confusion" not in page.text and "svg" in page.tags


def test_many_classes_are_told_by_the_pairs_most_confused(tmp_path):
    n = 60
    logits = torch.randn(200, n, generator=torch.Generator().manual_seed(1))
    sets = (logits, torch.arange(200) % n)
    dls = DataLoaders.from_tensors(sets, sets, device="cpu")
    interp = ClassificationInterpretation.from_learner(Learner(dls, nn.Identity(), lr=0.1))
    text = write_report(tmp_path / "r.html", Curves(), interp).read_text()
    assert 'class="matrix"' not in text and " taken for " in text


@pytest.mark.parametrize(
    "values", [[1.0], [3.0, 3.0], [1e-9, 2e-9], [-5.0, 1e7], [float("nan"), 1]]
)
def test_a_line_lies_inside_its_chart_whatever_its_numbers(values):
    chart = line_chart({"a": list(enumerate(values))}, x="epoch", y="loss")
    for points in re.findall(r'points="([^"]*)"', chart):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 460 and 0 <= y <= 280


def test_a_chart_of_a_long_run_stays_small_and_keeps_its_end():
    line = [(float(i), 1 / (i + 1)) for i in range(100_000)]
    chart = line_chart({"": line}, x="batch", y="loss")
    points = re.search(r'points="([^"]*)"', chart)[1].split()
    assert len(chart) < 20_000
    assert float(points[-1].split(",")[0]) == pytest.approx(448)


def test_no_number_at_all_is_no_chart():
    assert line_chart({"a": [(0, float("nan"))]}, x="x", y="y") == ""


def test_an_unwritable_place_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_report(Path(tmp_path / "file" / "r.html"), Curves())
