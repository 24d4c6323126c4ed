"""The optimizer that the fits of a learner share: made once, its groups frozen, its rates set."""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from torch import nn
from torch.optim import Optimizer

from learnlite import optim
from learnlite.loop import Loop
from learnlite.types import OptFunc, Splitter

LR: TypeAlias = float | slice | Sequence[float] | None


class Optimizing(Loop):
    """The loop with its optimizer."""

    opt_func: OptFunc
    lr: float | slice | None
    wd: float | None
    wd_bn_bias: bool
    train_bn: bool
    moms: tuple[float, float, float]
    splitter: Splitter

    def __init__(self) -> None:
        super().__init__()
        self.opt = cast(Optimizer, None)  # until the first fit
        self._own: dict[str, list[float]] = {}  # rates and decay that the optimizer was made with
        self._own_of: Optimizer | None = None

    @property
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The parameters in the groups that `splitter` makes, the body first."""
        return optim.layer_groups(self.model, self.splitter)

    def freeze_to(self, n: int) -> None:
        """Freeze the layer groups before `n`; negative numbers count from the last."""
        optim.freeze_to(self.layer_groups, n, self.model, train_bn=self.train_bn)

    def freeze(self) -> None:
        """Freeze all layer groups but the last."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train all layer groups."""
        self.freeze_to(0)

    def create_opt(self) -> Optimizer:
        """Make the optimizer anew, from `opt_func`: a plain one of `torch.optim`."""
        self.opt = opt = optim.make_optimizer(
            self.opt_func,
            self.model,
            self.layer_groups,
            lr=self.lr,
            wd=self.wd,
            wd_bn_bias=self.wd_bn_bias,
        )
        self._keep_own(opt)
        return opt

    def ready_opt(self, *, reset: bool = False) -> Optimizer:
        """The optimizer, made if there is none yet or if it is to be a new one."""
        opt = self.create_opt() if self.opt is None or reset else self.opt
        if opt is not self._own_of:  # given by the user, as `learn.opt = …`
            self._keep_own(opt)
        return opt

    def _keep_own(self, opt: Optimizer) -> None:
        known = optim.hyper_names(opt)
        self._own = {name: optim.get_hyper(opt, name) for name in ("lr", "wd") if name in known}
        self._own_of = opt

    def _peak(self, lr: LR, reset_opt: bool) -> Any:
        """The highest rate of a schedule: a number, or an array with one for each layer group."""
        self.ready_opt(reset=reset_opt)
        lr = self.lr if lr is None else lr
        rates = optim.spread_lr(self._own["lr"] if lr is None else lr, len(self._own["lr"]))
        optim.check_value(self.ready_opt(), "lr", rates)
        return rates[0] if len(rates) == 1 else np.array(rates)

    def _cycles_momentum(self, moms: Any) -> bool:
        """An optimizer that was made without momentum keeps none, unless it is asked for."""
        return moms is not None or (
            "mom" in optim.hyper_names(self.opt) and any(optim.get_hyper(self.opt, "mom"))
        )

    def _to_device(self) -> None:
        """Put the model where the batches go, unless it lies on several devices."""
        device = self.dls.device
        places = {t.device for t in (*self.model.parameters(), *self.model.buffers())}
        if len(places) == 1 and places != {device}:
            self.model.to(device)
            if self.opt is not None:
                self.opt.load_state_dict(self.opt.state_dict())  # moves its state to the parameters
        if isinstance(self.loss_func, nn.Module):
            self.loss_func.to(device)
