"""One seed for everything that draws, and the algorithms that give the same bits each time."""

import os
import random
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_WORKSPACE = ":4096:8"  # one of the two with which cuBLAS always sums in the same order


def set_seed(
    seed: int, deterministic: bool = False, *, reproducible: bool | None = None
) -> "Seeded":
    """Seed Python, numpy and torch on every device; `deterministic` chooses algorithms, too.

    Then two runs of one script give the same bits, on the CPU always. What it gives says, printed
    or as the last line of a cell, what cannot be promised here; with it, as `with set_seed(42):`
    or by its `undo()`, everything is put back as it was. Operations that have no deterministic
    algorithm on a GPU are warned of by torch where they run. `reproducible` is fastai's name.

    >>> with set_seed(42):
    ...     first = torch.rand(2), np.random.rand(), random.random()
    >>> with set_seed(42):
    ...     again = torch.rand(2), np.random.rand(), random.random()
    >>> torch.equal(first[0], again[0]), first[1:] == again[1:]
    (True, True)
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"`seed` is a whole number, got {seed!r}")
    seeded = Seeded(int(seed), deterministic if reproducible is None else reproducible)
    random.seed(seeded.seed)
    np.random.seed(seeded.seed % (1 << 32))  # noqa: NPY002  # the one that others draw from
    torch.manual_seed(seeded.seed)
    if seeded.deterministic:
        os.environ.setdefault(_CUBLAS, _WORKSPACE)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return seeded


class Seeded:
    """What `set_seed` has set: what it cannot promise, and the way back.

    >>> with set_seed(42, deterministic=True) as seeded:
    ...     print(seeded)
    seed 42 for Python, numpy and torch; deterministic algorithms where there are. Not promised:
    ...
    """

    def __init__(self, seed: int, deterministic: bool) -> None:
        self.seed = seed
        self.deterministic = deterministic
        self.limits = _limits() if deterministic else ()
        """What may differ between two runs all the same."""
        self._before: tuple[Any, ...] | None = (
            random.getstate(),
            np.random.get_state(),  # noqa: NPY002
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            os.environ.get(_CUBLAS),
        )

    def undo(self) -> None:
        """Put generators and settings back as they were; a second time nothing happens."""
        if self._before is None:
            return
        python, numpy, cpu, cuda, on, warn_only, cudnn, benchmark, workspace = self._before
        self._before = None
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if not self.deterministic:
            return
        torch.use_deterministic_algorithms(on, warn_only=warn_only)
        torch.backends.cudnn.deterministic = cudnn
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
        else:
            os.environ[_CUBLAS] = workspace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        text = f"seed {self.seed} for Python, numpy and torch"
        if not self.deterministic:
            return f"{text}; algorithms as they were: `deterministic=True` chooses those too"
        text += "; deterministic algorithms where there are. Not promised:"
        return "\n".join([text, *(f"- {limit}" for limit in self.limits)])


def _limits() -> tuple[str, ...]:
    """What no setting can promise, or what was set too late, on this machine."""
    n_threads = torch.get_num_threads()
    limits = [
        f"the same bits with other than {n_threads} threads (`torch.get_num_threads()`)",
        "the same bits with another version of torch, or on another kind of processor or device",
        "what draws from a generator of its own, as `np.random.default_rng()` without a seed",
        "what depends on time or on the order of files, as `os.listdir` without `sorted`",
    ]
    if not os.environ.get("PYTHONHASHSEED", "").isdecimal():
        limits.append(
            "the order of a set of strings: Python draws it at its start, unless the environment "
            "has `PYTHONHASHSEED=0`"
        )
    if torch.cuda.is_available():
        limits.append(
            "operations on the GPU that have no deterministic algorithm: torch warns of each"
        )
        limits.append("`torch.compile` with autotuning, which measures which kernel is faster")
        if torch.cuda.is_initialized() and not os.environ.get(_CUBLAS):
            limits.append(
                "matrix products on the GPU, which was in use already: call `set_seed` first, or "
                f"start with `{_CUBLAS}={_WORKSPACE}` in the environment"
            )
    if torch.backends.mps.is_available():
        limits.append("anything on `mps`, where torch has no such setting; the CPU has")
    return tuple(limits)
