"""What a report tells of: the numbers of one fit, or of several after each other."""

from dataclasses import dataclass, field
from itertools import groupby

from learnlite import optim
from learnlite.callbacks import Recorder
from learnlite.types import counted

ALL, HEAD = optim.ALL, optim.HEAD


@dataclass
class Curves:
    """What was measured, over one fit or several: a row an epoch, losses and rates a batch.

    Beside the measures of `history` each row has its `epochs`, the number that its fit shows; what
    was `trained`; its `seconds`; and `iters`, the batches of all fits up to its end. These four may
    be left out.
    """

    history: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    losses: list[float] = field(default_factory=list[float])
    lrs: list[float] = field(default_factory=list[float])
    epochs: list[int] = field(default_factory=list[int])
    trained: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])
    iters: list[int] = field(default_factory=list[int])

    def add(self, recorder: Recorder) -> None:
        """Append what the recorder has of its fit; what is frozen now was so in all of it.

        >>> import torch
        >>> from learnlite import DataLoaders, Learner
        >>> dls = DataLoaders([(torch.ones(4, 1), torch.zeros(4, 1))], device="cpu")
        >>> learn = Learner(dls, torch.nn.Linear(1, 1), torch.nn.MSELoss())
        >>> curves = Curves()
        >>> for _ in range(2):
        ...     with learn.no_logging():
        ...         learn.fit(2)
        ...     curves.add(learn.recorder)
        >>> curves.epochs, curves.told
        ([0, 1, 0, 1], '4 epochs of all layers')
        """
        table, learn = recorder.to_dict(), recorder.learn
        self.epochs += [int(epoch) for epoch in table.pop("epoch")]
        for name, values in table.items():
            self.history.setdefault(name, []).extend(values)
        self.trained += [optim.what_trains(learn.model, learn.layer_groups)] * len(recorder.values)
        self.seconds += recorder.seconds
        begun = len(self.losses)
        self.iters += [begun + n for n in recorder.iters]
        self.losses += recorder.losses
        self.lrs += recorder.lrs

    @property
    def n_frozen(self) -> int:
        """How many rows at the begin are of a part of the layers."""
        return next((i for i, what in enumerate(self.trained) if what == ALL), 0)

    @property
    def told(self) -> str:
        """How many epochs there were of what: `1 epoch of the head, then 3 of all layers`."""
        runs = [(what, len(list(rows))) for what, rows in groupby(self.trained)]
        if not runs:
            return counted(max(map(len, self.history.values()), default=0), "epoch")
        first, *others = runs
        later = [f"{n} of {what}" for what, n in others]
        return ", then ".join([f"{counted(first[1], 'epoch')} of {first[0]}", *later])
