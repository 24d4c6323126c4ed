"""What can be told to be wrong before training time is spent on it."""

import copy
import inspect
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.parameter import is_lazy

from learnlite.callback import Callback
from learnlite.checks import check_targets, check_that_some_count, label_error
from learnlite.data import Loader, TensorItems
from learnlite.events import Order
from learnlite.seeds import kept_rng
from learnlite.tally import update_metrics


class Checks(Callback):
    """Looks at the model, the optimizer and the first batch of a fit, and says what does not fit.

    After the first training batch it is silent and costs nothing; a label that is out of range on a
    later batch is still named (on the CPU from the error itself, on a device before it gets there).

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 1))  # but there are two moons
    >>> with learn.no_logging():
    ...     try:
    ...         learn.fit(1)
    ...     except ValueError as error:
    ...         print(error)
    `CrossEntropyLossFlat` needs an output per class, got a prediction of shape (32, 1); ...
    """

    order = Order.SETUP

    def __init__(self) -> None:
        self._hooks = ExitStack()

    @contextmanager
    def around_fit(self) -> Generator[None]:
        learn = self.learn
        if not any(p.requires_grad for p in learn.model.parameters()):
            raise ValueError(
                "no parameter of the model is to be trained: all are frozen (or it has none); "
                "call `learn.unfreeze()` or `learn.freeze_to(-1)`"
            )
        if any(is_lazy(p) for p in learn.model.parameters()):
            self._give_sizes()
        try:
            yield
        except IndexError as error:
            named = (
                label_error(error, learn.pred, learn.yb[0], learn.dls.vocab)
                if len(learn.yb) == 1
                else None
            )
            if named is None:
                raise
            raise named from error
        except (RuntimeError, AttributeError, TypeError) as error:
            self._add_advice(error)
            raise
        finally:
            learn.inspect_batch = None
            self._hooks.close()

    def _add_advice(self, error: Exception) -> None:
        """Say what lies behind an error of torch's, where that can be told."""
        learn = self.learn
        parameter = next(learn.model.parameters(), None)
        if learn.pred is None and parameter is not None:
            for tensor in _tensors(learn.xb):
                if tensor.dtype not in (parameter.dtype, torch.int64) and "ype" in str(error):
                    scaled = "x.float() / 255" if tensor.dtype is torch.uint8 else "x.float()"
                    error.add_note(
                        f"the inputs are {tensor.dtype} and the weights {parameter.dtype}: give "
                        f"the model floats, for example `{scaled}`"
                    )
                    break
        elif isinstance(learn.pred, tuple | list) and learn.loss is None:
            error.add_note(
                f"the model gave a {type(learn.pred).__name__} of {len(learn.pred)} and not a "
                "tensor: choose one in `after_pred` (`self.pred = self.pred[0]`), or pass a "
                "`loss_func` that takes them all"
            )

    def _give_sizes(self) -> None:
        """Run a batch through a model with lazy layers, for those who copy its weights."""
        learn = self.learn
        xb, _ = learn.dls.split(learn.dls.one_batch())
        mode = learn.model.training
        with kept_rng(learn.dls.device), torch.no_grad():
            learn.model.eval()
            learn.model(**xb) if isinstance(xb, dict) else learn.model(*xb)
        learn.model.train(mode)

    def before_batch(self) -> None:
        learn = self.learn
        if not learn.training:
            return
        self._given = learn.yb
        if not learn.yb and not _takes(learn.loss_func, 1):
            raise ValueError(
                f"the batches have no targets, but the loss {learn.loss_func!r} compares with "
                "them; name the key that holds them by `DataLoaders(…, label=…)`, or say by "
                "`n_inp` how many elements are inputs"
            )
        parameter = next(learn.model.parameters(), None)
        for tensor in _tensors((learn.xb, learn.yb)):
            if (
                parameter is not None
                and tensor.device != parameter.device
                and not _spread(learn.model)
            ):
                raise ValueError(
                    f"the batch is on {tensor.device} but the model is on {parameter.device}; "
                    "the learner puts both on `dls.device`, so leave the model there, or choose "
                    f"another by `dls.to({str(parameter.device)!r})`"
                )
        self._check_optimizer()
        self._watch_norms()

    def after_pred(self) -> None:
        learn = self.learn
        self._hooks.close()
        if learn.training and len(learn.yb) == 1 and isinstance(learn.pred, Tensor):
            check_targets(learn.loss_func, learn.pred, learn.yb[0], learn.dls.vocab)

    def after_loss(self) -> None:
        learn = self.learn
        if not learn.training:
            return
        loss: Any = learn.loss
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"the loss must be a tensor, got {type(loss).__name__}; return it without `.item()`"
            )
        if loss.numel() != 1:
            raise ValueError(
                f"the loss must be one number, got the shape {tuple(loss.shape)}; "
                'build the loss function with `reduction="mean"`'
            )
        if not loss.requires_grad:
            raise ValueError(
                "the loss has no gradient: its way back to the model's parameters is cut, for "
                "example by `argmax`, `detach`, `torch.no_grad` or by going through numpy"
            )
        if len(learn.yb) == 1 and loss.isnan():  # host sync: on the first batch
            check_that_some_count(learn.loss_func, learn.yb[0])

    def before_backward(self) -> None:
        learn = self.learn
        trial = copy.deepcopy(learn.metrics)
        for metric in trial:
            metric.reset()
        update_metrics(trial, learn.pred, learn.yb)
        self._guard_labels()
        self.run = False

    def _check_optimizer(self) -> None:
        """What the optimizer does not know would stay as it is, without a word."""
        learn = self.learn
        known = {id(p) for group in learn.opt.param_groups for p in group["params"]}
        unknown = [
            name
            for name, p in learn.model.named_parameters()
            if p.requires_grad and id(p) not in known
        ]
        if unknown:
            raise ValueError(
                f"the optimizer does not know {len(unknown)} of the model's parameters, the first "
                f"is `{unknown[0]}`: the model has changed since the optimizer was made; "
                "pass `reset_opt=True`"
            )
        if isinstance(learn.loss_func, torch.nn.Module) and any(
            p.requires_grad and id(p) not in known for p in learn.loss_func.parameters()
        ):
            warnings.warn(
                "the loss has parameters of its own, which the optimizer does not know: they stay "
                "as they are; make the loss a part of the model to train them",
                stacklevel=2,
            )

    def _watch_norms(self) -> None:
        """Where the last batch has one item, see whether a norm would take a mean over it alone."""
        learn, dl = self.learn, self.learn.dls.train
        if not isinstance(dl, Loader) or dl.drop_last or dl.n % dl.bs != 1 or dl.bs == 1:
            return
        if learn.n_iter < len(dl):
            return

        def look(name: str, module: _BatchNorm, inputs: tuple[Any, ...]) -> None:
            x = inputs[0]
            if module.training and isinstance(x, Tensor) and x.shape[0] * x.shape[1] == x.numel():
                raise ValueError(
                    f"the last batch of an epoch has one item ({dl.n} in batches of {dl.bs}), and "
                    f"`{name}`, a `{type(module).__name__}`, needs two to take a mean over; "
                    "leave it out by `drop_last=True`, or choose another `bs`"
                )

        for name, module in learn.model.named_modules():
            if isinstance(module, _BatchNorm):
                handle = module.register_forward_pre_hook(partial(look, name))
                self._hooks.callback(handle.remove)

    def _guard_labels(self) -> None:
        """Look at the labels to come: all now if they lie in memory, else on their way to a device.

        On the CPU torch names a bad label itself; CUDA would end the process, and MPS not notice.
        """
        learn = self.learn
        targ = learn.yb[0] if len(learn.yb) == 1 else None
        if not isinstance(targ, Tensor) or not isinstance(learn.pred, Tensor):
            return
        if targ.is_floating_point() or learn.yb is not self._given:  # a callback makes its own
            return
        output = torch.zeros(()).expand(learn.pred.shape[1:])
        highest = -1

        def check(labels: Tensor) -> None:
            nonlocal highest
            low, high = (
                int(bound) for bound in torch.aminmax(labels)
            )  # no wait where they lie on the CPU
            if low < 0 or high > highest:
                pred = output.to(labels.device).expand(len(labels), *output.shape)
                check_targets(learn.loss_func, pred, labels, learn.dls.vocab)
                highest = high

        def inspect(batch: Any) -> None:
            labels = learn.dls.split(batch)[1][0]
            if labels.device.type == "cpu":
                check(labels)

        dataset = getattr(learn.dls.train, "dataset", None)
        if isinstance(dataset, TensorItems):
            check(dataset.tensors[-1])  # host sync: once a fit
        elif targ.device.type != "cpu":
            learn.inspect_batch = inspect


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from _tensors(value)


def _takes(function: Any, n: int) -> bool:
    """Whether a function, or a module's `forward`, can be called with `n` arguments."""
    try:
        inspect.signature(getattr(function, "forward", function)).bind(*[None] * n)
    except TypeError:
        return False
    except ValueError:  # built in: it has no signature to look at
        return True
    return True


def _spread(model: torch.nn.Module) -> bool:
    """Whether the model lies on several devices, so that it must move its batches itself."""
    return len({p.device for p in model.parameters()}) > 1
