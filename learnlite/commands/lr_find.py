"""`learnlite lr-find`: a learning rate for a model on images."""

import argparse
from pathlib import Path

from learnlite.commands import data, learner
from learnlite.commands.given import writable


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    data.options(parser)
    learner.options(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curve, as lr.png")


def run(args: argparse.Namespace) -> None:
    """Try growing learning rates on a few batches and suggest one."""
    from learnlite.plots import pyplot
    from learnlite.suggest import minimum, slide, steep, valley

    if args.plot is not None:
        writable(args.plot.parent)
        pyplot().switch_backend("Agg")
    learn = learner.learner(args, data.loaders(args))
    found = learn.lr_find(
        show_plot=args.plot is not None, suggest_funcs=(valley, slide, steep, minimum)
    )
    for name, suggested in found._asdict().items():
        print(f"{name:8} {'nothing' if suggested is None else f'{suggested:.2e}'}")
    if args.plot is not None:
        pyplot().gcf().savefig(args.plot, dpi=110)
        print(f"the curve is in {args.plot}")
