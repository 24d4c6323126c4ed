"""The learner: data, model, loss and metrics together, and the ways to train them."""

import difflib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from learnlite import checkpoint, optim
from learnlite.callback import Callback
from learnlite.callbacks.check import Checks
from learnlite.callbacks.precision import MixedPrecision
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.show import ProgressBar
from learnlite.data import DataLoaders
from learnlite.dispatch import Callbacks
from learnlite.export.onnx import program_of, write_onnx
from learnlite.export.write import write_learner
from learnlite.inference import Inference
from learnlite.losses import infer_loss
from learnlite.metrics import as_metrics
from learnlite.precision import mixed
from learnlite.seeds import as_seed
from learnlite.summary import Summary, summarize
from learnlite.types import LossFunc, OptFunc, Splitter


class Learner(Inference):
    """Trains a model on data: `Learner(dls, model, metrics=accuracy).fit_one_cycle(5, 3e-3)`.

    - `loss_func`: any function of (prediction, target); if not given, chosen from the targets.
    - `opt_func`: any optimizer of `torch.optim`, a `partial` of one, or ours; AdamW by default.
    - `lr`, `wd`: used where a fit names none; if not given, the optimizer's own. Weight decay
      leaves norm layers and biases out, unless `wd_bn_bias`.
    - `splitter`: splits the model into layer groups, which can be frozen and have rates of their
      own; `train_bn` keeps norm layers of frozen groups training.
    - `seed`: decides every random draw of training; if not given, it is drawn from torch's global
      generator.

    >>> import torch
    >>> from learnlite import DataLoaders, Learner
    >>> x = torch.randn(64, 3)
    >>> dls = DataLoaders.from_tensors((x, x.sum(1, keepdim=True)), bs=16, device="cpu")
    >>> learn = Learner(dls, nn.Linear(3, 1), lr=0.1)
    >>> with learn.no_logging():
    ...     learn.fit(8)
    >>> learn.recorder.last("train_loss") < learn.recorder.losses[0]
    True
    """

    def __init__(
        self,
        dls: DataLoaders,
        model: nn.Module,
        loss_func: LossFunc | None = None,
        opt_func: OptFunc = optim.Adam,
        lr: float | slice | None = None,
        splitter: Splitter = optim.default_splitter,
        cbs: Any = None,
        metrics: Any = None,
        path: str | Path | None = None,
        model_dir: str | Path = "models",
        wd: float | None = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
        default_cbs: bool = True,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        _check_dls(dls)
        if not isinstance(model, nn.Module):
            made = f"; call it: `{model.__name__}(…)`" if isinstance(model, type) else ""
            raise TypeError(f"`model` must be an instance of `nn.Module`, got {model!r}{made}")
        self.dls = dls
        self.model = model
        self.opt_func = opt_func
        self.lr = lr
        self.splitter = splitter
        self.metrics = as_metrics(metrics)
        self.path = Path(path if path is not None else dls.path)
        self.model_dir = Path(model_dir)
        self.wd = wd
        self.wd_bn_bias = wd_bn_bias
        self.train_bn = train_bn
        self.moms = moms
        self.seed = as_seed(seed)
        self.loss_func = self._choose_loss() if loss_func is None else _checked_loss(loss_func)
        self._to_device()
        given = Callbacks(self, cbs)
        defaults = (Checks, Recorder, ProgressBar) if default_cbs else ()
        missing = [cb for cb in defaults if given.find(cb) is None]  # one that is given counts
        self.callbacks = Callbacks(self, [*missing, *given])

    # Callbacks

    @property
    def cbs(self) -> list[Callback]:
        """The callbacks, in the order in which they are called."""
        return list(self.callbacks)

    @property
    def recorder(self) -> Recorder:
        """What was measured."""
        recorder = self.callbacks.find(Recorder)
        if recorder is None:
            raise AttributeError(
                "this learner has no `Recorder`: `default_cbs=False` left it out; "
                "add one by `add_cb`"
            )
        return recorder

    def add_cb(self, cb: Any) -> "Learner":
        """Add a callback, or a list of them, for good."""
        self.callbacks.add(cb)
        return self

    def remove_cb(self, cb: Any) -> "Learner":
        """Take a callback away, given as instance or class."""
        self.callbacks.remove(cb)
        return self

    add_cbs, remove_cbs = add_cb, remove_cb

    @contextmanager
    def added_cbs(self, cbs: Any) -> Generator["Learner"]:
        """With these callbacks, for a while."""
        with self.callbacks.added(cbs):
            yield self

    @contextmanager
    def removed_cbs(self, cbs: Any) -> Generator["Learner"]:
        """Without these callbacks, for a while."""
        with self.callbacks.removed(cbs):
            yield self

    @contextmanager
    def no_bar(self) -> Generator["Learner"]:
        """Without bars, for a while; the rows of the table are printed plainly."""
        with self._shown_by(ProgressBar(bars=False)):
            yield self

    @contextmanager
    def no_logging(self) -> Generator["Learner"]:
        """Without bars and without rows, for a while."""
        with self._shown_by(None):
            yield self

    @contextmanager
    def _shown_by(self, shower: Callback | None) -> Generator[None]:
        shown = [cb for cb in self.callbacks if isinstance(cb, ProgressBar)]
        with self.callbacks.removed(shown), self.callbacks.added(shower if shown else None):
            said = self.say
            self.say = said if shower else _hush
            try:
                yield
            finally:
                self.say = said

    def show_training_loop(self) -> None:
        """Print the loop, with the callbacks that listen at each event."""
        print(self.callbacks.describe())

    def summary(self) -> Summary:
        """The layers, their shapes and parameters, and the memory that training takes; `print` it.

        One training batch goes through the model, and nothing of it remains.
        """
        self._to_device()
        mixed_cb = self.callbacks.find(MixedPrecision)
        precision = self.precision if mixed_cb is None else mixed(self.dls.device, mixed_cb.dtype)
        return summarize(
            self.model,
            self.dls.split(self.dls.one_batch())[0],
            opt=self.opt,
            opt_func=self.opt_func,
            loss_func=self.loss_func,
            groups=self.layer_groups,
            cbs=self.cbs,
            autocast=precision.autocast(),
        )

    # Precision

    def to_bf16(self) -> "Learner":
        """Train and validate in mixed precision with bfloat16, on GPUs and on the CPU."""
        return self._to_mixed(torch.bfloat16)

    def to_fp16(self) -> "Learner":
        """Train and validate in mixed precision with float16, on a GPU."""
        return self._to_mixed(torch.float16)

    def to_fp32(self) -> "Learner":
        """Train and validate in full precision again."""
        self.callbacks.remove([cb for cb in self.cbs if isinstance(cb, MixedPrecision)])
        return self

    def _to_mixed(self, dtype: torch.dtype) -> "Learner":
        mixed(self.dls.device, dtype)  # tells now what would not work later
        return self.to_fp32().add_cb(MixedPrecision(dtype))

    # Files

    def save(self, file: str | Path, with_opt: bool = True) -> Path:
        """Save weights and optimizer to `path/model_dir/file.pth`; gives that path."""
        path = self._file(file)
        opt = self.opt.state_dict() if with_opt and self.opt is not None else None
        name = type(self.opt).__name__ if opt is not None else None
        with self.callbacks.around("save"):
            checkpoint.write(
                path, {"model": checkpoint.weights_of(self.model), "opt": opt, "opt_name": name}
            )
        return path

    def load(
        self, file: str | Path, with_opt: bool = True, device: Any = None, strict: bool = True
    ) -> "Learner":
        """Load what `save` saved, or a plain dict of weights; opened with `weights_only=True`.

        A name that `save` has not written counts from the current folder.
        """
        path, given = self._file(file), Path(file)
        path = given if given.is_file() and not path.is_file() else path
        state = checkpoint.read(path, self.dls.device if device is None else device)
        saved = isinstance(state, dict) and {"model", "opt"} <= set(state)
        opt = state["opt"] if saved and with_opt else None
        weights = state["model"] if saved else state
        checkpoint.check_model(self.model, weights, strict=strict)
        if opt is not None:
            name, ours = state.get("opt_name"), type(self.ready_opt()).__name__
            if name not in (None, ours):
                raise ValueError(
                    f"the file holds the state of `{name}`, but this learner trains with `{ours}`; "
                    "use the same `opt_func`, or load the weights alone: `with_opt=False`"
                )
            optim.check_state(opt, self.ready_opt(), self.model)
        checkpoint.load_weights(self.model, weights, strict=strict)
        if opt is not None:
            self.opt.load_state_dict(opt)
        return self

    def export(self, fname: str | Path = "export.ll") -> Path:
        """Write the file `fname`, from which `load_learner` makes a learner to predict with.

        A relative name is one in the current folder, as for `load_learner`. The file holds weights,
        and plain values for all that is done to an item before the model; neither code nor data.
        What cannot be told so is named.
        """
        path = Path(fname)
        write_learner(self, path)
        return path

    def to_onnx(self, fname: str | Path = "export.onnx", example: Any = None) -> Path:
        """Write the file `fname` for ONNX runtimes: batches of bytes go in, probabilities come out.

        The batch transforms of validation are in it, those of items are not. `example` is a batch
        of inputs, taken from the data if not given.
        """
        path = Path(fname)
        write_onnx(self, path, example)
        return path

    def to_program(self, example: Any = None) -> torch.export.ExportedProgram:
        """What `to_onnx` writes, as a graph of `torch.export`: `program.module()` predicts.

        >>> from learnlite import DataLoaders, Learner
        >>> x = torch.randn(20, 4)
        >>> dls = DataLoaders.from_tensors(x, (x.sum(1) > 0).long(), device="cpu")
        >>> learn = Learner(dls, nn.Linear(4, 2))
        >>> torch.equal(learn.to_program().module()(x), learn.get_preds(dl=dls.test_dl(x))[0])
        True
        """
        return program_of(self, example)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A callback by its name, for notebooks; else say where to find what is not here."""
            if hasattr(type(self), name):  # a property that says itself what it lacks
                return object.__getattribute__(self, name)
            for cb in vars(self).get("callbacks", ()):
                if cb.name == name:
                    return cb
            raise AttributeError(_missing(self, name))

    def __repr__(self) -> str:
        n = sum(p.numel() for p in self.model.parameters())
        names = ", ".join(metric.name for metric in self.metrics) or "none"
        return (
            f"Learner({type(self.model).__name__} with {n:,} parameters on {self.dls.device}, "
            f"loss {_name(self.loss_func)}, optimizer {_name(self.opt_func)}, metrics {names}, "
            f"cbs {self.cbs})"
        )

    def _choose_loss(self) -> LossFunc:
        if self.dls.loss_func is not None:
            return self.dls.loss_func
        _, yb = self.dls.split(self.dls.one_batch())
        if len(yb) != 1 or not isinstance(yb[0], Tensor):
            raise ValueError(
                f"the loss cannot be chosen from the data: a batch has {len(yb)} targets; "
                "pass `loss_func=…`"
            )
        return infer_loss(yb[0])

    def _file(self, file: str | Path) -> Path:
        path = self.path / self.model_dir / file
        return path if path.suffix == ".pth" else path.with_name(path.name + ".pth")


def _missing(learn: Learner, name: str) -> str:
    """What to say of an attribute that the learner does not have."""
    text = f"a `Learner` has no `{name}`"
    advice = _ELSEWHERE.get(name)
    if advice:
        return f"{text}; {advice}"
    names = [each for each in (*dir(learn), *vars(learn)) if not each.startswith("_")]
    close = difflib.get_close_matches(name, names, 1, 0.75)
    return f"{text}; did you mean `{close[0]}`?" if close else text


_ELSEWHERE = {
    "to_channelslast": "pass `cbs=ChannelsLast()`",
    "compile": "pass `cbs=Compile()`",
    "load_state_dict": "a fit goes on from a state by `learn.fit(…, resume=state)`",
}


def _hush(text: str) -> None:
    """Say nothing."""


def _check_dls(dls: Any) -> None:
    if isinstance(dls, DataLoaders):
        return
    advice = "wrap the loaders: `DataLoaders(train, valid)`"
    if isinstance(dls, nn.Module):
        advice = "the data comes first: `Learner(dls, model)`"
    elif isinstance(dls, Dataset):
        advice = "make loaders of datasets: `DataLoaders.from_dsets(train, valid)`"
    raise TypeError(f"`dls` is a {type(dls).__name__}; {advice}")


def _checked_loss(loss_func: LossFunc) -> LossFunc:
    name = getattr(loss_func, "__name__", "")
    if getattr(loss_func, "__module__", "").startswith("learnlite.metrics"):
        raise TypeError(f"`{name}` is a metric and no loss; pass it as `metrics={name}`")
    if isinstance(loss_func, type) or not callable(loss_func):
        name = name or repr(loss_func)
        raise TypeError(
            f"`loss_func` must be a function or an instance, got {loss_func!r}; call it: `{name}()`"
        )
    return loss_func


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", None) or type(thing).__name__
