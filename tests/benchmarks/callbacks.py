"""What each callback adds to a training batch of a tiny MLP, in microseconds.

    python tests/benchmarks/callbacks.py [--reps 15] [--n 1000]

With and without it take turns in one process; the figure is the median of the differences. A new
callback gets a line in `CALLBACKS`.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from loop import Case, make_case
from timing import CPU

import learnlite as ll

CALLBACKS: dict[str, Callable[[], Any]] = {
    "nothing": list,  # how far the figures can be trusted
    "a callback of one event": lambda: ll.on(after_loss=lambda learn: None),
    "TerminateOnNaN": ll.TerminateOnNaN,
    "GradientAccumulation(64)": lambda: ll.GradientAccumulation(64),
    "GradientClip(norm 1)": ll.GradientClip,
    "GradientClip(value 1)": lambda: ll.GradientClip(value=1.0),
    "ParamScheduler(lr)": lambda: ll.ParamScheduler({"lr": ll.SchedCos(0.02, 0.01)}),
    "ParamScheduler(lr, mom)": lambda: ll.ParamScheduler(
        {"lr": ll.SchedCos(0.02, 0.01), "mom": ll.SchedCos(0.9, 0.8)}
    ),
    "ReduceLROnPlateau": lambda: ll.ReduceLROnPlateau("train_loss"),
    "EarlyStopping": lambda: ll.EarlyStopping("train_loss"),
    "LabelSmoothing": ll.LabelSmoothing,
    "MixUp": ll.MixUp,
    "EMA": ll.EMA,
    "SWA": ll.SWA,
    "MixedPrecision(bf16)": ll.MixedPrecision,
    "BnFreeze": ll.BnFreeze,
    "ShortEpoch(1.0)": lambda: ll.ShortEpoch(1000),
    # real work:
    "SAM": ll.SAM,
    "NaNGuard": ll.NaNGuard,
    "ActivationStats": ll.ActivationStats,
    "GradientStats": ll.GradientStats,
}


def seconds(case: Case, cbs: Any) -> float:
    torch.manual_seed(0)
    case.train.stamps.passes.clear()
    dls = ll.DataLoaders(case.train, device="cpu")
    learn = ll.Learner(dls, case.model(), loss_func=F.cross_entropy, opt_func=case.opt_func)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, case.lr, cbs=cbs)
    return case.train.stamps.cost(CPU, case.block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reps", type=int, default=15)
    parser.add_argument("--n", type=int, default=1000, help="batches of an epoch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = make_case("sgd", options.n)
    print(f"a batch costs {seconds(case, []) * 1e6:.1f} us without any of them")
    for name, make in CALLBACKS.items():
        pairs = [(seconds(case, []), seconds(case, make())) for _ in range(options.reps)]
        added = statistics.median(full - plain for plain, full in pairs)
        print(f"{name:<28}{added * 1e6:8.2f}")


if __name__ == "__main__":
    main()
