"""`learnlite demo`: from nothing to a trained network, with pictures of how it went."""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learnlite.commands.given import at_least, rate, writable
from learnlite.data import DataLoaders
from learnlite.data.toy import ShapeSet, load_shapes, make_shapes
from learnlite.learner import Learner
from learnlite.metrics import accuracy
from learnlite.plots import pyplot
from learnlite.seeds import kept_rng, seed_torch
from learnlite.types import counted

_GOAL = 0.95


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("learnlite-demo"),
        metavar="DIR",
        help="where pictures and plots go (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs", type=at_least(1), default=8, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--lr", type=rate, default=0.01, help="the highest learning rate (default: %(default)s)"
    )
    parser.add_argument(
        "--images",
        type=at_least(50),
        default=5000,
        metavar="N",
        help="pictures to train on; a fifth as many are held out (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="decides weights and order; the pictures stay the same (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Draw a small image set, train a convnet on it, plot how it went."""
    started = time.perf_counter()
    out = writable(args.out)
    plots = _can_plot()

    shapes = _pictures(out, args.images)
    learn = demo_learner(shapes, seed=args.seed)
    n_parameters = sum(parameter.numel() for parameter in learn.model.parameters())

    print("\n2. The learning-rate finder tries 100 batches and puts everything back.")
    suggested = learn.lr_find(show_plot=plots).valley
    if suggested is not None:
        print(f"   It suggests a careful lr={suggested:.1e}; this run takes --lr {args.lr:g}.")
    saved = [_save(pyplot().gcf(), out / "lr_finder.png")] if plots else []

    print(
        f"\n3. One-cycle training: {counted(args.epochs, 'epoch')}, {n_parameters:,} parameters, "
        f"on {learn.dls.device}."
    )
    learn.fit_one_cycle(args.epochs, args.lr)
    reached = learn.recorder.last("accuracy")
    if plots:
        saved += [
            _save(learn.recorder.plot_loss().figure, out / "losses.png"),
            _save(learn.recorder.plot_sched()[0].figure, out / "schedule.png"),
            _save(_plot_predictions(learn, shapes), out / "predictions.png"),
        ]

    n_valid = len(shapes.valid[1])
    print(f"\n4. {reached:.1%} of {n_valid:,} held-out pictures are named rightly.")
    if reached < _GOAL:
        print(
            f"   That is below the {_GOAL:.0%} which the demo's own settings reach: "
            "more epochs or more images help."
        )
    if plots:
        print(f"   Plots in {out}: {', '.join(path.name for path in saved)}")
    else:
        print('   No plots were drawn: they need `pip install "learnlite[plot]"`.')
    print(f"   All of it took {time.perf_counter() - started:.0f} seconds.")
    print(_next_steps(out, out / _set_name(args.images), args.seed))


def demo_learner(shapes: ShapeSet, *, seed: int = 0, bs: int = 64) -> Learner:
    """The demo's learner: the small convnet on the pictures, the same weights for the same seed."""
    dls = DataLoaders.from_tensors(shapes.train, shapes.valid, bs=bs, val_bs=256, seed=seed)
    dls.vocab = shapes.vocab
    with kept_rng():
        seed_torch(seed)
        model = small_convnet(len(shapes.vocab))
    return Learner(dls, model, metrics=accuracy, seed=seed)


def small_convnet(n_classes: int) -> nn.Module:
    """Five convolutions for small colour pictures given as bytes.

    >>> small_convnet(10)(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape
    torch.Size([2, 10])
    """
    convnet = nn.Sequential(
        FromBytes(),
        nn.AvgPool2d(2),  # half the resolution shows the shapes well, at a quarter of the work
        *_convolution(3, 16),
        nn.MaxPool2d(2),
        *_convolution(16, 32),
        nn.MaxPool2d(2),
        *_convolution(32, 64),
        *_convolution(64, 64),
        nn.MaxPool2d(2),
        *_convolution(64, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, n_classes),
    )
    return convnet.to(
        memory_format=torch.channels_last
    )  # a step takes 17 ms so, not 24, on 2 cores


class FromBytes(nn.Module):
    """Makes bytes, 0 to 255, into numbers around 0: pictures stay small until they are used."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() - 115) / 60


def _convolution(n_in: int, n_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)


def _pictures(out: Path, n_train: int) -> ShapeSet:
    folder = out / _set_name(n_train)
    n_valid = n_train // 5
    if folder.exists():
        print(f"1. The pictures are there already: {folder}")
    else:
        print(f"1. Drawing {n_train + n_valid:,} pictures of ten shapes into {folder}")
    started = time.perf_counter()
    shapes = load_shapes(make_shapes(folder, n_train, n_valid))
    print(f"   {', '.join(shapes.vocab)}: ready after {time.perf_counter() - started:.1f} s")
    return shapes


def _set_name(n_train: int) -> str:
    return f"shapes-{n_train}"


def _next_steps(out: Path, folder: Path, seed: int) -> str:
    return f"""
What to try next
   learnlite demo --epochs 3     how far do three epochs get?
   learnlite demo --lr 1         a rate that is much too high: look at {out / "losses.png"}
   learnlite demo --seed {seed + 1:<8}other weights, other order: how much is luck?
   learnlite doctor              what this machine can do

   and in Python, with a network of your own:

   from learnlite import DataLoaders, Learner, accuracy
   from learnlite.data import load_shapes
   from learnlite.commands.demo import small_convnet

   shapes = load_shapes({str(folder)!r})
   dls = DataLoaders.from_tensors(shapes.train, shapes.valid)
   learn = Learner(dls, small_convnet(10), metrics=accuracy)
   learn.fit_one_cycle(3, 1e-2)"""


# ── plots ──


def _can_plot() -> bool:
    """Whether matplotlib is there and works; from now on it draws into files, without a window."""
    try:
        pyplot().switch_backend("Agg")
    except Exception as error:  # a broken installation raises anything
        if not isinstance(error.__cause__, ModuleNotFoundError):
            print(f"matplotlib cannot be used: {error}\n")
        return False
    return True


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    pyplot().close(figure)
    return path


def _plot_predictions(learn: Learner, shapes: ShapeSet, *, rows: int = 4, columns: int = 6) -> Any:
    """Held-out pictures with what the network says: first where it is most wrong, then others."""
    x, y = shapes.valid
    probs = _probabilities(learn, x)
    pred = probs.argmax(1)
    wrong = (pred != y).nonzero().flatten()
    surest = wrong[probs[wrong, pred[wrong]].argsort(descending=True)][: rows * columns // 2]
    right = (pred == y).nonzero().flatten()
    n_right = rows * columns - len(surest)
    right = right[:: max(1, -(-len(right) // n_right))]  # some of every class: they lie in order
    shown = torch.cat([surest, right]).tolist()

    figure, panels = pyplot().subplots(
        rows, columns, figsize=(1.7 * columns, 1.9 * rows), constrained_layout=True
    )
    for ax in panels.flat:
        ax.axis("off")
    for ax, i in zip(panels.flat, shown, strict=False):
        said, truth = shapes.vocab[int(pred[i])], shapes.vocab[int(y[i])]
        title = f"{said}, {probs[i, pred[i]]:.0%}"
        if said != truth:
            title = f"{title}\nis: {truth}"
        ax.imshow(x[i].permute(1, 2, 0).numpy())
        ax.set_title(title, fontsize=9, color="#157a3c" if said == truth else "#b3261e")
    figure.suptitle(f"{len(wrong):,} of {len(y):,} held-out pictures are wrong")
    return figure


@torch.no_grad()
def _probabilities(learn: Learner, x: Tensor) -> Tensor:
    learn.model.eval()
    batches = x.split(256)
    return torch.cat([learn.model(xb.to(learn.dls.device)).softmax(1).cpu() for xb in batches])
