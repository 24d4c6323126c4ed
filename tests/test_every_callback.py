"""Every callback there is, found by reflection, goes through the same trials: none can escape.

A callback that needs arguments, or a problem of its own, says so in `MAKE` or `WITHOUT`.
"""

import importlib
import inspect
import itertools
import math
import pkgutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from reads import Reads
from torch import nn

import learnlite
from learnlite import (
    Callback,
    Checkpoint,
    DataLoaders,
    GradientAccumulation,
    Learner,
    Order,
    accuracy,
    on,
)
from learnlite.callbacks import checkpoint
from learnlite.callbacks.schedule import ParamScheduler, TorchScheduler
from learnlite.commands import history
from learnlite.data import Loader
from learnlite.data.tensors import TensorItems
from learnlite.events import AROUNDS, EVENTS
from learnlite.interrupt import Stopped
from learnlite.losses import CrossEntropyLossFlat
from learnlite.schedules import SchedCos

for module in pkgutil.walk_packages(learnlite.__path__, "learnlite."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


EVERY = sorted(
    {
        cls
        for cls in subclasses(Callback)
        if cls.__module__.startswith("learnlite.")
        and cls.__name__ != "on"
        and cls.__module__ != "learnlite.gathering"  # part of `get_preds`, and of no fit
        and not inspect.isabstract(cls)
    },
    key=lambda cls: cls.__name__,
)

# Arguments for those that need some, or that would do nothing in a fit as short as these.
MAKE = {
    "GradientAccumulation": lambda cls: cls(24),
    "GradientClip": lambda cls: cls(0.5),
    "ParamScheduler": lambda cls: cls({"lr": SchedCos(0.02, 0.001)}),
    "TorchScheduler": lambda cls: cls(
        lambda opt: torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.9)
    ),
    "HookCallback": lambda cls: cls(hook=lambda m, i, o: None),
    "LRFinder": lambda cls: cls(1e-4, 1e-2, num_it=1000, stop_div=False),
    "RollBack": lambda cls: cls(every=4),
    "ReduceLROnPlateau": lambda cls: cls("train_loss", patience=0, factor=0.5),
    "SWA": lambda cls: cls(start=0.3),
    "EarlyStopping": lambda cls: cls("train_loss", patience=50),
    "SaveModel": lambda cls: cls("train_loss"),
    "Tracker": lambda cls: cls("train_loss"),
    "ShortEpoch": lambda cls: cls(5),
    "OverfitBatch": lambda cls: cls(12),
    "ProgressiveResize": lambda cls: cls(4, 8, multiple=2),
    "Compile": lambda cls: cls(backend="eager"),
    "Checkpoint": lambda cls: cls(every=3),
}
DEFAULTS = ("Checks", "Recorder", "ProgressBar")


def make(cls):
    return MAKE.get(cls.__name__, lambda cls: cls())(cls)


class Net(nn.Module):
    """Convolution, BatchNorm, dropout: all that a trick may touch. Takes a tensor or a keyword."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


def images(n=44):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (n,), generator=generator)
    x = torch.randn(n, 3, 8, 8, generator=generator) + y[:, None, None, None] / 2
    return x, y


def loaders(n=44, bs=8):
    train, valid = TensorItems(*images(n)), TensorItems(*images(16))
    shuffled = Loader(train, bs, shuffle=True, seed=3)
    return DataLoaders(shuffled, Loader(valid, bs, seed=4), device="cpu")


def learner(tmp_path, dls=None, *, seed=5, **kwargs):
    torch.manual_seed(seed)
    kwargs = {"metrics": accuracy, "lr": 0.01, "loss_func": CrossEntropyLossFlat()} | kwargs
    learn = Learner(loaders() if dls is None else dls, Net(), seed=1, path=tmp_path, **kwargs)
    learn.say = lambda text: None
    return learn


def given(cls, learn):
    """The learner with a callback of this class in the place of one that was there by default."""
    if cls.__name__ in DEFAULTS:
        learn.remove_cb(cls)
    learn.add_cb(made := make(cls))
    return made


@pytest.fixture(autouse=True)
def clock_that_stands_still(monkeypatch):
    """`History` keeps how long an epoch took, in which no two runs are alike."""
    monkeypatch.setattr(history, "time", SimpleNamespace(perf_counter=lambda: 0.0))


each = pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)


@each
def test_shows_its_arguments(cls):
    text = repr(make(cls))
    assert text.startswith(cls.__name__)
    if cls.__repr__ is Callback.__repr__:
        for name in inspect.signature(cls).parameters:
            assert f"{name}=" in text


@each
def test_has_an_example_that_is_run(cls):
    assert ">>> " in (cls.__doc__ or ""), f"{cls.__name__} has no example in its docstring"


class Interrupted(Exception):
    pass


# One ends a fit within an epoch; the other gives the weights back as they were before the fit.
NOT_RESUMED = {"DryRun", "OverfitBatch"}


@each
@pytest.mark.parametrize("batches", [4, 6, 7, 10])
def test_goes_on_exactly_from_any_batch(cls, batches, tmp_path):
    if cls.__name__ in NOT_RESUMED:
        pytest.skip(f"{cls.__name__} leaves nothing that could go on")
    whole = learner(tmp_path)
    kept = given(cls, whole)
    whole.fit(3)

    states = []

    def stop(learn):
        if learn.training and learn.train_iter + 1 == batches:
            states.append(learn.state_dict())
            raise Interrupted

    cut = learner(tmp_path)
    given(cls, cut)
    with pytest.raises(Interrupted):
        cut.fit(3, cbs=on(after_batch=stop, order=1000))

    fresh = learner(tmp_path, seed=99)
    resumed = given(cls, fresh)
    fresh.fit(3, resume=states[0])

    a, b = whole.model.state_dict(), fresh.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    same_optimizer = equal(whole.opt.state_dict(), fresh.opt.state_dict())
    same_callback = equal(kept.state_dict(), resumed.state_dict())
    assert same_optimizer and same_callback
    if cls.__name__ != "Recorder":
        assert equal(whole.recorder.values, fresh.recorder.values)
        assert whole.recorder.losses == fresh.recorder.losses
        assert whole.recorder.lrs == fresh.recorder.lrs


@each
def test_goes_on_exactly_when_a_signal_ended_a_validation(cls, tmp_path, monkeypatch):
    if cls.__name__ in NOT_RESUMED | {"LRFinder"}:
        pytest.skip(f"{cls.__name__} leaves nothing that could go on, or does not validate")
    monkeypatch.setattr(checkpoint, "_SHORT", 0.0)  # of no validation is the end waited for

    def fitted(folder, act, **kwargs):
        learn = learner(tmp_path / folder, **kwargs)
        kept = given(cls, learn)
        learn.fit(3, cbs=[Checkpoint("states"), on(after_pred=act)], resume=True)
        return learn, equal_parts(learn, kept)

    sent = []

    def stop(learn):
        if not learn.training and learn.epoch == 1 and not sent:
            sent.append(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    whole, parts = fitted("whole", lambda learn: None)
    with pytest.raises(Stopped):
        fitted("run", stop)
    resumed, again = fitted("run", lambda learn: None, seed=99)
    assert equal(parts, again)
    if cls.__name__ != "Recorder":
        assert equal(whole.recorder.values, resumed.recorder.values)


def equal_parts(learn, kept):
    """What two fits with this callback must have in common."""
    return [learn.model.state_dict(), learn.opt.state_dict(), kept.state_dict()]


def equal(a, b):
    """Whether two states hold the same, bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | a.isnan()).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (a != a and b != b)


@each
def test_reads_the_device_as_often_for_a_hundred_batches_as_for_ten(cls, tmp_path, monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)  # those that look now and then look once

    def reads(n_batches):
        learn = learner(tmp_path, loaders(8 * n_batches))
        given(cls, learn)
        with Reads() as counted:
            learn.fit(2)
        return counted.count

    assert reads(10) == reads(100)


class Bomb(Callback):
    run_valid = True

    def __init__(self, event, order):
        self.event = event
        self.order = order
        setattr(self, event, self._around if event in AROUNDS else self._explode)

    def _explode(self):
        if self.learn.epoch == 1 or self.event in ("before_fit", "after_fit", "around_fit"):
            raise Interrupted(self.event)

    @contextmanager
    def _around(self):
        self._explode()
        yield
        self._explode()


class LastWeights(Callback):
    """The weights as the last step of training left them."""

    order = 999
    run_valid = False

    def before_fit(self):
        self.keep()

    after_batch = after_step = before_fit

    def keep(self):
        self.weights = [p.detach().clone() for p in self.learn.model.parameters()]


LastWeights.before_fit = LastWeights.after_batch = LastWeights.after_step = LastWeights.keep


def surroundings(learn):
    """Everything that a callback might have left behind, but for what training changes."""
    modules = list(learn.model.modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks": [[len(getattr(module, name)) for name in hooks] for module in modules],
        "tensor hooks": [len(p._backward_hooks or ()) for p in learn.model.parameters()],
        "classes": [type(module) for module in modules],
        "forwards": ["forward" in vars(module) for module in modules],
        "compiled": [module._compiled_call_impl for module in modules],
        "momenta": [getattr(module, "momentum", None) for module in modules],
        "trainable": [p.requires_grad for p in learn.model.parameters()],
        "strides": [p.stride() for p in learn.model.parameters()],
        "groups": [
            {k: v for k, v in group.items() if k not in ("params", "lr")}
            for group in learn.opt.param_groups
        ]
        if learn.opt
        else None,
        "step": "step" in vars(learn.opt) if learn.opt else False,
        "loss": learn.loss_func,
        "reduction": learn.loss_func.reduction,
        "loaders": list(learn.dls.loaders),
        "precision": learn.precision,
        "path": learn.path,
        "say": learn.say,
        "n_acc": learn.progress.n_acc,
        "autocast": torch.is_autocast_enabled("cpu"),
        "grad": torch.is_grad_enabled(),
        "callbacks": [cb for cb in learn.cbs if not isinstance(cb, Bomb | LastWeights)],
    }


@each
def test_leaves_everything_as_it_was_when_training_raises_at_any_event(cls, tmp_path):
    for event, order in itertools.product((*EVENTS, *AROUNDS), (-1000, 1000)):
        if event == "around_save":
            continue
        learn = learner(tmp_path)
        learn.create_opt()
        given(cls, learn)
        last = LastWeights()
        before = surroundings(learn)
        try:
            learn.fit(2, cbs=[Bomb(event, order), last])
        except Interrupted:
            pass
        except Exception as error:
            raise AssertionError(f"bomb at {event}, order {order}") from error
        else:
            early = cls.__name__ in ENDS_EARLY
            assert early, f"no bomb went off at {event}"
        now = surroundings(learn)
        left = {name: (before[name], now[name]) for name in now if before[name] != now[name]}
        assert not left, f"after a bomb at {event}, order {order}"
        if cls.__name__ == "OverfitBatch":
            continue  # which gives back the weights of the beginning
        if event not in ("after_step", "after_fit", "around_fit") and hasattr(last, "weights"):
            for ours, theirs in zip(learn.model.parameters(), last.weights, strict=True):
                assert torch.equal(ours, theirs), f"weights after a bomb at {event}, {order}"


class InterruptAt:
    """Raises at the n-th line that runs while callbacks enter their `around_…`, as ctrl-C may."""

    def __init__(self, n):
        self.n = n
        self.lines = 0
        self._entered = set()  # generators that have come to their `yield`

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error):
        sys.settrace(self._before)

    def _trace(self, frame, event, arg):
        code, above = frame.f_code, frame.f_back
        ours = code.co_filename.startswith(OURS)
        if event == "call":
            around = code.co_name in AROUNDS and code.co_flags & inspect.CO_GENERATOR
            inside = above is not None and above.f_trace is not None and above not in self._entered
            wanted = frame not in self._entered if around else ours and inside
            return self._trace if wanted else None
        if event == "return" and code.co_name in AROUNDS:
            self._entered.add(frame)
        if event == "line" and frame not in self._entered:
            self.lines += 1
            if self.lines == self.n:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace


OURS = str(Path(learnlite.__file__).parent)


@each
def test_leaves_everything_as_it_was_when_interrupted_at_any_line_of_its_beginning(cls, tmp_path):
    for n in itertools.count(1):
        learn = learner(tmp_path)
        learn.create_opt()
        given(cls, learn)
        before = surroundings(learn)
        try:
            with InterruptAt(n) as interrupt:
                learn.fit(1)
        except KeyboardInterrupt:
            pass
        else:
            break
        assert interrupt.lines == n
        now = surroundings(learn)
        left = {name: (before[name], now[name]) for name in now if before[name] != now[name]}
        assert not left, f"after an interrupt at line {n} of what it does first"


ENDS_EARLY = {"DryRun", "OverfitBatch", "LRFinder"}


@each
def test_can_be_there_while_only_validate_runs(cls, tmp_path):
    learn = learner(tmp_path)
    given(cls, learn)
    plain = learner(tmp_path)
    with_it, without = learn.validate(), plain.validate()  # before the first fit
    assert with_it == without or cls.__name__ == "MixedPrecision"
    learn.fit(1)
    before = surroundings(learn)
    plain.model.load_state_dict(learn.model.state_dict())
    with_it, without = learn.validate(), plain.validate()
    assert with_it == without or cls.__name__ == "MixedPrecision"
    assert surroundings(learn) == before


@each
def test_works_with_accumulation(cls, tmp_path):
    if cls.__name__ in ("GradientAccumulation", "DryRun"):
        pytest.skip("it is the accumulation itself, or ends before a window is full")
    steps = []
    learn = learner(tmp_path)
    given(cls, learn)
    learn.fit(
        1, cbs=[GradientAccumulation(24), on(after_step=lambda learn: steps.append(learn.iter))]
    )
    assert steps[:2] == ([2, 4] if cls.__name__ == "ShortEpoch" else [2, 5])
    assert all(bool(p.isfinite().all()) for p in learn.model.parameters())


@each
def test_works_with_batches_that_are_dicts(cls, tmp_path):
    x, y = images()
    batches = [{"x": x[i : i + 8], "labels": y[i : i + 8]} for i in range(0, 44, 8)]
    learn = learner(tmp_path, DataLoaders(batches, batches[:2], device="cpu"))
    given(cls, learn)
    learn.fit(2)
    assert all(bool(p.isfinite().all()) for p in learn.model.parameters())


# Of each row any two are refused: they drive one thing, or the first hides what the others look at.
REFUSED = [
    ("LRFinder", "ParamScheduler", "ReduceLROnPlateau", "TorchScheduler"),
    ("CutMix", "CutMixUp", "MixUp"),
    ("DryRun", "OverfitBatch", "ShortEpoch"),
    ("EMA", "SWA"),
    ("OverfitBatch", "SaveModel", "SWA"),
    ("Compile", "ActivationStats"),
    ("Compile", "HookCallback"),
    ("Compile", "NaNGuard"),
]


def refused_by(name):
    return {other for row in REFUSED if name in row for other in row} - {name}


tried_pairs = {}
"""Whether a pair was refused; which is given first matters only where both have one order."""


def is_refused(cls, other, tmp_path):
    pair = (cls, other) if cls.order == other.order else frozenset((cls, other))
    if pair not in tried_pairs:
        tried_pairs[pair] = tried(cls, other, tmp_path)
    return tried_pairs[pair]


def tried(cls, other, tmp_path):
    learn = learner(tmp_path)
    given(cls, learn)
    given(other, learn)
    try:
        learn.fit(1)
    except ValueError as error:
        text = str(error)
        assert "both drive" in text or "do not go together" in text
        assert cls.__name__ in text and other.__name__ in text
        assert not learn.progress.batches, "it was refused after training had begun"
        return True
    assert all(bool(p.isfinite().all()) for p in learn.model.parameters())
    assert not learn.recorder.losses or math.isfinite(learn.recorder.losses[-1])
    return False


@each
def test_every_pair_trains_or_is_refused_with_a_sentence(cls, tmp_path):
    others = [
        other
        for other in EVERY
        if other is not cls and not {cls.__name__, other.__name__} <= set(DEFAULTS)
    ]
    refused = {other.__name__ for other in others if is_refused(cls, other, tmp_path)}
    assert refused == refused_by(cls.__name__)


def test_the_order_of_those_that_must_stand_apart():
    orders = {cls.__name__: cls.order for cls in EVERY}
    assert orders["SAM"] < Order.OPTIM, "clipping acts on the gradients that SAM leaves"


assert ParamScheduler in EVERY and TorchScheduler in EVERY
