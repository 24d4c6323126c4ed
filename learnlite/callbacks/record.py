"""What was measured: losses and hyper-parameters of every batch, metrics of every epoch."""

import csv
import time
import warnings
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learnlite import optim
from learnlite.callback import Callback, did_you_mean
from learnlite.data.batch import batch_size
from learnlite.events import Order
from learnlite.plots import axes, count_along
from learnlite.tally import LossLog, MeanLoss, Smoothed, read_together, update_metrics
from learnlite.types import counted


class Recorder(Callback):
    """Records the loss and the hyper-parameters of every training batch, and a row for every epoch.

    `train_metrics=True` measures loss and metrics over the training pass too. Nothing here waits
    for the device: sums stay there, and each epoch is read at once.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner, accuracy
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 2), metrics=accuracy)
    >>> with learn.no_logging():
    ...     learn.fit(2)
    >>> learn.recorder.names, len(learn.recorder.values), len(learn.recorder.losses)
    (['train_loss', 'valid_loss', 'accuracy'], 2, 10)
    """

    order = Order.RECORD
    controls = ("the record",)

    def __init__(
        self,
        *,
        train_metrics: bool = False,
        valid_metrics: bool = True,
        add_time: bool = True,
        beta: float = 0.98,
    ) -> None:
        self.train_metrics = train_metrics
        self.valid_metrics = valid_metrics
        self.add_time = add_time
        self.beta = beta
        self.metric_names: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self.values: list[list[float]] = []
        self.iters: list[int] = []
        self.seconds: list[float] = []
        """How long each epoch took, with its validation; nan for those before a resume."""
        self.hypers: dict[str, list[Any]] = {"lr": []}
        self.log: list[Any] = []
        self._epochs: list[int] = []
        self._losses = LossLog()
        self._undone: list[list[int]] = []
        self._smoothed = Smoothed(self.beta)
        self._smooth: list[float] = []
        self._train_loss = MeanLoss("loss")
        self._valid_loss = MeanLoss("loss")
        self._measured: dict[str, Tensor] = {}
        self._warned = False
        self._started = time.perf_counter()

    # What was recorded

    @property
    def raw_losses(self) -> list[float]:
        """The loss of every training batch as it was."""
        return list(self._losses.values())

    @property
    def losses(self) -> list[float]:
        """The smoothed loss after every training batch."""
        for i, loss in enumerate(self._losses.values()[len(self._smooth) :], len(self._smooth)):
            counts = not self._undone or not self._is_undone(i)
            self._smooth.append(self._smoothed.add(loss) if counts else self._smoothed.mean)
        return self._smooth

    def undo(self, n: int) -> None:
        """Leave the last `n` batches out of the mean: `RollBack` has taken their steps back.

        What was measured of each of them stays: `raw_losses`.
        """
        end = len(self._losses.values())
        self._undone.append([end - n, end])
        self._smoothed, self._smooth = Smoothed(self.beta), []

    def _is_undone(self, batch: int) -> bool:
        return any(first <= batch < end for first, end in self._undone)

    def smooth_loss(self) -> float:
        """The smoothed training loss now; nan before the first batch. Reads the device."""
        losses = self.losses
        return losses[-1] if losses else float("nan")

    @property
    def lrs(self) -> list[float]:
        """The learning rate of every training batch (of the last layer group)."""
        return [float(value) for value in self.hypers["lr"]]

    @property
    def moms(self) -> list[float]:
        """The momentum of every training batch, if the optimizer has one."""
        return [float(value) for value in self.hypers.get("mom", [])]

    @property
    def names(self) -> list[str]:
        """The names of the columns of `values`."""
        return [name for name in self.metric_names if name not in ("epoch", "time")]

    def last(self, name: str) -> float:
        """The newest value of a column: `last("accuracy")`, `last("valid_loss")`."""
        return self.column(name)[-1]

    def column(self, name: str) -> list[float]:
        """All values of a column, one an epoch."""
        names = self.names
        if name not in names and f"valid_{name}" in names:
            name = f"valid_{name}"
        if not self.values:
            raise ValueError(f"`{name}` has no value yet: no epoch has ended")
        if name not in names:
            raise ValueError(f"`{name}` is not recorded{did_you_mean(name, names)}")
        i = names.index(name)
        return [row[i] for row in self.values]

    def to_dict(self) -> dict[str, list[float]]:
        """The table as columns, with `epoch` first."""
        table: dict[str, list[float]] = {"epoch": list(self._epochs)}
        for i, name in enumerate(self.names):
            table[name] = [row[i] for row in self.values]
        return table

    def to_csv(self, path: str | Path) -> Path:
        """Write the table to a file; gives its path."""
        path = Path(path)
        table = self.to_dict()
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table)
            writer.writerows(zip(*table.values(), strict=True))
        return path

    def __repr__(self) -> str:
        if not self.values:
            return "Recorder(nothing recorded yet)"
        last = ", ".join(f"{n}={v:.4f}" for n, v in zip(self.names, self.values[-1], strict=True))
        epochs, batches = len(self.values), len(self.hypers["lr"])
        of = f"{batches} batch{'' if batches == 1 else 'es'}"
        return f"Recorder({counted(epochs, 'epoch')}, {of}; last: {last})"

    # What a checkpoint keeps

    def state_dict(self) -> dict[str, Any]:
        """The table and what was recorded of every batch."""
        return {
            "names": self.metric_names,
            "values": self.values,
            "iters": self.iters,
            "epochs": self._epochs,
            "hypers": self.hypers,
            "losses": self._losses.values(),  # host sync: once a checkpoint
            "undone": self._undone,
            "train": self._train_sums(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if not state:
            return
        self.metric_names, self._epochs = state["names"], state["epochs"]
        self.values, self.iters = state["values"], state["iters"]
        self.seconds = [float("nan")] * len(self.values)  # of another process, and no two are alike
        for name, values in state["hypers"].items():
            self.hypers.setdefault(name, [])[:] = values  # in place: each has its reader
        self._losses.restore(state["losses"])
        self._undone = state["undone"]
        self._smoothed, self._smooth = Smoothed(self.beta), []
        if state["train"]:
            self._train_loss.load_state_dict(state["train"]["loss"])
            metrics, sums = self.learn.metrics, state["train"]["metrics"]
            if len(metrics) != len(sums):
                told = (
                    f"{counted(len(sums), 'metric')} of the running pass, there are {len(metrics)}"
                )
                raise ValueError(f"the state has the sums of {told}; give the same `metrics`")
            for metric, kept in zip(metrics, sums, strict=True):
                metric.load_state_dict(kept)

    def _train_sums(self) -> dict[str, Any]:
        """What the running training pass has measured, if that is asked for."""
        if not self.train_metrics or not self._train_loss.samples:
            return {}
        metrics = [metric.state_dict() for metric in self.learn.metrics]
        return {"loss": self._train_loss.state_dict(), "metrics": metrics}

    # The events

    def before_fit(self) -> None:
        self._clear()
        learn = self.learn
        names = [metric.name for metric in learn.metrics]
        valid = self.valid_metrics and learn.progress.n_valid > 0
        columns = ["train_loss"]
        if self.train_metrics:
            columns += [f"train_{name}" for name in names] if valid else names
        if valid:
            columns += [
                "valid_loss",
                *(f"valid_{name}" if self.train_metrics else name for name in names),
            ]
        self.metric_names = ["epoch", *columns, *(["time"] if self.add_time else [])]
        if "mom" in optim.hyper_names(learn.opt):
            self.hypers["mom"] = []
        self._readers = [
            (values, optim.hyper_reader(learn.opt, name)) for name, values in self.hypers.items()
        ]

    def before_epoch(self) -> None:
        self._started = time.perf_counter()

    def before_train(self) -> None:
        self._train_loss.reset()
        if self.train_metrics:
            self._reset_metrics()

    def before_validate(self) -> None:
        self._valid_loss.reset()
        self._reset_metrics()

    def after_batch(self) -> None:
        learn = self.learn
        loss = learn.loss
        if loss is None:  # the batch was cancelled before there was one
            return
        if not learn.training:
            self._measure(self._valid_loss)
            return
        self._losses.add(loss)
        for values, read in self._readers:
            values.append(read())
        if self.train_metrics:
            self._measure(self._train_loss)

    def after_train(self) -> None:
        if self.train_metrics:
            self._keep("train", self._train_loss)
        if not self.learn.progress.n_valid:
            self._write_row()

    def after_validate(self) -> None:
        self._keep("valid", self._valid_loss)
        if self.metric_names:  # else this is a `validate` by itself
            self._write_row()

    def after_epoch(self) -> None:
        if self.learn.epoch not in self._epochs[-1:]:  # a cancel has left validation out
            self._write_row()

    def after_fit(self) -> None:
        self._readers = []

    def _write_row(self) -> None:
        """Add the epoch to the table once it is measured, so that every `after_epoch` finds it."""
        epoch = self.learn.epoch
        self.values.append(self._row())
        self._measured = {}
        self._warn_of_nan()
        self._epochs.append(epoch)
        self.iters.append(len(self.hypers["lr"]))
        self.seconds.append(time.perf_counter() - self._started)
        minutes, seconds = divmod(int(self.seconds[-1] + 0.5), 60)
        elapsed = [f"{minutes:02}:{seconds:02}"] if self.add_time else []
        self.log = [epoch, *self.values[-1], *elapsed]

    def _warn_of_nan(self) -> None:
        """Once a fit, and not if it was ended for that: a loss of nan comes back from nowhere."""
        raw, begin = self._losses.values(), self.iters[-1] if self.iters else 0
        bad = next(
            (i for i in range(begin, len(raw)) if not (isfinite(raw[i]) or self._is_undone(i))),
            None,
        )
        if bad is not None and not self._warned and self.learn.cancelled is None:
            self._warned = True
            warnings.warn(
                f"the loss is {raw[bad]} since batch {bad} of this fit; try a lower rate "
                "(`learn.lr_find()`), and `cbs=TerminateOnNaN` to end such a fit at once",
                stacklevel=2,
            )

    def valid_measures(self) -> list[float]:
        """Loss and metrics of a validation pass outside a fit; nan where there was no batch."""
        names = ("loss", *(metric.name for metric in self.learn.metrics))
        nan = torch.tensor(float("nan"))
        return read_together([self._measured.get(f"valid_{name}", nan) for name in names])

    def _reset_metrics(self) -> None:
        for metric in self.learn.metrics:
            metric.reset()

    def _measure(self, mean: MeanLoss) -> None:
        learn = self.learn
        samples = batch_size(learn.yb if learn.yb else learn.xb)
        mean.add(learn.loss, samples)
        update_metrics(learn.metrics, learn.pred, learn.yb)

    def _keep(self, span: str, mean: MeanLoss) -> None:
        """Compute what a pass gave, on the device: the next pass uses the same metrics."""
        if not mean.samples:  # cancelled before its first batch: the columns are nan
            return
        for metric in (mean, *self.learn.metrics):
            try:
                self._measured[f"{span}_{metric.name}"] = torch.as_tensor(metric.compute())
            except Exception as error:
                error.add_note(
                    f"raised by the metric `{metric.name}` at the end of the {span} pass"
                )
                raise
        mean.reset()
        self._reset_metrics()

    def _row(self) -> list[float]:
        """The epoch's values: one read of the device for all of them."""
        measured = self._measured
        values = read_together(list(measured.values()))
        found = dict(zip(measured, values, strict=True))
        smooth = self.smooth_loss()
        row: list[float] = []
        for name in self.names:
            if name == "train_loss" and not self.train_metrics:
                row.append(smooth)
            else:
                prefix = (
                    "train" if self.train_metrics and not self.learn.progress.n_valid else "valid"
                )
                row.append(found.get(name, found.get(f"{prefix}_{name}", float("nan"))))
        return row

    # Plots

    def plot_loss(
        self, skip_start: int = 5, *, with_valid: bool = True, log: bool = False, ax: Any = None
    ) -> Any:
        """The smoothed training loss of every batch and the validation loss of every epoch.

        Of the last fit, without its first `skip_start` batches: after `fine_tune`, of its second.
        """
        ax = axes(ax)
        losses = self.losses
        ax.plot(range(skip_start, len(losses)), losses[skip_start:], label="train")
        if with_valid and self.values and "valid_loss" in self.names:
            ax.plot(self.iters, self.column("valid_loss"), marker="o", markersize=3, label="valid")
        if log:
            ax.set_yscale("log")
        ax.set_ylabel("loss")
        n_fits = self.learn.progress.past_fits + 1
        count_along(ax, "batch" if n_fits == 1 else f"batch (of the last of {n_fits} fits)")
        ax.legend()
        return ax

    def plot_sched(self, keys: Sequence[str] | None = None) -> Any:
        """The hyper-parameters of every batch, one plot each."""
        keys = (
            [key for key, values in self.hypers.items() if values] if keys is None else list(keys)
        )
        panels = axes(n=len(keys))
        for ax, key in zip(panels, keys, strict=True):
            ax.plot([float(value) for value in self.hypers[key]])
            ax.set_ylabel(key)
            count_along(ax, "batch")
        return panels

    def plot_metrics(self) -> Any:
        """Every column over the epochs, training and validation in one plot."""
        names = self.names
        bases = list(
            dict.fromkeys(name.removeprefix("train_").removeprefix("valid_") for name in names)
        )
        panels = axes(n=len(bases))
        for ax, base in zip(panels, bases, strict=True):
            for name in (f"train_{base}", f"valid_{base}", base):
                if name in names:
                    label = name.split("_")[0] if name != base else "valid"
                    ax.plot(self._epochs, self.column(name), marker="o", markersize=3, label=label)
            ax.set_ylabel(base)
            count_along(ax, "epoch")
            ax.legend()
        return panels
