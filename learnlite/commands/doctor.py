"""`learnlite doctor`: what is installed, what this machine can do, what is missing for which extra.

Nothing that is missing or broken stops it: versions are read from the packages' records, and
whether they can be imported is tried in a process of its own.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

import learnlite
from learnlite.data import default_device
from learnlite.types import counted

_TRY_SECONDS = 120  # for the imports of one process; a cold disk is slow

# Says before each import what it is about to try: if the process dies, the last line names who.
_TRY_IMPORTS = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
answers, sys.stdout = sys.stdout, sys.stderr
for name in sys.argv[1:]:
    print(json.dumps([name, "ended the process"]), file=answers, flush=True)
    try:
        importlib.import_module(name)
        said = ""
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps([name, said]), file=answers, flush=True)
"""


def options(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(args: argparse.Namespace) -> None:
    """Tell what is installed, what this machine can do, what is missing for which extra."""
    for line in report():
        print(line, flush=True)


def report() -> Iterator[str]:
    """The report, line by line."""
    requirements = _requirements()
    yield f"learnlite {learnlite.__version__} in {Path(learnlite.__file__).parent}"
    yield ""
    yield from _versions(requirements)
    yield ""
    yield from _machine()
    yield ""
    yield "precision"
    for precision in precisions(default_device()):
        yield f"  {precision.name}  {'yes' if precision.works else 'no '}  {precision.found}"
    yield ""
    yield from _extras(requirements)


# ── packages ──


class Requirement(NamedTuple):
    """A line of what learnlite requires: `matplotlib>=3.8.0; extra == "plot"`."""

    name: str
    floor: str
    """The least version, or nothing."""
    nested: tuple[str, ...]
    """Extras of the package itself, as `plot` in `learnlite[plot]`."""
    extra: str
    """The extra of learnlite's that it belongs to, or nothing."""

    @property
    def version(self) -> str | None:
        """The installed version, or None."""
        return _version(self.name)

    @property
    def lacks(self) -> str:
        """What is wrong, in words; nothing where the requirement is met."""
        if self.version is None:
            return f"{self.name} is not installed"
        if _numbers(self.version) and _numbers(self.version) < _numbers(self.floor):
            return f"{self.name} {self.version} is older than {self.floor}"
        return ""


def parse_requirement(line: str) -> Requirement:
    """Take a line of a package's record apart; markers other than `extra` are left out.

    >>> parse_requirement('matplotlib>=3.8.0; extra == "plot"')
    Requirement(name='matplotlib', floor='3.8.0', nested=(), extra='plot')
    """
    what, _, marker = line.partition(";")
    found = re.match(r"\s*([\w.-]+)\s*(?:\[([^]]*)\])?", what)
    name, nested = (found[1], found[2] or "") if found else (what.strip(), "")
    floor = re.search(r">=\s*([\w.]+)", what)
    extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
    return Requirement(
        name,
        floor[1] if floor else "",
        tuple(part.strip() for part in nested.split(",") if part.strip()),
        extra[1] if extra else "",
    )


def _requirements() -> list[Requirement] | None:
    """What the installed learnlite says that it requires; None where it is not installed."""
    try:
        lines = importlib.metadata.requires("learnlite")
    except importlib.metadata.PackageNotFoundError:
        return None
    return [parse_requirement(line) for line in lines or []]


def _needed(requirements: list[Requirement], extra: str) -> list[Requirement]:
    """The packages of an extra, with those of the extras that it includes."""
    needed: list[Requirement] = []
    for requirement in requirements:
        if requirement.extra != extra:
            continue
        if requirement.name == "learnlite":
            for inner in requirement.nested:
                needed += _needed(requirements, inner)
        else:
            needed.append(requirement)
    return list(dict.fromkeys(needed))


def _versions(requirements: list[Requirement] | None) -> Iterator[str]:
    yield "versions"
    system = f"{platform.system()} {platform.machine()}"
    yield f"  {'python':<16}{platform.python_version()}, {system}, {sys.executable}"
    core = [r for r in requirements or [] if not r.extra]
    # Without a record of what is required: what is imported in any case.
    names = [r.name for r in core] or ["torch", "torchvision", "fastprogress", "pillow", "numpy"]
    lacks = {r.name: r.lacks for r in core}
    for name, broken in _tried(names).items():
        version = _version(name)
        trouble = lacks.get(name) or ("is not installed" if version is None else broken)
        yield f"  {name:<16}{version or 'missing'}{f'  <- {trouble}' if trouble else ''}"
    if any(lacks.values()):
        yield f"  what is missing or too old: `{_install('')}`"


def _extras(requirements: list[Requirement] | None) -> Iterator[str]:
    yield "extras"
    if requirements is None:
        yield "  unknown: learnlite is not installed, it runs from its folder;"
        yield "  `pip install -e .` in the folder with `pyproject.toml` installs it"
        return
    extras = list(dict.fromkeys(r.extra for r in requirements if r.extra))
    needed = {extra: _needed(requirements, extra) for extra in extras}
    installed = [r.name for rs in needed.values() for r in rs if r.version is not None]
    broken = _tried(list(dict.fromkeys(installed)))
    for extra in extras:
        troubles = [r.lacks or _as_trouble(r.name, broken.get(r.name, "")) for r in needed[extra]]
        troubles = [trouble for trouble in troubles if trouble]
        if troubles:
            yield f"  {extra:<10}{'; '.join(troubles)}: `{_install(extra)}`"
        else:
            versions = ", ".join(f"{r.name} {r.version}" for r in needed[extra])
            yield f"  {extra:<10}complete ({versions})"


def _as_trouble(name: str, broken: str) -> str:
    return f"{name} {broken}" if broken else ""


def _install(extra: str) -> str:
    return f'pip install "learnlite[{extra}]"' if extra else "pip install --upgrade learnlite"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name) or "unknown"
    except importlib.metadata.PackageNotFoundError:
        return None
    except Exception:  # there is something of that name, with a damaged record
        return "unknown"


def _numbers(version: str) -> tuple[int, ...]:
    """The release as numbers, `2.10.0+cpu` as (2, 10), so that versions compare.

    >>> _numbers("2.9.1") < _numbers("2.10.0+cpu") == _numbers("2.10")
    True
    """
    release = re.match(r"[\d.]*", version)
    numbers = [int(part) for part in (release[0] if release else "").split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _tried(names: list[str]) -> dict[str, str]:
    """What importing each distribution gave: nothing if all is well, else what it raised."""
    modules = {name: _module(name) for name in names if _version(name) is not None}
    said: dict[str, str] = {}
    left = list(dict.fromkeys(modules.values()))
    while left:
        answers = _import_apart(left)
        if not answers:
            break
        said |= answers
        left = [module for module in left if module not in answers]
    wrong = {name: said.get(module, "") for name, module in modules.items()}
    return {
        name: f"cannot be imported ({wrong[name]})" if wrong.get(name) else "" for name in names
    }


def _import_apart(modules: list[str]) -> dict[str, str]:
    """What a fresh process says about importing the modules, as far as it came."""
    command = [sys.executable, "-c", _TRY_IMPORTS, *modules]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TRY_SECONDS, check=False)
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    except OSError:  # no process may be started here: nothing is known
        output = b""
    answers: dict[str, str] = {}
    for line in output.decode(errors="replace").splitlines():
        name, said = json.loads(line)
        answers[name] = said
    return answers


def _module(distribution: str) -> str:
    """The module to import for a distribution: `PIL` for `pillow`."""
    wanted = re.sub(r"[-_.]+", "_", distribution).lower()
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except Exception:  # a damaged record
        return wanted
    tops = {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"}
    tops = {top for top in tops if top.isidentifier() and not top.startswith("_")}
    same = [top for top in tops if top.lower() == wanted]
    return min(same or tops or {wanted})


# ── machine ──


def _machine() -> Iterator[str]:
    device = default_device()
    yield "device"
    yield f"  {device}: {_device_name(device)}"
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    allowed = "" if usable == cores else f", {usable} of them for this process"
    threads = counted(torch.get_num_threads(), "thread")
    yield f"  {counted(cores, 'CPU core')}{allowed}; torch computes with {threads}"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        has = torch.cuda.get_device_properties(device)
        return (
            f"{has.name}, {has.total_memory / 2**30:.0f} GiB, "
            f"compute capability {has.major}.{has.minor}, CUDA {torch.version.cuda}; "
            f"{torch.cuda.device_count()} in all"
        )
    if device.type == "mps":
        return "Apple GPU"
    why = "this torch was built without CUDA" if torch.version.cuda is None else "no GPU was found"
    return f"{cpu_name()} ({why})"


def cpu_name() -> str:
    """The processor, as its maker calls it."""
    name = re.search(r"model name\s*:\s*(.+)", _cpu_record())
    return name[1].strip() if name else platform.processor() or platform.machine()


def _cpu_record() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Found(NamedTuple):
    """Whether a precision works on a device, and how that was found."""

    name: str
    works: bool
    found: str


def precisions(device: torch.device) -> list[Found]:
    """Which precisions a step of training works in on `device`: each is tried.

    >>> [found.works for found in precisions(torch.device("cpu"))][0]
    True
    """
    return [
        _try_precision("fp32", torch.float32, device),
        _try_precision("bf16", torch.bfloat16, device),
        _try_precision("fp16", torch.float16, device),
    ]


def _try_precision(name: str, dtype: torch.dtype, device: torch.device) -> Found:
    try:
        weight = torch.full((8, 8), 0.5, device=device, requires_grad=True)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            out = torch.ones(4, 8, device=device) @ weight
        out.float().sum().backward()
        gradient = weight.grad
        right = gradient is not None and gradient.eq(4).all().item()  # host sync: once
    except Exception as error:  # whatever a driver or a build raises is the answer
        return Found(name, False, f"a matrix product raised {type(error).__name__}: {error}")
    if out.dtype != dtype or not right:
        return Found(name, False, f"a matrix product gave {out.dtype} or wrong gradients")
    return Found(
        name, True, f"a matrix product and its gradient were right; {_speed(name, device)}"
    )


def _speed(name: str, device: torch.device) -> str:
    """Whether the hardware computes in this precision, and how one can tell."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        needed = {"fp32": (0, 0), "fp16": (7, 0), "bf16": (8, 0)}[name]
        if name == "fp32":
            return "the precision that everything knows"
        units = "has" if (major, minor) >= needed else "has no"
        return f"compute capability {major}.{minor} {units} units for it"
    if device.type == "mps" or name == "fp32":
        return "the precision that everything knows" if name == "fp32" else "slower or faster: try"
    flags = set(_cpu_record().split())
    known = {"bf16": {"avx512_bf16", "amx_bf16", "bf16"}, "fp16": {"avx512_fp16", "amx_fp16"}}
    units = sorted(known[name] & flags)
    if units:
        return f"the processor has units for it ({', '.join(units)})"
    if not flags:
        return "whether the processor has units for it is not known"
    return "the processor has no units for it, so it is slower than fp32"
