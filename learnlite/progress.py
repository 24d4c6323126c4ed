"""How far a fit has come, in integers: everything else follows from them.

A schedule, a seed or a bar asks here; none of them counts for itself. So nothing about the
position in a fit can be restored wrongly: two small integers say it all.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """The counts of one fit, and of the fits before it.

    >>> progress = Progress(n_epoch=2, n_iter=5, epochs=1, batches=2)
    >>> progress.train_iter, progress.pct_train
    (7, 0.7)
    """

    n_epoch: int = 0
    """Epochs that this fit is to run."""
    n_iter: int = 0
    """Training batches in an epoch."""
    n_valid: int = 0
    """Validation batches in an epoch."""
    epochs: int = 0
    """Finished epochs; so it is the index of the running one."""
    batches: int = 0
    """Finished training batches of the running epoch; so it is the index of the running one."""
    valid_batches: int = 0
    """Finished validation batches of the running pass."""
    n_acc: int | None = None
    """Samples to gather before a step; None: a step for each batch."""
    gathered: int = 0
    """Samples gathered in the open window of gradient accumulation."""
    past_epochs: int = 0
    """Epochs begun by the fits before this one."""
    past_batches: int = 0
    """Training batches begun by the fits before this one."""
    past_fits: int = 0
    """Fits that came to their end before this one."""
    over: bool = False
    """Whether this fit has come to its end, be it early by a cancel; an error is none."""

    @property
    def train_iter(self) -> int:
        """Training batches finished in this fit; those that a cancel cut off count as done."""
        return self.epochs * self.n_iter + self.batches

    @property
    def pct_train(self) -> float:
        """The part of this fit's training that is done, from 0 to 1."""
        return min(self.train_iter / (self.n_epoch * self.n_iter or 1), 1.0)

    @property
    def lifetime_epoch(self) -> int:
        """The running epoch, counted from the learner's first fit: the seed of its order."""
        return self.past_epochs + self.epochs

    @property
    def lifetime_batch(self) -> int:
        """The running training batch, counted from the learner's first fit: the seed of noise."""
        return self.past_batches + self.train_iter

    def next_fit(
        self, n_epoch: int, n_iter: int, n_valid: int, *, start_epoch: int = 0
    ) -> "Progress":
        """The counts with which the next fit begins."""
        begun = 1 if self.batches else 0
        return Progress(
            n_epoch=n_epoch,
            n_iter=n_iter,
            n_valid=n_valid,
            epochs=start_epoch,
            past_epochs=max(self.lifetime_epoch + begun - start_epoch, 0),
            past_batches=max(self.lifetime_batch + begun - start_epoch * n_iter, 0),
            past_fits=self.past_fits + self.over,
        )

    def seek(self, train_iter: int) -> None:
        """Go to training batch `train_iter` of this fit."""
        self.epochs, self.batches = divmod(train_iter, self.n_iter or 1)

    def finish_batch(self) -> None:
        self.batches += 1

    def finish_valid_batch(self) -> None:
        self.valid_batches += 1

    def finish_epoch(self) -> None:
        self.epochs += 1
        self.batches = 0
        self.valid_batches = 0

    # Gradient accumulation: a window is the batches whose gradients make one step.

    @property
    def window_opens(self) -> bool:
        """Whether the running batch is the first of its window."""
        return self.gathered == 0

    def gather(self, samples: int) -> float:
        """Count the running batch into the window; gives the weight of its mean loss in it."""
        self.gathered += samples
        return samples / self.n_acc if self.n_acc else 1.0

    @property
    def step_due(self) -> bool:
        """Whether the running batch is the last of its window."""
        return self.n_acc is None or self.gathered >= self.n_acc or self.batches + 1 >= self.n_iter

    def close_window(self) -> float:
        """End the window; gives the factor that makes its gradients a mean over its samples."""
        gathered, self.gathered = self.gathered, 0
        return self.n_acc / gathered if self.n_acc and gathered else 1.0
