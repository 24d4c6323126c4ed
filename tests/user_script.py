"""A user's program, for the type checker: mypy in strict mode finds every type that it needs.

It is checked, never run; `reveal_type` would print what mypy sees.
"""

from typing import assert_type

from torch import Tensor, nn

from learnlite import Callback, CancelFitException, DataLoaders, Learner, accuracy
from learnlite.vision import vision_learner


class StopWhenGood(Callback):
    """Ends training once the accuracy is high enough."""

    def after_epoch(self) -> None:
        if self.learn.recorder.last("accuracy") > 0.95:
            raise CancelFitException("good enough")


def train(dls: DataLoaders, model: nn.Module) -> Learner:
    learn = Learner(dls, model, metrics=[accuracy], cbs=StopWhenGood())
    learn.fit_one_cycle(3, 1e-2)
    learn.fit(2, 1e-3, cbs=[StopWhenGood])
    assert_type(learn.recorder.losses, list[float])
    return learn


def score(pred: Tensor, targ: Tensor) -> Tensor:
    return (pred.argmax(-1) == targ).float().mean()


def fine_tuned(dls: DataLoaders) -> Learner:
    learn = vision_learner(dls, "torchvision/resnet34", metrics=accuracy)
    learn.fine_tune(3)
    assert_type(learn, Learner)
    return vision_learner(dls, "xresnet18", pretrained=False)
