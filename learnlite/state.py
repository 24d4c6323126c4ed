"""The state of the fit loop: what callbacks read, and what they may write."""

from collections.abc import Callable as Function
from typing import Any

from torch import nn
from torch.optim import Optimizer

from learnlite.bars import say_if_possible
from learnlite.data import DataLoaders
from learnlite.dispatch import Callbacks
from learnlite.events import CancelException
from learnlite.metrics import Metric
from learnlite.precision import Precision
from learnlite.progress import Progress
from learnlite.types import Batch, LossFunc


class LoopState:
    """What the loop knows at each moment. Nobody else counts: the rest follows from `progress`.

    Callbacks may replace the state of the batch (`xb yb pred loss`, see `learnlite.events`); the
    loop writes the rest. After an error the batch stays as it was, for looking at it.
    """

    dls: DataLoaders
    model: nn.Module
    loss_func: LossFunc
    opt: Optimizer
    metrics: list[Metric]
    callbacks: Callbacks
    precision: Precision
    progress: Progress
    seed: int
    run: str
    """A name drawn for each learner, which goes on with a state: whose checkpoints are whose."""
    arguments: dict[str, Any]
    """What the running fit was called with, as plain values: a state of it is for such a fit."""

    dl: Any = None
    """The loader of the running pass."""
    training: bool = False
    """Whether the running pass trains; false in validation."""
    xb: Any = ()
    """The inputs of the batch on the device: a tuple, or a dict for a model that takes keywords."""
    yb: tuple[Any, ...] = ()
    """The targets of the batch on the device."""
    pred: Any = None
    """What the model gave."""
    loss: Any = None
    """The loss of the batch, never scaled."""
    has_loss: bool = True
    """Whether batches have a loss; predicting alone needs none, and `after_loss` does not come."""
    cancelled: CancelException | None = None
    """Why the span that closes was cut short; None if it was not."""
    say: Function[[str], None] = staticmethod(say_if_possible)
    """Tells the user a line; in a fit it stands with the table, and is hushed by `no_logging`."""
    inspect_batch: Function[[Batch], None] | None = None
    """Given every training batch as it comes from the loader, before it goes to the device."""

    @property
    def epoch(self) -> int:
        """The index of the running epoch in this fit."""
        return self.progress.epochs

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.progress.epochs = value

    @property
    def n_epoch(self) -> int:
        """Epochs of this fit."""
        return self.progress.n_epoch

    @n_epoch.setter
    def n_epoch(self, value: int) -> None:
        self.progress.n_epoch = value

    @property
    def iter(self) -> int:
        """The index of the running batch in its pass."""
        return self.progress.batches if self.training else self.progress.valid_batches

    @iter.setter
    def iter(self, value: int) -> None:
        if self.training:
            self.progress.batches = value
        else:
            self.progress.valid_batches = value

    @property
    def n_iter(self) -> int:
        """Batches of the running pass."""
        return self.progress.n_iter if self.training else self.progress.n_valid

    @n_iter.setter
    def n_iter(self, value: int) -> None:
        if self.training:
            self.progress.n_iter = value
        else:
            self.progress.n_valid = value

    @property
    def train_iter(self) -> int:
        """Training batches finished in this fit."""
        return self.progress.train_iter

    @train_iter.setter
    def train_iter(self, value: int) -> None:
        self.progress.seek(value)

    @property
    def pct_train(self) -> float:
        """The part of this fit's training that is done, from 0 to 1."""
        return self.progress.pct_train

    @pct_train.setter
    def pct_train(self, value: float) -> None:
        self.progress.seek(round(value * self.progress.n_epoch * self.progress.n_iter))
