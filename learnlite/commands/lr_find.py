"""`learnlite lr-find`: a learning rate for a model on images."""

import argparse
from pathlib import Path

from learnlite.commands import data, learner
from learnlite.commands.given import refusing, writable_file
from learnlite.plots import pyplot


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    data.options(parser)
    learner.options(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curve, as lr.png")


def run(args: argparse.Namespace) -> None:
    """Try growing learning rates on a few batches and suggest one."""
    from learnlite.suggest import minimum, slide, steep, valley

    if args.plot is not None:
        _check_plot(args.plot)
    learn = learner.learner(args, data.loaders(args))
    with learner.refusing_bad_images():
        found = learn.lr_find(
            show_plot=args.plot is not None, suggest_funcs=(valley, slide, steep, minimum)
        )
    for name, suggested in found._asdict().items():
        taken = "  which `learnlite train` takes" if name == "valley" else ""
        print(f"{name:8} {'nothing' if suggested is None else f'{suggested:.2e}'}{taken}")
    if args.plot is not None:
        pyplot().gcf().savefig(args.plot, dpi=110)
        print(f"the curve is in {args.plot}")


def _check_plot(file: Path) -> None:
    """Find out before the search whether the curve can be drawn into this file."""
    with refusing():
        pyplot().switch_backend("Agg")
    formats = pyplot().gcf().canvas.get_supported_filetypes()
    writable_file(file, "--plot", [f".{each}" for each in formats])
