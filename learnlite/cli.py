"""The command line: `learnlite train`, `learnlite predict` and the others.

A command is a module with `options(parser)` and `run(args)`; a row in `COMMANDS` makes it known.
What a user can mend raises an `OSError` or a `RefusedError`, or is refused by `argparse`: text, no
traceback, status 2.
"""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import learnlite
from learnlite.commands import cache, demo, doctor, export, lr_find, predict, train
from learnlite.commands.given import RefusedError
from learnlite.interrupt import Stopped


class Command(NamedTuple):
    """A word after `learnlite`; the docstring of `run` is its help."""

    name: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


COMMANDS: tuple[Command, ...] = (
    Command("train", train.options, train.run),
    Command("predict", predict.options, predict.run),
    Command("lr-find", lr_find.options, lr_find.run),
    Command("export", export.options, export.run),
    Command("demo", demo.options, demo.run),
    Command("doctor", doctor.options, doctor.run),
    Command("cache", cache.options, cache.run),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0 done, 2 not as asked, 130 and 143 stopped.

    130 is by Ctrl-C, 143 by SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    args, unknown = parser.parse_known_args(words)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    if unknown:
        args.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    args.words = words[words.index(args.command) + 1 :]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a log or an old console may know few characters
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, args.command)
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        return _stopped(args.command, "Ctrl-C", stop, 130)
    except Stopped as stop:
        return _stopped(args.command, stop.signal.name, stop, 128 + stop.signal)
    except BrokenPipeError:  # the reader has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, RefusedError) as error:
        print(f"learnlite {args.command}: {error}", file=sys.stderr)
        return 2
    return 0


def _show_warning(command: str, message: Warning | str, *_: object) -> None:
    """A warning as a sentence: the line of code that it came from is not the user's."""
    print(f"learnlite {command}: note: {message}", file=sys.stderr)


def _stopped(command: str, what: str, stop: BaseException, status: int) -> int:
    notes = getattr(stop, "__notes__", [])
    print("\n" + "; ".join([f"learnlite {command}: stopped by {what}", *notes]), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="learnlite", description="Train PyTorch models in a few lines."
    )
    parser.add_argument("--version", action="version", version=learnlite.__version__)
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    for name, options, run in COMMANDS:
        what = (run.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=what, description=what)
        options(command)
        command.set_defaults(run=run, refuse=command.error)
    return parser
