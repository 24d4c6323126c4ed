"""`learnlite train`: from a folder of images to a model, its weights and a report."""

import argparse
import shlex
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from learnlite.commands import data, learner
from learnlite.commands.given import at_least, rate, writable
from learnlite.commands.run import Run
from learnlite.interrupt import Stopped

_LOADING = """from learnlite import load_learner

learn = load_learner("{}")
learn.predict("photo.jpg")"""


def options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    data.options(parser)
    learner.options(parser)
    parser.add_argument(
        "--epochs", type=at_least(1), default=5, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--freeze-epochs",
        type=at_least(0),
        default=1,
        metavar="N",
        help="before them, of the head alone, if the weights are pretrained (default: %(default)s)",
    )
    parser.add_argument(
        "--mixup", type=rate, nargs="?", const=0.4, metavar="ALPHA", help="mix pairs of images"
    )
    parser.add_argument(
        "--smooth", type=_share, nargs="?", const=0.1, metavar="EPS", help="smooth the labels"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in `--out`")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("learnlite-run"),
        metavar="DIR",
        help="default: %(default)s",
    )


def run(args: argparse.Namespace) -> None:
    """Train a model on images; write weights, a model to load, curves and a report."""
    started = time.perf_counter()
    out = writable(args.out)
    begun = Run.resumed(out, args, _defaults()) if args.resume else Run.new(out, args)
    args = begun.args(args)
    dls = data.loaders(args)
    learn = learner.learner(args, dls)
    print(f"{_told(dls)}; everything goes to {out}")
    begun.write()  # only now: what was refused is no run
    with _telling_how_to_go_on(args):
        if args.lr == "auto":
            args.lr = begun.settings["lr"] = learner.found_rate(learn)
            begun.write()
            print(f"The finder suggests a learning rate of {args.lr:g}.")
        curves = _fit(learn, args)
        _write(learn, args, curves, time.perf_counter() - started)


@contextmanager
def _telling_how_to_go_on(args: argparse.Namespace) -> Generator[None]:
    """Add to what stops the run the command that goes on with it."""
    try:
        yield
    except (KeyboardInterrupt, Stopped) as stop:
        defaults = _defaults()
        words = ["learnlite", "train", "--resume", "--out", str(args.out)]
        for name in ("device", "workers"):
            if getattr(args, name) != getattr(defaults, name):
                words += [f"--{name}", str(getattr(args, name))]
        stop.add_note(f"it goes on by: {shlex.join(words)}")
        raise


def _fit(learn: Any, args: argparse.Namespace) -> Any:
    from learnlite.callbacks import Checkpoint, CSVLogger, LabelSmoothing, MixUp
    from learnlite.commands.history import History

    history = History()
    cbs: list[Any] = [history, CSVLogger("history.csv", append=True)]
    if args.mixup is not None:
        cbs.append(MixUp(args.mixup))
    if args.smooth is not None:
        cbs.append(LabelSmoothing(args.smooth))
    cbs.append(Checkpoint(Path(args.out).resolve() / "checkpoints"))
    if args.scratch or not args.freeze_epochs:
        learn.unfreeze()
        learn.fit_one_cycle(args.epochs, args.lr, cbs=cbs, resume=args.resume)
    else:
        learn.fine_tune(args.epochs, args.lr, args.freeze_epochs, cbs=cbs, resume=args.resume)
    return history.curves


def _write(learn: Any, args: argparse.Namespace, curves: Any, seconds: float) -> None:
    from learnlite.interpret import ClassificationInterpretation
    from learnlite.report import write_report

    out = Path(args.out)
    learn.save(out.resolve() / "weights", with_opt=False)
    learn.export(out / "model.ll")
    interp = None
    if learner.is_classifier(learn.dls):
        with learn.no_bar():
            interp = ClassificationInterpretation.from_learner(learn)
    names = [name for name in curves.history if name != "time"]
    last = ", ".join(f"{name} {curves.history[name][-1]:.4f}" for name in names)
    shown = {name: value for name, value in vars(args).items() if name not in ("run", "resume")}
    report = write_report(
        out / "report.html",
        curves,
        interp,
        title=f"{args.arch} on {Path(str(args.data)).name}",
        summary=[
            f"{_told(learn.dls)}. After {len(curves.history['train_loss'])} epochs: {last}.",
            f"It took {seconds:.0f} seconds on {learn.dls.device}.",
        ],
        settings=shown,
        loading=_LOADING.format(out / "model.ll"),
    )
    print(f"After {len(curves.history['train_loss'])} epochs: {last}.")
    print(f"The report: {report}; the model: {out / 'model.ll'}; predict with it by")
    print(f"   learnlite predict {out / 'model.ll'} photo.jpg")


def _told(dls: Any) -> str:
    n_valid = 0 if dls.valid_ds is None else len(dls.valid_ds)
    classes = f", {dls.c} classes" if learner.is_classifier(dls) else ""
    return f"{len(dls.train_ds):,} images to train on, {n_valid:,} to validate with{classes}"


def _defaults() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options(parser)
    return parser.parse_args([])


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"it must be a number from 0 to below 1, got {text}")
    return share
