"""Optimizers of `torch.optim`: made with layer groups, their hyper-parameters set by name."""

from learnlite.optim.factories import SGD, Adam, RAdam, RMSProp
from learnlite.optim.groups import (
    ALL,
    HEAD,
    default_splitter,
    freeze_to,
    layer_groups,
    norm_or_bias_parameters,
    norm_parameters,
    trainable,
    what_trains,
)
from learnlite.optim.hyper import (
    check_value,
    get_hyper,
    hyper_names,
    hyper_reader,
    hyper_setter,
    set_hyper,
    spread_lr,
)
from learnlite.optim.lamb import Lamb
from learnlite.optim.make import make_optimizer
from learnlite.optim.state import check_state, drop_unfinished
from learnlite.optim.strides import align_state

__all__ = [
    "ALL",
    "HEAD",
    "SGD",
    "Adam",
    "Lamb",
    "RAdam",
    "RMSProp",
    "align_state",
    "check_state",
    "check_value",
    "default_splitter",
    "drop_unfinished",
    "freeze_to",
    "get_hyper",
    "hyper_names",
    "hyper_reader",
    "hyper_setter",
    "layer_groups",
    "make_optimizer",
    "norm_or_bias_parameters",
    "norm_parameters",
    "set_hyper",
    "spread_lr",
    "trainable",
    "what_trains",
]
