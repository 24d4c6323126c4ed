"""Keeping the weights of the best epoch, or of every one."""

import copy
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from learnlite import checkpoint
from learnlite.events import Order
from learnlite.tracking import Comparison, Tracker


class SaveModel(Tracker):
    """Saves the weights whenever `monitor` is better than before; the fit ends with the best ones.

    They go to `fname` in the learner's folder of models, with the optimizer's state if `with_opt`.
    `every_epoch=True` saves every epoch instead, as `fname_0`, `fname_1`, …; a number n those that
    n divides. `at_end` saves the last weights too, over the best. In both cases, and with
    `load_best=False`, the model stays as training left it: then several can stand side by side, for
    example one for each of two metrics. A full disk ends no fit: the best weights stay in memory
    until they can be saved. The other arguments are those of `Tracker`.

    >>> import tempfile
    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     learn = Learner(dls, nn.Linear(2, 2), lr=0.1, path=folder)
    ...     with learn.no_logging():
    ...         learn.fit(5, cbs=SaveModel())
    >>> learn.validate()[0] == min(learn.recorder.column("valid_loss"))
    True
    """

    order = Order.SAVE
    persist = (*Tracker.persist, "saved", "unsaved")
    refuses = {"one batch": "it would save weights that know a single batch"}

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison = None,
        min_delta: float = 0.0,
        fname: str | Path = "model",
        every_epoch: bool | int = False,
        at_end: bool = False,
        with_opt: bool = False,
        reset_on_fit: bool = True,
        *,
        load_best: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        if not isinstance(every_epoch, int) or every_epoch < 0:
            raise ValueError(
                f"`every_epoch` is true, false or a number of epochs, got {every_epoch!r}"
            )
        if every_epoch and at_end:
            raise ValueError(
                "`every_epoch` saves the last epoch too, so `at_end` has nothing to add; "
                "keep one of them"
            )
        self.fname = fname
        self.every_epoch = every_epoch
        self.at_end = at_end
        self.with_opt = with_opt
        self.load_best = load_best
        file = f"the file {self._stem}{'_…' if every_epoch else ''}.pth"
        decides = load_best and not every_epoch and not at_end
        self.controls = ("final weights", file) if decides else (file,)
        self._began = False
        self.saved: str | None = None
        self.unsaved: dict[str, Any] | None = None
        self.last_saved_path: Path | None = None

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self._began = False  # if the fit is cancelled at its start, its end must change nothing
        try:
            yield
        finally:
            self._began = False

    def before_fit(self) -> None:
        if not self.every_epoch:
            super().before_fit()
        if self.reset_on_fit:
            self.saved = self.unsaved = None
        self._warned = False
        self._check_folder()
        self._began = True

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; in a fit the file that it tells of must be there."""
        super().load_state_dict(state)
        wanted = self.load_best and not self.every_epoch and not self.at_end
        if self._began and wanted and self.saved is not None and self.unsaved is None:
            path = self._path(self.saved)
            if not path.exists():
                raise FileNotFoundError(
                    f"the fit that is resumed had its best weights in {path}, which is not there, "
                    "and would load them at its end; bring the file back, or give the learner the "
                    "`path` that it had"
                )

    def after_epoch(self) -> None:
        epoch = self.learn.epoch
        if self.every_epoch:
            if epoch % self.every_epoch == 0:
                where = self._save(f"{self._stem}_{epoch}", keep=False)
                self.learn.say(f"epoch {epoch}: {where}")
            return
        super().after_epoch()
        if self.new_best:
            where = self._save(self._stem, keep=True)
            if self.at_end and self.unsaved is None:
                where = f"in {self.last_saved_path} until the fit ends"
            self.learn.say(
                f"epoch {epoch}: `{self.monitor}` is {self.best:.5g}, the {self.extreme} so far; "
                f"{where}"
            )
        elif self.unsaved is not None:
            self._save_late(self._stem)

    def after_fit(self) -> None:
        if not self._began or self.every_epoch:
            return
        if self.at_end:
            self.learn.say(f"the last weights are {self._save(self._stem, keep=False)}")
        elif self.saved is not None:
            self._end_with(self.saved)
        elif self.learn.recorder.values:
            warnings.warn(
                f"`{self.monitor}` was finite in no epoch, so `SaveModel` saved nothing; the "
                "weights are those that training ended with",
                stacklevel=2,
            )

    @property
    def _stem(self) -> str:
        return str(self.fname).removesuffix(".pth")

    def _save(self, file: str, *, keep: bool) -> str:
        """Save the weights; what cannot be saved is kept in memory if it is to `keep`."""
        self.unsaved = None
        try:
            self.last_saved_path = self.learn.save(file, with_opt=self.with_opt)
        except OSError as error:
            if keep:
                self.unsaved, self.saved = self._copy(), file
            self._warn(error)
            return "kept in memory" if keep else "not saved"
        self.saved = file
        return f"saved as {self.last_saved_path}"

    def _copy(self) -> dict[str, Any]:
        """What `learn.save` would have written, on the CPU."""
        learn = self.learn
        with learn.callbacks.around("save"):
            weights = checkpoint.weights_of(learn.model)
            return {
                "model": {name: _on_cpu(value) for name, value in weights.items()},
                "opt": copy.deepcopy(learn.opt.state_dict()) if self.with_opt else None,
                "opt_name": type(learn.opt).__name__ if self.with_opt else None,
            }

    def _save_late(self, file: str) -> None:
        """Save what is kept in memory, if that is possible by now."""
        try:
            checkpoint.write(self._path(file), self.unsaved)
        except OSError as error:
            self._warn(error)
        else:
            self.last_saved_path, self.unsaved = self._path(file), None

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"`SaveModel` {error}; training goes on"
                + ("" if self.unsaved is None else ", and the best weights are kept in memory"),
                RuntimeWarning,
                stacklevel=2,
            )

    def _end_with(self, best: str) -> None:
        kept = self.unsaved
        if kept is not None:
            self._save_late(best)
        where = f"the best weights are in {self._path(best)}"
        if self.load_best:
            if kept is None:
                self.learn.load(best, with_opt=self.with_opt)
            else:
                checkpoint.load_weights(self.learn.model, kept["model"])
                if kept["opt"] is not None:
                    self.learn.opt.load_state_dict(kept["opt"])
            where = "the model has its best weights"
        if self.unsaved is not None:
            self._warned = False
            self._warn(OSError(f"could not write {self._path(best)} to the end"))
            where += ", but they are in no file" if self.load_best else " not"
        self.learn.say(f"{where}: `{self.monitor}` {self.shown_best()}")

    def _path(self, file: str) -> Path:
        return Path(self.learn.path) / self.learn.model_dir / f"{file}.pth"

    def _check_folder(self) -> None:
        """Find out before training, not after it, whether a file can be written."""
        folder = self._path(self._stem).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OSError(
                f"`SaveModel` cannot write to {folder} ({error.strerror or error}); give the "
                "learner another `path` or `model_dir`, or it another `fname`"
            ) from error


def _on_cpu(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


SaveModelCallback = SaveModel
