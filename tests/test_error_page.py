"""Each message that `docs/errors.md` explains is in the code, and mistakes give those there."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnlite import (
    Callback,
    CancelTrainException,
    DataLoaders,
    EarlyStopping,
    Learner,
    ParamScheduler,
    SchedLin,
    accuracy,
    load_learner,
    on,
)
from learnlite.cli import main
from learnlite.data.labels import RegexLabeller

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "errors.md"


def quoted() -> list[str]:
    """The first cells of the page's tables of messages."""
    found: list[str] = []
    inside = False
    for line in PAGE.read_text().splitlines():
        cell = line[2:].partition(" |")[0]
        if cell == "it says":
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|--"):
            found.append(re.sub(r" \(a (note|warning)\)$", "", cell))
    return found


def pieces(message: str) -> list[str]:
    return [piece for piece in message.split("…") if piece.strip(" `;,:()")]


def texts(path: Path) -> list[str]:
    """The texts in a module, those of adjacent literals and f-strings as one."""
    return [found for node in ast.walk(ast.parse(path.read_text())) if (found := text(node))]


def text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str() as value):
            return value
        case ast.JoinedStr(values=values):
            return "".join(text(value) or "…" for value in values)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return (text(left) or "…") + (text(right) or "…")
        case _:
            return ""


SOURCE = [texts(path) for path in sorted((ROOT / "learnlite").rglob("*.py"))]


@pytest.mark.parametrize("message", quoted())
def test_a_message_of_the_page_stands_in_the_source(message: str) -> None:
    wanted = pieces(message)
    assert wanted, "nothing but an ellipsis"
    assert any(
        all(any(piece.strip(" ;") in one for one in module) for piece in wanted)
        for module in SOURCE
    )


def loaders(n: int = 8, **kwargs: Any) -> DataLoaders:
    targets = torch.arange(n) % 3
    return DataLoaders.from_tensors(
        torch.randn(n, 4), targets, valid_pct=0.5, bs=2, device="cpu", seed=0, **kwargs
    )


def learner(*args: Any, **kwargs: Any) -> Learner:
    learn = Learner(loaders(), nn.Linear(4, 3), *args, **kwargs)
    learn.say = lambda text: None
    return learn


def fit(*args: Any, **kwargs: Any) -> Any:
    learn = learner(**kwargs)
    with learn.no_logging():
        learn.fit(*args or (1, 1e-2))


def misspelled() -> Any:
    class Bad(Callback):
        def after_los(self):
            pass


def with_arguments() -> Any:
    class Bad(Callback):
        def after_batch(self, trainer, batch):
            pass


def cancelled_elsewhere(learn: Learner) -> None:
    raise CancelTrainException


def lr_twice() -> Any:
    learn = learner()
    learn.fit_one_cycle(1, 1e-2, cbs=ParamScheduler({"lr": SchedLin(0, 1)}))


def saved_for_another() -> Any:
    learn = learner()
    learn.save("one")
    learn.model = nn.Linear(5, 3)
    learn.load("one")


def of_two_epochs() -> Any:
    states: list[Any] = []
    learn = learner()
    with learn.no_logging():
        learn.fit(
            2, 1e-2, cbs=on(order=99, after_epoch=lambda learn: states.append(learn.state_dict()))
        )
        learn.fit(3, 1e-2, resume=states[0])


def pickled() -> Any:
    torch.save({"weight": torch.ones(1)}, "export.pkl")
    load_learner("export.pkl")


MISTAKES: dict[str, Callable[[], Any]] = {
    "loaders alone": lambda: Learner([1], nn.Linear(1, 1)),
    "model first": lambda: Learner(nn.Linear(1, 1), loaders()),
    "no batches": lambda: DataLoaders([], device="cpu"),
    "a generator": lambda: DataLoaders((i for i in range(3)), device="cpu"),
    "tensors as a set": lambda: DataLoaders((torch.ones(4, 2), torch.ones(4)), device="cpu"),
    "four tensors": lambda: DataLoaders.from_tensors(*[torch.ones(4, 1)] * 4),
    "a model class": lambda: Learner(loaders(), nn.Linear),
    "a loss class": lambda: learner(nn.CrossEntropyLoss),
    "a metric as loss": lambda: learner(accuracy),
    "two metrics of one name": lambda: learner(metrics=[accuracy, accuracy]),
    "an optimizer that is made": lambda: learner(
        opt_func=torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    ).fit(1),
    "float16 on the CPU": lambda: learner().to_fp16(),
    "a misspelled event": misspelled,
    "an event with arguments": with_arguments,
    "an attribute that is not there": lambda: learner().recoder,
    "the rate first": lambda: fit(1e-3, 5),
    "a loss for each item": lambda: fit(loss_func=nn.CrossEntropyLoss(reduction="none")),
    "a loss without a gradient": lambda: fit(
        loss_func=lambda pred, targ: (pred.argmax(1) - targ).float().mean()
    ),
    "a metric that fails": lambda: fit(metrics=lambda pred, targ: pred.missing),
    "a metric for each item": lambda: fit(metrics=lambda pred, targ: pred),
    "two for one rate": lr_twice,
    "an unknown column": lambda: fit(cbs=EarlyStopping("acuracy")),
    "nothing to freeze": lambda: learner().freeze(),
    "a cancel elsewhere": lambda: fit(cbs=on(after_epoch=cancelled_elsewhere)),
    "a callback that fails": lambda: fit(cbs=on(after_batch=lambda learn: 1 / 0)),
    "a file that is not there": lambda: learner().load("nothing"),
    "weights of another": saved_for_another,
    "other epochs": of_two_epochs,
    "no checkpoint": lambda: learner().fit(1, 1e-2, resume=True),
    "a pickle": pickled,
    "a list to predict": lambda: learner().predict([torch.ones(4), torch.ones(4)]),
    "no augmentation": lambda: learner().tta(),
    "a pattern that does not fit": lambda: RegexLabeller(r"(\d+)_x")("cat.jpg"),
    "a label that is too large": lambda: Learner(
        DataLoaders([(torch.randn(4, 4), torch.arange(4))], device="cpu"),
        nn.Linear(4, 3),
        nn.CrossEntropyLoss(),
    ).fit(1, 1e-2),
    "two of one instance": lambda: learner(cbs=[(cb := EarlyStopping()), cb]),
    "BatchNorm and one item": lambda: Learner(
        loaders(6), nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    ).fit(1, 1e-2),
}


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_mistake_gives_a_message_that_the_page_explains(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is asked
        MISTAKES[name]()
    said = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    explained = [message for message in quoted() if matches(message, said)]
    assert explained, said


@pytest.mark.parametrize("words", [["train"], ["train", "nowhere"], ["train", "--resume", "x"]])
def test_what_a_command_refuses_is_explained(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert [message for message in quoted() if matches(message, said)], said


def matches(message: str, said: str) -> bool:
    pattern = ".*".join(re.escape(piece) for piece in pieces(message))
    return re.search(pattern, said, re.DOTALL) is not None
