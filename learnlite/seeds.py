"""Random draws as pure functions: a seed and a few counters give the same numbers, always.

There is no random state to save or to lose: the order of an epoch is drawn from
`mix(seed, epoch)`, the noise of a step from `mix(seed, step)`.
"""

import operator
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: what splitmix64 adds at each draw


def draw_seed() -> int:
    """A new seed from torch's global generator, so that `torch.manual_seed` decides it."""
    return int(torch.randint(1 << 62, (), dtype=torch.int64))


def as_seed(seed: Any = None) -> int:
    """A seed as a plain whole number, which numpy's are not; a new one instead of None.

    >>> as_seed(np.int64(3)), as_seed() != as_seed()
    (3, True)
    """
    if seed is None:
        return draw_seed()
    try:
        return operator.index(seed)
    except TypeError:
        raise TypeError(f"`seed` is a whole number, or None to draw one, got {seed!r}") from None


def mix(seed: int, *counters: int) -> int:
    """A number of 63 bits that depends on every bit of `seed` and of each counter, in order.

    >>> mix(42, 0, 7) == mix(42, 0, 7), mix(42, 0, 7) == mix(42, 7, 0)
    (True, False)
    """
    state = seed & _MASK
    for counter in counters or (0,):
        # The finalizer of splitmix64: two multiplications spread each bit over all of them.
        state = (state ^ (counter & _MASK)) + _GOLDEN & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> 1


_seed_cpu = torch.default_generator.manual_seed  # looked up once: it is called for every batch


def seed_torch(value: int, device: torch.device | None = None) -> None:
    """Seed torch's default generator, and that of `device` where it has one of its own.

    `torch.manual_seed` does the same for every device there is, at 170 µs; this costs 1 to 2.
    """
    _seed_cpu(value)
    if device is None or (kind := device.type) == "cpu":
        return
    if kind == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(value)
    elif kind == "mps":
        torch.mps.manual_seed(value)


@contextmanager
def kept_rng(device: torch.device | None = None) -> Generator[None]:
    """Give back the random states of torch, numpy and Python as they were before.

    >>> before = torch.get_rng_state()
    >>> with kept_rng():
    ...     noise = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    cpu = torch.get_rng_state()
    cuda = (
        torch.cuda.get_rng_state(device) if device is not None and device.type == "cuda" else None
    )
    mps = torch.mps.get_rng_state() if device is not None and device.type == "mps" else None
    python = random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002  # users and libraries draw from it
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)  # type: ignore[arg-type]  # None only without one
        if mps is not None:
            torch.mps.set_rng_state(mps)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
