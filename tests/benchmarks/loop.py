"""What a batch costs in learnlite, against a loop written by hand and against other libraries.

    python tests/benchmarks/loop.py                        # every case, every library installed
    python tests/benchmarks/loop.py --cases sgd,conv --peers learnlite --reps 3
    python tests/benchmarks/loop.py --frames               # the stack from `fit` to the model

Every run is a fresh process on one thread, in a terminal, so that bars behave as they do for a
user. Inside it the hand-written loop and the library take turns on the same batches and weights:
raw, library, raw, library, raw. A ratio compares a fit with the two raw ones around it; the table
gives medians over all turns of all processes, of process time except in "wall". The last column is
the check that nobody skips work: the largest difference of a trained weight from that of a
hand-written loop that takes learnlite's rates.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timing import CPU, WALL, Batches, in_terminal
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

TURNS = 3  # of the library, in one process
PEERS = ["learnlite", "fastai", "lightning", "ignite", "skorch"]
CASES = ["sgd", "one-cycle", "adam", "loader", "conv"]

Fit = Callable[[], Any]


# --- what is trained


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def conv(n_in: int, n_out: int) -> nn.Module:
    layer = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(n, n), conv(n, n))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def resnet9(n: int = 8) -> nn.Module:
    start = [conv(3, n), conv(n, 2 * n), nn.MaxPool2d(2), Residual(2 * n)]
    middle = [conv(2 * n, 4 * n), nn.MaxPool2d(2), conv(4 * n, 8 * n), nn.MaxPool2d(2)]
    end = [Residual(8 * n), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8 * n, 10)]
    return nn.Sequential(*start, *middle, *end)


class RowBatches(Batches):
    """Shuffled rows of tensors in memory: what `DataLoaders.from_tensors` does, by hand."""

    def __init__(self, batches: Batches) -> None:
        super().__init__(batches.ready)
        self.x, self.y = (torch.cat(part) for part in zip(*batches.ready, strict=True))

    def __iter__(self) -> Iterator[Any]:
        indices = torch.randperm(len(self.x)).split(64)
        return self.stamps.note((self.x[rows], self.y[rows]) for rows in indices)


def problem(n: int, n_valid: int, *shape: int) -> tuple[Batches, Batches]:
    """Batches of 64 random inputs whose class a linear map of them decides, with noise."""
    generator = torch.Generator().manual_seed(1)
    items = 64 * (n + n_valid)
    x = torch.randn(items, *shape, generator=generator)
    rule = torch.randn(x[0].numel(), 10, generator=generator)
    y = (x.flatten(1) @ rule + torch.randn(items, 10, generator=generator)).argmax(1)
    pairs = [(x.clone(), y.clone()) for x, y in zip(x.split(64), y.split(64), strict=True)]
    return Batches(pairs[:n]), Batches(pairs[n:])


@dataclass
class Case:
    """A model, its batches, and how it is trained: the same for everybody."""

    title: str
    goal: float
    model: Callable[[], nn.Module]
    train: Batches
    valid: Batches
    opt_func: Callable[..., Optimizer]
    lr: float
    epochs: int = 1
    block: int = 100  # batches timed together
    one_cycle: bool = False
    own_opt: bool = False  # learnlite takes its own default optimizer
    only_ours: bool = True  # a case for learnlite alone

    def schedule(self, opt: Optimizer) -> OneCycleLR | None:
        """Torch's one-cycle with learnlite's settings."""
        steps = self.epochs * len(self.train)
        ends = {"div_factor": 25, "final_div_factor": 1e5 / 25}
        return OneCycleLR(opt, self.lr, steps, pct_start=0.25, **ends) if self.one_cycle else None


def make_case(name: str, n: int) -> Case:
    sgd, adam = partial(SGD, momentum=0.9), partial(AdamW, betas=(0.9, 0.99), eps=1e-5)
    if name == "conv":
        title = "ResNet-9 of 8 channels, 3 x 32 x 32, AdamW, one-cycle"
        data = problem(25, 10, 3, 32, 32)
        return Case(title, 1.01, resnet9, *data, adam, 0.01, epochs=3, block=5, one_cycle=True)
    data = mlp, *problem(n, n // 5, 32)
    if name == "sgd":
        return Case("MLP, SGD, constant rate", 1.05, *data, sgd, 0.02, only_ours=False)
    if name == "one-cycle":
        return Case("MLP, SGD, one-cycle", 1.05, *data, sgd, 0.02, one_cycle=True, only_ours=False)
    if name == "adam":
        title = "MLP, our default optimizer : torch's default AdamW, one-cycle"
        return Case(title, 1.0, *data, adam, 3e-3, one_cycle=True, own_opt=True)
    if name == "loader":
        title = "MLP, SGD, `from_tensors` : rows by index"
        return Case(title, 1.05, mlp, RowBatches(data[1]), data[2], sgd, 0.02)
    raise SystemExit(f"there is no case {name!r}; there are {', '.join(CASES)}")


# --- who trains it


def raw(case: Case, model: nn.Module, schedule: Callable[..., Any] = Case.schedule) -> Fit:
    """The loop by hand, with the sums that a learner keeps: train loss, valid loss, accuracy."""
    opt = case.opt_func(model.parameters(), lr=case.lr)
    scheduler = schedule(case, opt)

    def fit() -> None:
        for epoch in range(case.epochs):
            model.train()
            train_loss, n = torch.zeros(()), 0
            for x, y in case.train:
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                opt.step()
                opt.zero_grad()
                if scheduler:
                    scheduler.step()
                train_loss += loss.detach() * len(y)
                n += len(y)
            valid_loss, hits, n_valid = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
            model.eval()
            with torch.no_grad():
                for x, y in case.valid:
                    pred = model(x)
                    valid_loss += F.cross_entropy(pred, y) * len(y)
                    hits += (pred.argmax(1) == y).sum()
                    n_valid += len(y)
            row = train_loss.item() / n, valid_loss.item() / n_valid, hits.item() / n_valid
            print(epoch, *row)

    return fit


def learnlite(case: Case, model: nn.Module) -> Fit:
    """As a user writes it: recorder, metric and bar on."""
    from learnlite import DataLoaders, Learner, accuracy

    train: Any = case.train
    if isinstance(train, RowBatches):
        train = DataLoaders.from_tensors((train.x, train.y), bs=64, device="cpu").train
        plain = train.batches
        train.batches = lambda *at: case.train.stamps.note(plain(*at))
    dls = DataLoaders(train, case.valid, device="cpu")
    settings: dict[str, Any] = {} if case.own_opt else {"opt_func": case.opt_func}
    settings |= {"metrics": accuracy, "wd_bn_bias": True}  # decay for all, as by hand
    learn = Learner(dls, model, loss_func=F.cross_entropy, **settings)
    fit = learn.fit_one_cycle if case.one_cycle else learn.fit
    return lambda: fit(case.epochs, case.lr)


class OurRates:
    """Stands for torch's one-cycle and gives learnlite's rates, which end a step later."""

    def __init__(self, case: Case, opt: Optimizer) -> None:
        from learnlite.schedules import one_cycle, one_cycle_mom

        self.opt, self.steps, self.n = opt, 0, case.epochs * len(case.train)
        self.rate, self.mom = one_cycle(case.lr), one_cycle_mom()
        self.set()

    def set(self) -> None:
        position = self.steps / self.n
        for group in self.opt.param_groups:
            group["lr"] = float(self.rate(position))
            mom = float(self.mom(position))
            group.update({"betas": (mom, 0.99)} if "betas" in group else {"momentum": mom})

    def step(self) -> None:
        self.steps += 1
        self.set()


# --- one process: raw, library, raw, library, raw


def measure(case: Case, make: Callable[[Case, nn.Module], Fit]) -> tuple[dict[str, float], Tensor]:
    """Seconds of a batch and of the whole fit, and the trained weights."""
    torch.manual_seed(0)
    model = case.model()
    fit = make(case, model)
    case.train.stamps.passes.clear()
    case.valid.stamps.passes.clear()
    begun = time.process_time()
    fit()
    whole = time.process_time() - begun
    train, valid = case.train.stamps, case.valid.stamps
    seconds = {"batch": train.cost(CPU, case.block), "wall": train.cost(WALL, case.block)}
    seconds |= {"valid": valid.cost(CPU, case.block), "fit": whole}
    return seconds, torch.cat([p.detach().flatten() for p in model.parameters()])


def worker(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    case = make_case(options.cases, options.n)
    library = learnlite
    if options.worker != "learnlite":
        library = getattr(importlib.import_module("loop_peers"), options.worker)
    by_hand = partial(raw, schedule=OurRates) if case.one_cycle else raw
    # fused rounds differently, which 2,000 steps make large: the reference takes what we take
    same_opt = partial(case.opt_func, fused=True) if case.own_opt else case.opt_func
    _, expected = measure(replace(case, opt_func=same_opt), by_hand)
    before, _ = measure(case, raw)
    rows: list[dict[str, Any]] = []
    for _ in range(TURNS):
        (taken, weights), (after, _) = measure(case, library), measure(case, raw)
        row: dict[str, Any] = {key: [taken[key], (before[key] + after[key]) / 2] for key in taken}
        rows.append(row | {"away": (weights - expected).abs().max().item()})
        before = after
    with open(options.out, "w") as file:
        json.dump(rows, file)


# --- all processes


def compare(options: argparse.Namespace) -> None:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(options.reps):
        for name in options.cases.split(","):
            for peer in options.peers.split(","):
                if peer == "learnlite" or not make_case(name, 5).only_ours:
                    arguments = ["--worker", peer, "--cases", name, "--n", str(options.n)]
                    found.setdefault((name, peer), []).extend(
                        in_terminal(__file__, *arguments) or []
                    )
    print("| case | library | raw, us | us | ratio | goal | wall | valid | whole fit | weights |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (name, peer), rows in found.items():
        if rows:
            print(table_row(make_case(name, 5), peer, rows))


def table_row(case: Case, peer: str, rows: list[dict[str, Any]]) -> str:
    def ratio(key: str) -> str:
        return f"{statistics.median(row[key][0] / row[key][1] for row in rows):.3f}"

    ours, by_hand = (statistics.median(row["batch"][i] for row in rows) * 1e6 for i in (0, 1))
    away = "-" if isinstance(case.train, RowBatches) else f"{max(r['away'] for r in rows):.0e}"
    goal = f"{case.goal}" if peer == "learnlite" else ""
    cells = [case.title, peer, f"{by_hand:.1f}", f"{ours:.1f}", ratio("batch"), goal]
    return f"| {' | '.join([*cells, ratio('wall'), ratio('valid'), ratio('fit'), away])} |"


def frames(options: argparse.Namespace) -> None:
    """Print who stands between a user's `fit` and the model's `forward`."""
    from learnlite import DataLoaders, Learner

    stack: list[str] = []

    class Looking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            frame = sys._getframe()
            while self.training and stack[-1:] != ["learnlite.fits.fit"]:
                stack.append(f"{frame.f_globals['__name__']}.{frame.f_code.co_name}")
                frame = frame.f_back
            return super().forward(x)

    learn = Learner(DataLoaders(*problem(2, 1, 32), device="cpu"), Looking(32, 10))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.01)
    ours = [line for line in reversed(stack) if line.startswith("learnlite")]
    print(f"{len(ours)} frames of learnlite from `fit` to the call of the model: {', '.join(ours)}")
    print(f"then in torch: {', '.join(line for line in reversed(stack) if 'torch' in line)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--reps", type=int, default=5, help="processes for each")
    parser.add_argument("--n", type=int, default=2000, help="batches of an epoch of the MLP")
    parser.add_argument("--frames", action="store_true", help="print the stack and stop")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--out", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    (worker if options.worker else frames if options.frames else compare)(options)


if __name__ == "__main__":
    main()
