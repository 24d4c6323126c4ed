"""A learner that is killed and goes on, in one process: for the tests of checkpoints."""

import torch
from tiny import digits_loaders, net, silent

from learnlite import Learner, accuracy, on

AFTER_ALL = 5000


class KilledError(Exception):
    pass


def learner(path, *, seed=0, dls=None, **kwargs):
    """Weights, and seeds that are not told, differ with `seed`, as in another process."""
    torch.manual_seed(seed)
    dls = digits_loaders(seed=2) if dls is None else dls
    kwargs = {"metrics": accuracy, "lr": 0.02, "seed": 1} | kwargs
    return silent(Learner(dls, net(0.3), path=path, **kwargs))


def at_batch(n):
    """Ends training, as a kill would, after `n` batches of all that comes."""
    counts = {"left": n}

    def count(learn):
        if learn.training:
            counts["left"] -= 1
            if not counts["left"]:
                raise KilledError

    return on(after_batch=count, order=AFTER_ALL)


def result(learn):
    """All that two learners must have in common, but for the name of their run."""
    return {**learn.state_dict(), "run": ""}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def until_done(make, train, killed_after):
    """Killed after so many batches, again and again, until it comes to its end."""
    for n in range(1000):
        learn = make(seed=n)
        try:
            train(learn, at_batch(killed_after))
        except KilledError:
            continue
        return learn
    raise AssertionError("it came no further")
