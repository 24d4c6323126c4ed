"""The loop's promises: which events come, in which order, and what a cancel or an error leaves."""

import itertools
from contextlib import contextmanager

import pytest
import torch
from tiny import linear_learner
from torch import nn

from learnlite import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    Order,
    on,
)
from learnlite.events import EVENTS

CANCELS = (
    CancelBackwardException,
    CancelStepException,
    CancelBatchException,
    CancelTrainException,
    CancelValidException,
    CancelEpochException,
    CancelFitException,
)
SHORT = {
    "before_fit": "(",
    "after_fit": ")",
    "before_epoch": "[",
    "after_epoch": "]",
    "before_train": "<",
    "after_train": ">",
    "before_validate": "{",
    "after_validate": "}",
    "before_batch": "b",
    "after_pred": "p",
    "after_loss": "l",
    "before_backward": "k",
    "after_backward": "K",
    "before_step": "s",
    "after_step": "S",
    "after_batch": "B",
}
TRAIN, VALID = "bplkKsSB", "bplB"


class Tracer(Callback):
    """Writes a letter for every event, and whether the span was cancelled, after all others."""

    order = 10**6

    def __init__(self):
        self.trace = ""
        self.reasons = {}


def _traced(event):
    def method(self):
        self.trace += SHORT[event]
        self.reasons[event] = self.learn.cancelled

    return method


for _event in EVENTS:
    setattr(Tracer, _event, _traced(_event))


def test_two_epochs_give_every_event_in_order():
    tracer = Tracer()
    linear_learner(tracer).fit(2)
    epoch = "[" + "<" + TRAIN * 2 + ">" + "{" + VALID + "}" + "]"
    assert tracer.trace == "(" + epoch * 2 + ")"


# Where each event stands: the spans that are open there, from the outside.
OPEN = {
    "before_fit": ["fit"],
    "after_fit": ["fit"],
    "before_epoch": ["fit", "epoch"],
    "after_epoch": ["fit", "epoch"],
    "before_train": ["fit", "epoch", "train"],
    "after_train": ["fit", "epoch", "train"],
    "before_batch": ["fit", "epoch", "train", "batch"],
    "after_pred": ["fit", "epoch", "train", "batch"],
    "after_loss": ["fit", "epoch", "train", "batch"],
    "after_batch": ["fit", "epoch", "train", "batch"],
    "before_backward": ["fit", "epoch", "train", "batch", "backward"],
    "after_backward": ["fit", "epoch", "train", "batch", "backward"],
    "before_step": ["fit", "epoch", "train", "batch", "step"],
    "after_step": ["fit", "epoch", "train", "batch", "step"],
    "before_validate": ["fit", "epoch", "validate"],
    "after_validate": ["fit", "epoch", "validate"],
}
CLOSING = {
    "fit": "after_fit",
    "epoch": "after_epoch",
    "train": "after_train",
    "validate": "after_validate",
    "batch": "after_batch",
    "backward": "after_backward",
    "step": None,
}
PARTS = {
    "fit": ["before_fit", "epoch", "epoch"],
    "epoch": ["before_epoch", "train", "validate"],
    "train": ["before_train", "batch", "batch"],
    "batch": ["before_batch", "after_pred", "after_loss", "backward", "step"],
    "backward": ["before_backward"],
    "step": ["before_step", "after_step"],
    "validate": ["before_validate", "vbatch"],
    "vbatch": ["before_batch", "after_pred", "after_loss"],
}


class _Ended(Exception):
    pass


def expected_trace(event, cancel):
    """The promise written as a second, naive program: walk the parts, cancel at `event`."""
    trace, fired = [], []

    def say(name):
        trace.append(SHORT[name])
        if name == event and not fired:
            fired.append(name)
            raise _Ended(cancel.closes)

    def cancelled_backward():
        first = cancel is CancelBackwardException and event == "before_backward"
        return first and trace.count("k") == 1

    def walk(span):
        ended = None
        name = "batch" if span == "vbatch" else span
        try:
            for part in PARTS[span]:
                if part == "step" and "k" in trace and cancelled_backward():
                    continue  # no gradients, so no step
                say(part) if part in SHORT else walk(part)
        except _Ended as end:
            ended = end
        if CLOSING[name]:
            try:
                say(CLOSING[name])
            except _Ended as end:
                ended = end
        if ended and str(ended) != name:
            raise ended

    walk("fit")
    return "".join(trace)


@pytest.mark.parametrize(("event", "cancel"), list(itertools.product(EVENTS, CANCELS)))
def test_every_cancel_at_every_event_closes_what_is_open_and_no_more(event, cancel):
    tracer = Tracer()
    raised = []

    def raise_once(learn):
        if not raised:
            raised.append(cancel("because"))
            raise raised[0]

    # The tracer hears the event before the cancel, so that the trace says where it came.
    learn = linear_learner([tracer, on(order=tracer.order + 1, **{event: raise_once})])
    if cancel.closes not in OPEN[event]:
        with pytest.raises(
            RuntimeError,
            match=f"`{cancel.__name__}` was raised by .*`{event}`, where no {cancel.closes}",
        ):
            learn.fit(2)
        assert not learn._open
        learn.fit(1)  # still of use
        return
    learn.fit(2)
    assert tracer.trace == expected_trace(event, cancel)
    for span in OPEN[event][OPEN[event].index(cancel.closes) :]:
        closing = CLOSING[span]
        if closing and closing != event and cancel.closes == "fit":
            assert tracer.reasons[closing] is raised[0]


@pytest.mark.parametrize("cancel", CANCELS)
def test_validation_batches_can_be_cancelled_too(cancel):
    tracer = Tracer()

    def stop(learn):
        if not learn.training:
            raise cancel

    learn = linear_learner([tracer, on(after_pred=stop, order=10**6 + 1)], n_valid=2)
    if cancel.closes in ("backward", "step", "train"):
        with pytest.raises(RuntimeError, match="where no"):
            learn.fit(1)
        return
    learn.fit(1)
    batches = 2 if cancel.closes == "batch" else 1
    assert tracer.trace == "([<" + TRAIN * 2 + ">{" + "bpB" * batches + "}])"


def test_a_closing_event_reaches_every_callback_and_the_widest_cancel_wins():
    heard = []

    def cancelling(cancel, name):
        def act(learn):
            heard.append(name)
            raise cancel(name)

        return act

    cbs = [
        on(after_epoch=cancelling(CancelFitException, "fit"), order=1),
        on(after_epoch=cancelling(CancelEpochException, "epoch"), order=2),
        on(after_epoch=lambda learn: heard.append("plain"), order=3),
    ]
    learn = linear_learner(cbs)
    learn.fit(5)
    assert heard == ["fit", "epoch", "plain"]
    assert isinstance(learn.cancelled, CancelFitException)
    assert str(learn.cancelled) == "fit"


def test_what_ended_normally_is_not_cancelled():
    tracer = Tracer()
    learn = linear_learner(tracer)
    learn.fit(1)
    assert set(tracer.reasons.values()) == {None}
    assert learn.cancelled is None


def test_an_error_runs_no_closing_event_but_unwinds_what_is_around():
    tracer, log = Tracer(), []

    class Around(Callback):
        @contextmanager
        def around_fit(self):
            log.append("fit in")
            try:
                yield
            finally:
                log.append("fit out")

        @contextmanager
        def around_train(self):
            log.append("train in")
            try:
                yield
            finally:
                log.append("train out")

    def fail(learn):
        raise KeyError("my own")

    learn = linear_learner([tracer, Around, on(after_loss=fail)])
    with pytest.raises(KeyError, match="my own") as caught:
        learn.fit(1)
    assert tracer.trace == "([<bp"
    assert log == ["fit in", "train in", "train out", "fit out"]
    assert "raised by the callback `on(after_loss)` in `after_loss`" in caught.value.__notes__
    assert torch.is_tensor(learn.loss)  # the batch stays readable
    assert len(learn.xb[0]) == 4
    learn.remove_cb(learn.cbs[-1] if "after_loss" in repr(learn.cbs[-1]) else learn.cbs[1])
    tracer.trace = ""
    learn.fit(1)
    assert tracer.trace.startswith("(") and tracer.trace.endswith(")")


def test_around_validate_sees_validation_only():
    seen = []

    class Around(Callback):
        @contextmanager
        def around_validate(self):
            seen.append("in")
            yield
            seen.append("out")

        def after_train(self):
            seen.append("train")

        def after_epoch(self):
            seen.append("epoch")

    linear_learner(Around).fit(1)
    assert seen == ["train", "in", "out", "epoch"]


def test_the_weights_change_at_after_step_and_not_before():
    states = {}

    def keep(name):
        return lambda learn: states.setdefault(name, learn.model.weight.detach().clone())

    learn = linear_learner(on(before_step=keep("before"), after_step=keep("after")))
    learn.fit(1)
    assert not torch.equal(states["before"], states["after"])


def test_a_cancelled_step_changes_no_weight_and_is_not_reported():
    def cancel(learn):
        raise CancelStepException

    tracer = Tracer()
    learn = linear_learner([tracer, on(before_step=cancel)])
    before = learn.model.weight.detach().clone()
    learn.fit(1)
    assert torch.equal(before, learn.model.weight)
    assert "S" not in tracer.trace


def test_a_cancelled_batch_leaves_no_gradient_to_the_next():
    def cancel_first(learn):
        if learn.iter == 0 and learn.training:
            raise CancelBatchException

    torch.manual_seed(0)
    learn = linear_learner(on(after_backward=cancel_first), opt_func=torch.optim.SGD)
    torch.manual_seed(0)
    plain = linear_learner(opt_func=torch.optim.SGD)
    plain.dls.train[:] = plain.dls.train[1:]
    learn.fit(1)
    plain.fit(1)
    assert torch.equal(learn.model.weight, plain.model.weight)


def test_writing_on_self_writes_to_the_learner():
    class Double(Callback):
        order = Order.DATA

        def before_batch(self):
            self.xb = (self.xb[0] * 2,)
            self.yb = (self.yb[0] * 0,)

        def after_pred(self):
            self.pred = self.pred + 1

        def after_loss(self):
            self.loss = self.loss * 3

    seen = {}

    def look(learn):
        seen.update(
            x=learn.xb[0],
            y=learn.yb[0],
            pred=learn.pred,
            loss=learn.loss.item(),
            weight=learn.model.weight.detach().clone(),
        )

    learn = linear_learner([Double, on(after_loss=look)], n_train=1, n_valid=0)
    x = learn.dls.train[0][0]
    expected = learn.model(x * 2) + 1
    learn.fit(1)
    assert torch.equal(seen["x"], x * 2)
    assert torch.equal(seen["pred"], expected)
    assert seen["loss"] == pytest.approx(3 * (expected**2).mean().item())


def test_the_state_of_the_loop_is_what_fastai_calls_it():
    rows = []

    class Watch(Callback):
        def after_batch(self):
            rows.append(
                (
                    self.training,
                    self.epoch,
                    self.n_epoch,
                    self.iter,
                    self.n_iter,
                    self.train_iter,
                    self.pct_train,
                )
            )

    linear_learner(Watch).fit(2)
    assert rows == [
        (True, 0, 2, 0, 2, 0, 0.0), (True, 0, 2, 1, 2, 1, 0.25), (False, 0, 2, 0, 1, 2, 0.5),
        (True, 1, 2, 0, 2, 2, 0.5), (True, 1, 2, 1, 2, 3, 0.75), (False, 1, 2, 0, 1, 4, 1.0),
    ]  # fmt: skip


def test_the_loop_can_be_moved_through_the_learner():
    class Skip(Callback):
        def before_epoch(self):
            if self.epoch == 0:
                self.learn.n_epoch = 3

    tracer = Tracer()
    linear_learner([tracer, Skip]).fit(1)
    assert tracer.trace.count("[") == 3


def test_fit_inside_fit_is_refused():
    learn = linear_learner(on(after_epoch=lambda learn: learn.fit(1)))
    with pytest.raises(RuntimeError, match="`fit` was called inside `fit`"):
        learn.fit(1)


def test_validate_in_the_middle_of_a_fit_disturbs_nothing():
    def look(learn):
        if learn.training:
            before = (learn.xb, learn.loss, learn.iter, learn.model.training)
            learn.validate()
            assert before == (learn.xb, learn.loss, learn.iter, learn.model.training)

    torch.manual_seed(0)
    learn = linear_learner(on(after_batch=look), default_cbs=True)
    torch.manual_seed(0)
    plain = linear_learner(default_cbs=True)
    with learn.no_logging(), plain.no_logging():
        learn.fit(2)
        plain.fit(2)
    assert torch.equal(learn.model.weight, plain.model.weight)
    assert learn.recorder.values == plain.recorder.values


def test_no_more_than_six_frames_lie_between_fit_and_the_models_forward():
    import inspect

    depth = []

    class Model(nn.Linear):
        def forward(self, x):
            names = [frame.function for frame in inspect.stack()]
            depth.append(names.index("fit"))
            return super().forward(x)

    learn = linear_learner()
    learn.model = Model(3, 1)
    learn.fit(1)
    torch_frames = 2  # `Module.__call__` and `Module._call_impl`
    assert max(depth) - torch_frames <= 6
