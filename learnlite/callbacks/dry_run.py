"""One batch of each kind through all that a fit does, before the long run."""

import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from learnlite.callback import Callback
from learnlite.data import Stream
from learnlite.data.batch import batch_size, map_batch
from learnlite.data.torch_loader import kept_generators
from learnlite.events import CancelFitException, Order
from learnlite.tally import read_together
from learnlite.types import Batch, EpochLoader, counted

if TYPE_CHECKING:
    from learnlite.learner import Learner


class DryRun(Callback):
    """Runs a fit with all that is in it on a few batches, says what it met, and ends it.

    That is: a training batch of the usual size and the last one of the epoch, which may be shorter
    (of torch's loaders: the first one, cut to that size); a validation batch; metrics, the
    recorder's row, and a checkpoint, written and read back. What callbacks write below `learn.path`
    or to their `fname` goes to folders that are removed in the end. An error gains a note that says
    where it was met. The weights move by these steps; `learn.check()` does the same and puts all
    back.

    >>> DryRun()                 # learn.fit_one_cycle(20, 3e-3, cbs=DryRun())
    DryRun()
    """

    order = Order.SETUP - 1  # around all others: their files are closed before they are removed
    controls = ("epoch length",)

    report: str = ""
    """What was said at the end."""

    _running = False  # in a fit: `learn.validate` alone is none

    @contextmanager
    def around_fit(self) -> Generator[None]:
        learn, begun, said = self.learn, time.perf_counter(), self.learn.say
        loaders, train = learn.dls.loaders, learn.dls.train
        self._losses: list[tuple[str, Any]] = []
        self._lines: list[str] = []
        self._stage = f"as a folder was made for the files below {learn.path}"
        try:
            self._running = True
            learn.say = _hush  # what others tell of this fit is not so: it is undone
            with _files_elsewhere(learn) as self._folder, kept_generators(learn.dls.valid):
                loaders[0] = ends = _Ends(train, self._reach)
                learn.progress.n_iter = len(ends)
                learn.progress.n_valid = min(learn.progress.n_valid, 1)
                if learn.dls.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(learn.dls.device)
                yield
        except Exception as error:
            error.add_note(f"met by the dry run {self._stage}")
            raise
        finally:
            loaders[0] = train
            learn.say = said
            self._running = False
        seconds = time.perf_counter() - begun
        self.report = "\n  ".join(
            [f"dry run: no fault met in {seconds:.1f} s", *self._lines, _sizes(learn)]
        )
        learn.say(self.report)

    def before_fit(self) -> None:
        self.learn.say = _hush  # the bars have put theirs in its place
        self._reach("as the fit was set up")

    def before_batch(self) -> None:
        learn = self.learn
        kind = "last training" if learn.iter else "first training"
        samples = counted(batch_size(learn.yb or learn.xb), "sample")
        self._batch = f"{kind if learn.training else 'validation'} batch of {samples}"
        self._reach(f"on the {self._batch}")

    def after_batch(self) -> None:
        if self._running and self.learn.loss is not None:  # else the batch was cancelled
            self._losses.append((self._batch, self.learn.loss.detach()))

    def after_train(self) -> None:
        self._look_at_losses()
        self._reach("at the end of the training pass")

    def before_validate(self) -> None:
        self._reach("at the start of the validation pass")

    def after_validate(self) -> None:
        if self._running:
            self._look_at_losses()
        self._reach("at the end of the validation pass")

    def after_epoch(self) -> None:
        self._write_and_read()
        self._reach("at the end of the epoch")
        raise CancelFitException("this was a dry run")

    def after_fit(self) -> None:
        self._reach("at the end of the fit")

    def _reach(self, stage: str) -> None:
        self._stage = stage

    def _look_at_losses(self) -> None:
        names = [name for name, _ in self._losses]
        losses = read_together([loss for _, loss in self._losses])  # host sync: once a pass
        self._losses.clear()
        for name, loss in zip(names, losses, strict=True):
            self._lines.append(f"{name}: loss {loss:.4g}")
            if not isfinite(loss):
                self._reach(f"on the {name}")
                raise ValueError(
                    f"the loss of the {name} is {loss}; look for NaN and infinite values in the "
                    "data, and for a logarithm or a division in model and loss"
                )

    def _write_and_read(self) -> None:
        self._reach(f"as a checkpoint was written below {self._folder}")
        path = self.learn.save("dry_run")
        size = path.stat().st_size
        free = shutil.disk_usage(path.parent).free + size  # it is removed again
        self._reach("as the checkpoint was read back")
        self.learn.load("dry_run")
        self._lines.append(f"checkpoint: {_bytes(size)}, written and read; {_bytes(free)} free")
        if free < 2 * size:
            warnings.warn(
                f"a checkpoint takes {_bytes(size)} and {self._folder} has {_bytes(free)} left: a "
                "new one is written beside the old one, so there must be room for two",
                stacklevel=2,
            )


def _hush(text: str) -> None:
    pass


class _Ends:
    """The first and the last batch of an epoch of `loader`: the usual size, and the smallest."""

    def __init__(self, loader: Any, reach: Callable[[str], None]) -> None:
        self.dataset = getattr(loader, "dataset", None)  # who looks at all labels finds them
        self._loader = loader
        self._reach = reach
        self._rest = _rest(loader)
        gives_any = isinstance(loader, EpochLoader | Sequence)
        self._n = 2 if len(loader) > 1 and (gives_any or self._rest) else 1

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(0)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for i in range(start, self._n):
            self._reach(f"as the {'last' if i else 'first'} training batch was read")
            yield self._read(epoch, len(self._loader) - 1 if i else 0)

    def _read(self, epoch: int, i: int) -> Batch:
        loader = self._loader
        if isinstance(loader, EpochLoader):
            return next(loader.batches(epoch, i))
        if isinstance(loader, Sequence):
            return loader[i]
        batch = loader.one_batch() if isinstance(loader, Stream) else next(iter(loader))
        return map_batch(batch, lambda tensor: tensor[: self._rest]) if i else batch


def _rest(loader: Any) -> int:
    """How many samples the last batch of torch's loader has, if fewer than the others; else 0."""
    if not isinstance(loader, DataLoader) or not loader.batch_size or loader.drop_last:
        return 0
    return len(loader.sampler) % loader.batch_size if isinstance(loader.sampler, Sized) else 0


@contextmanager
def _files_elsewhere(learn: "Learner") -> Generator[Path]:
    """Turn the learner's folders to new ones beside them, for a while; gives the models' own."""
    path, model_dir = learn.path, learn.model_dir
    models = path / model_dir
    with ExitStack() as stack:
        files, checkpoints = (stack.enter_context(_folder_in(p)) for p in (path, models))
        for cb in learn.callbacks:
            stack.enter_context(_file_elsewhere(cb))
        try:
            learn.path, learn.model_dir = files, checkpoints.absolute()
            yield models
        finally:
            learn.path, learn.model_dir = path, model_dir


@contextmanager
def _file_elsewhere(cb: Any) -> Generator[None]:
    """Turn a callback's `fname` that leads out of the learner's folders to one that does not."""
    fname: Any = vars(cb).get("fname")
    if not isinstance(fname, str | Path):
        yield
        return
    path = Path(fname)
    with ExitStack() as stack:
        try:
            if path.is_absolute():
                cb.fname = stack.enter_context(_folder_in(path.parent)) / path.name
            elif ".." in path.parts:
                cb.fname = Path(*[part for part in path.parts if part != ".."])
            yield
        finally:
            cb.fname = fname


@contextmanager
def _folder_in(folder: Path) -> Generator[Path]:
    """A new folder in `folder`, or in the nearest one above it that is there; then removed."""
    there, made = next(above for above in (folder, *folder.parents) if above.exists()), None
    try:
        made = tempfile.mkdtemp(prefix=".dry-run-", dir=there)
        yield Path(made)
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _sizes(learn: "Learner") -> str:
    tensors = [*learn.model.parameters(), *learn.model.buffers()]
    state = [v for values in learn.opt.state.values() for v in values.values()]
    opt = sum(v.nbytes for v in state if isinstance(v, Tensor))
    text = f"memory: model {_bytes(sum(t.nbytes for t in tensors))}, optimizer {_bytes(opt)}"
    if learn.dls.device.type == "cuda":
        text += f", at most {_bytes(torch.cuda.max_memory_allocated(learn.dls.device))} in all"
    return text


def _bytes(n: float) -> str:
    """A size that people can read.

    >>> _bytes(1_500), _bytes(2_340_000_000)
    ('1.5 kB', '2.3 GB')
    """
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"
