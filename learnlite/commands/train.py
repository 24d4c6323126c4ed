"""`learnlite train`: from a folder of images to a model, its weights and a report."""

import argparse
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from learnlite.commands import data, learner, outcome
from learnlite.commands.given import (
    RefusedError,
    at_least,
    defaults_of,
    options_in,
    rate,
    strength,
    writable,
)
from learnlite.commands.run import Run
from learnlite.interrupt import Stopped


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    data.options(parser)
    learner.options(parser)
    parser.add_argument(
        "--lr",
        type=_rate_or_auto,
        default="auto",
        help="the highest learning rate, or `auto`: what the finder suggests (default: auto)",
    )
    parser.add_argument(
        "--epochs",
        type=at_least(1),
        default=5,
        metavar="N",
        help="of all layers, after the frozen ones (default: %(default)s)",
    )
    parser.add_argument(
        "--freeze-epochs",
        type=at_least(0),
        default=1,
        metavar="N",
        help="before them, of the head alone, if the weights are pretrained (default: %(default)s)",
    )
    parser.add_argument(
        "--mixup",
        type=strength(rate, "--mixup=0.4"),
        nargs="?",
        const=0.4,
        metavar="ALPHA",
        help="mix pairs of photos, above 0: the more, the more evenly (0.4 if no number is given; "
        "default: off)",
    )
    parser.add_argument(
        "--smooth",
        type=strength(_share, "--smooth=0.1"),
        nargs="?",
        const=0.1,
        metavar="EPS",
        help="smooth the labels, from 0 to below 1 (0.1 if no number is given; default: off)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in `--out`, with its settings; only --device, --workers and "
        "--on-bad-image may be others",
    )
    parser.add_argument(
        "--extend", action="store_true", help="with --resume: to more --epochs than it began with"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("learnlite-run"),
        metavar="DIR",
        help="the folder for all that comes of it (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Train a model on images; write weights, a model to load, curves and a report."""
    if args.extend and not args.resume:
        raise RefusedError("`--extend` goes on with a run: it stands beside `--resume`")
    out = writable(args.out)
    args.data = data.lasting(args.data)
    names = defaults_of(options)
    if args.resume:
        given = options_in(options, args.words)
        begun = Run.resumed(out, given | {"data": args.data} if args.data else given, names)
        if begun.is_finished:
            outcome.tell(out, f"nothing to train: the run in {out} is done")
            return
    else:
        begun = Run.new(out, {name: getattr(args, name) for name in names})
    args = argparse.Namespace(**begun.settings, out=out, resume=args.resume)
    dls = data.loaders(args)
    learn = learner.learner(args, dls)
    learn.say = _say
    print(f"{outcome.told(dls)}; everything goes to {out}")
    begun.begin()  # only now: what was refused is no run
    with _telling_how_to_go_on(args), learner.refusing_bad_images(lambda: _way_on(begun)):
        if args.lr == "auto":
            args.lr = learner.found_rate(learn)
            begun.settings |= {"lr": args.lr, "lr_by": "finder"}
            begun.write()
            print(f"The finder suggests a learning rate of {args.lr:g}.")
        curves = _fit(learn, args, begun)
        outcome.write(learn, begun, curves)
    begun.settings["finished"] = True
    begun.write()
    told = f"After {curves.told}: {outcome.last(curves)}."
    outcome.tell(out, told)


@contextmanager
def _telling_how_to_go_on(args: argparse.Namespace) -> Generator[None]:
    """Add to what stops the run the command that goes on with it."""
    try:
        yield
    except (KeyboardInterrupt, Stopped) as stop:
        words = _resuming(args.out)
        for name in ("device", "workers"):
            if getattr(args, name) is not None:
                words += [f"--{name}", str(getattr(args, name))]
        stop.add_note(f"it goes on by: {shlex.join(words)}")
        raise


def _way_on(begun: Run) -> str:
    """How to go on after a photo that did not open, if there is anything to go on with."""
    if not begun.has_begun:
        return ""
    words = [*_resuming(begun.folder), "--on-bad-image", "skip"]
    return f"; the run goes on by: {shlex.join(words)}"


def _resuming(out: Path) -> list[str]:
    return ["learnlite", "train", "--resume", "--out", str(out)]


def _say(text: str) -> None:
    """What a fit says, but for what this command says in its own words."""
    if not text.startswith(("nothing to train:", "nothing of this fit", "nothing to resume")):
        print(text)


def _fit(learn: Any, args: argparse.Namespace, begun: Run) -> Any:
    from learnlite.callbacks import Checkpoint, CSVLogger, LabelSmoothing, MixUp
    from learnlite.commands.history import History

    history = History()
    cbs: list[Any] = [history, CSVLogger("history.csv", append=True, trained=True)]
    if args.mixup is not None:
        cbs.append(MixUp(args.mixup))
    if args.smooth is not None:
        cbs.append(LabelSmoothing(args.smooth))
    checkpoint = Checkpoint(begun.checkpoints)
    checkpoint.way_on = ""  # it is said how, once training has stopped
    cbs.append(checkpoint)
    how = {"cbs": cbs, "resume": args.resume, "extend": bool(begun.settings.get("extended"))}
    if args.scratch or not args.freeze_epochs:
        learn.unfreeze()
        learn.fit_one_cycle(args.epochs, args.lr, **how)
    else:
        learn.fine_tune(args.epochs, args.lr, args.freeze_epochs, **how)
    return history.curves


def _rate_or_auto(text: str) -> float | str:
    return "auto" if text == "auto" else rate(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"it must be a number from 0 to below 1, got {text}")
    return share
