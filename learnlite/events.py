"""The events of the fit loop, the order of those who listen, and the ways to end a part early.

    fit ─ around_fit
      before_fit
      epoch
        before_epoch
        train ─ around_train
          before_train
          batch
            before_batch · after_pred · after_loss
            before_backward · after_backward
            before_step · after_step           (only when a step is due)
            after_batch
          after_train
        validate ─ around_validate
          before_validate
          batch
            before_batch · after_pred · after_loss · after_batch
          after_validate
        after_epoch
      after_fit

What opens, closes: once a `before_…` of a span has begun, its `after_…` comes, also when a callback
cancels it or something around it; an error ends the fit without it, and `around_…` unwinds.
Predicting (`get_preds`) is a validation without losses: no `after_loss` comes then.
"""

from typing import ClassVar

EVENTS = (
    "before_fit",
    "before_epoch",
    "before_train",
    "before_batch",
    "after_pred",
    "after_loss",
    "before_backward",
    "after_backward",
    "before_step",
    "after_step",
    "after_batch",
    "after_train",
    "before_validate",
    "after_validate",
    "after_epoch",
    "after_fit",
)
AROUNDS = ("around_fit", "around_train", "around_validate", "around_save")
BATCH_EVENTS = frozenset(EVENTS[3:11])


# The lines of the loop, top to bottom: depth, name, whether it is part of training.
LOOP = (
    (0, "fit", True),
    (1, "around_fit", True),
    (1, "before_fit", True),
    (1, "epoch", True),
    (2, "before_epoch", True),
    (2, "train", True),
    (3, "around_train", True),
    (3, "before_train", True),
    (3, "batch", True),
    (4, "before_batch", True),
    (4, "after_pred", True),
    (4, "after_loss", True),
    (4, "before_backward", True),
    (4, "after_backward", True),
    (4, "before_step", True),
    (4, "after_step", True),
    (4, "after_batch", True),
    (3, "after_train", True),
    (2, "validate", False),
    (3, "around_validate", False),
    (3, "before_validate", False),
    (3, "batch", False),
    (4, "before_batch", False),
    (4, "after_pred", False),
    (4, "after_loss", False),
    (4, "after_batch", False),
    (3, "after_validate", False),
    (2, "after_epoch", True),
    (1, "after_fit", True),
)


class Order:
    """Named places in the order in which callbacks are called; any integer in between works.

    Callbacks of one place are called in the order in which they were given.
    """

    SETUP = 0
    """Makes the ground: devices, precision, checks."""
    DATA = 10
    """Changes the batch: mixup, resizing."""
    NORMAL = 20
    """Where a callback stands if it says nothing."""
    OPTIM = 30
    """Changes gradients or hyper-parameters: clipping, schedules."""
    RECORD = 40
    """Writes down what was measured."""
    DECIDE = 50
    """Acts on what was recorded: early stopping, plateau."""
    SAVE = 60
    """Keeps it: checkpoints, the best model."""
    REPORT = 70
    """Tells it: bars, tables, logs."""


class CancelException(Exception):
    """Raised by a callback to end a part of the fit early, as a decision and not as a failure.

    CancelException
    ├── CancelBackwardException    the backward pass; `after_backward` comes
    ├── CancelStepException        the optimizer's step; no `after_step`, as no weight changed
    ├── CancelBatchException       the batch; `after_batch` comes
    ├── CancelTrainException       the training pass; `after_train` comes, then validation
    ├── CancelValidException       the validation pass; `after_validate` comes
    ├── CancelEpochException       the epoch; `after_epoch` comes, then the next one
    └── CancelFitException         the fit; `after_fit` comes
    """

    closes: ClassVar[str] = ""
    width: ClassVar[int] = 0


class CancelBackwardException(CancelException):
    """Ends the backward pass of this batch; the step follows if there are gradients."""

    closes, width = "backward", 1


class CancelStepException(CancelException):
    """Leaves this step out."""

    closes, width = "step", 1


class CancelBatchException(CancelException):
    """Goes on with the next batch."""

    closes, width = "batch", 2


class CancelTrainException(CancelException):
    """Ends this training pass."""

    closes, width = "train", 3


class CancelValidException(CancelException):
    """Ends this validation pass."""

    closes, width = "validate", 3


class CancelEpochException(CancelException):
    """Goes on with the next epoch."""

    closes, width = "epoch", 4


class CancelFitException(CancelException):
    """Ends the fit."""

    closes, width = "fit", 5
