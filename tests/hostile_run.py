"""Opens hostile files in a process that is watched: `python hostile_run.py FOLDER GROUP …`.

Prints a line of JSON for each file and loader: what came of it, and what was done that must not be.
"""

import contextlib
import difflib  # noqa: F401  what errors import when they are put into words
import encodings.cp437  # noqa: F401  of the names in zip archives
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import learnlite
import learnlite.vision.exported
from learnlite import DataLoaders, Learner, checkpoint, load_learner, register_model
from learnlite.data.archive import extract, read_note
from learnlite.data.download import untar_data
from learnlite.data.tables import read_csv, safe_join
from learnlite.vision import load_mask, open_image, read_image
from learnlite.vision.models.build import create_vision_model
from learnlite.vision.models.weights import read_weights
from learnlite.vision.pixel_store import PixelStore
from learnlite.vision.verify import image_faults

PACKAGE = Path(learnlite.__file__).parent
Loaders = dict[str, Callable[[Path], Any]]


@register_model("hostile/linear")
class Linear(nn.Linear):
    """The model that files name."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)


def learner(path: Path) -> Learner:
    """A learner that loads, of a model as files hold it."""
    x = torch.randn(8, 4)
    dls = DataLoaders.from_tensors((x, x[:, :2]), bs=4, device="cpu")
    return Learner(dls, Linear(4, 2), path=path, model_dir=".")


class Refused(ValueError):
    """What a function says of a file by its result."""


def verified(path: Path) -> Any:
    """What `verify_images` has against a file."""
    for fault in image_faults([path], 0).values():
        raise Refused(fault)


def rows(path: Path) -> Any:
    """A table, and the files that it names."""
    table = read_csv(path)
    return [safe_join(path.parent, row["name"]) for row in table[:10]]


def loaders_of(group: str, folder: Path) -> Loaders:
    """What opens files of a group."""
    learn = learner(folder)
    if group == "pickles":
        return {
            "learn.load": lambda path: learn.load(path.name),
            "checkpoint.read": lambda path: learn.fit(1, resume=checkpoint.read(path)),
            "read_weights": lambda path: read_weights(path),
            "load_learner": load_learner,
            "load_learner(model)": lambda path: load_learner(path, model=Linear(4, 2)),
            "open_image": open_image,
            "load_mask": load_mask,
            "read_csv": rows,
        }
    if group == "exports":
        return {
            "load_learner": load_learner,
            "load_learner(model)": lambda path: load_learner(path, model=nn.Linear(3, 3)),
            "learn.load": lambda path: learn.load(path.name),
            "read_weights": lambda path: read_weights(path),
        }
    if group == "archives":
        return {
            "extract": lambda path: extract(path, folder / "out", bar=False, overwrite=True),
            "untar_data": lambda path: untar_data(path, base=folder / "home", bar=False),
        }
    if group == "images":
        return {
            "open_image": open_image,
            "read_image": read_image,
            "load_mask": load_mask,
            "verify_images": verified,
        }
    if group == "caches":
        return {
            "the image cache": lambda path: PixelStore(2, 10**6, path, key=b"k").get(0),
            "read_note": lambda path: read_note(path.parent / "notes" / path.stem),
        }
    if group == "places":
        return {
            "load_learner": load_learner,
            "learn.load": lambda path: learn.load(path.name),
            "read_weights": read_weights,
            "open_image": open_image,
            "extract": lambda path: extract(path, folder.parent / "home/out", bar=False),
            "read_csv": rows,
        }
    return {"read_csv": rows}


# --- the watch

WATCHED: list[str] = []
_watching = False
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RUNS = (
    "exec",
    "compile",
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.bind",
    "ctypes.dlopen",
    "code.__new__",
    "webbrowser.open",
)
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "os.truncate",
)


def watch(folder: Path) -> None:
    """Note and stop from now on what loading a file must never do."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        global _watching
        if not _watching:
            return
        what = None
        if event in _RUNS:
            what = f"{event} {args[:1]!r:.120}"
        elif event == "import" and args[0] not in sys.modules:
            what = f"import {args[0]}"
        elif event == "open":
            path, mode, flags = args
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
                isinstance(flags, int) and flags & _WRITES
            )
            if writes and not inside(path, folder):
                what = f"open {path!r} for writing"
        elif event in _CHANGES and not inside(args[0], folder):
            what = f"{event} {args[0]!r}"
        if what is not None and not (event in ("compile", "exec") and of_a_traced_network()):
            _watching = False
            WATCHED.append(what + " at " + "".join(traceback.format_stack(limit=4)[:-1])[-300:])
            _watching = True
            raise PermissionError(f"a file wanted: {what}")

    sys.addaudithook(hook)


def of_a_traced_network() -> bool:
    """Whether torch.fx asks, for the code that it writes of a network that it has traced."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.endswith("torch/fx/graph_module.py"):
            return True
        frame = frame.f_back
    return False


def inside(path: Any, folder: Path) -> bool:
    """Whether a path is in the folder; a number is a file that is open already."""
    if isinstance(path, int):
        return True
    return os.path.realpath(os.fsdecode(path)).startswith((str(folder), "/dev/null"))


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """With the watch on."""
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False


# --- the run


def peak() -> int:
    """The most memory there was, in bytes, since `reset`."""
    try:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
        return int(line.split()[1]) << 10
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def reset() -> int:
    """Begin to measure; gives what there is now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by the package, in words of its own."""
    if not isinstance(error, ValueError | TypeError | OSError | ImportError | KeyError):
        return False
    if isinstance(error, Refused):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return any(str(PACKAGE) in frame.filename for frame in frames[-1:])


def tried(open_it: Callable[[Path], Any], path: Path) -> dict[str, Any]:
    """What came of opening a file."""
    WATCHED.clear()
    before, start = reset(), time.perf_counter()
    found: dict[str, Any] = {"outcome": "opened", "says": "", "ours": True}
    signal.setitimer(signal.ITIMER_REAL, 10)  # a pipe would keep it waiting for ever
    try:
        with watched():
            open_it(path)
    except BaseException as error:
        found = {"outcome": type(error).__name__, "says": str(error)[:2000], "ours": is_ours(error)}
        if not found["ours"]:
            found["says"] += "".join(traceback.format_tb(error.__traceback__)[-3:])
    signal.setitimer(signal.ITIMER_REAL, 0)
    found["seconds"] = time.perf_counter() - start
    found["mb"] = (peak() - before) / 2**20
    return found | {"watched": list(WATCHED)}


def too_late(*_: Any) -> None:
    """Break off."""
    raise RuntimeError("it took ten seconds")


def warm_up(groups: list[str], folder: Path) -> None:
    """Open what is in order, and what is only broken: whatever loads late is loaded."""
    learn = learner(folder)
    learn.save("warm")
    learn.load("warm")
    with learn.no_logging():
        learn.fit(1, 1e-3, resume=None)
        learn.export(folder / "warm.ll")
    load_learner(folder / "warm.ll")
    if importlib.util.find_spec("timm") is not None:
        importlib.import_module("timm")
    with contextlib.suppress(Exception):
        create_vision_model("torchvision/squeezenet1_1", 2, pretrained=False)
    for name in ("warm.pth", "warm.ll"):
        (folder / f"cut_{name}").write_bytes((folder / name).read_bytes()[:-9])
    (folder / "cut.txt").write_text("nothing")
    for group in groups:
        for path in (folder / "cut_warm.pth", folder / "cut_warm.ll", folder / "cut.txt"):
            for open_it in loaders_of(group, folder).values():
                with contextlib.suppress(Exception):
                    open_it(path)


def main(folder: Path, groups: list[str]) -> None:
    """Open each file of each group, a folder each, by each of the group's loaders."""
    folder = folder.resolve()
    warm_up(groups, folder / "home")
    watch(folder)
    signal.signal(signal.SIGALRM, too_late)
    for group in groups:
        loaders = loaders_of(group, folder / group)
        for path in sorted((folder / group).iterdir()):
            if path.name == "notes":
                continue
            for name, open_it in loaders.items():
                told = {"group": group, "file": path.name, "loader": name} | tried(open_it, path)
                told["marker"] = any((folder / group).glob("marker")) or any(folder.glob("escaped"))
                print("TOLD" + json.dumps(told), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
