"""One seed, the same bits; and what cannot be promised is said."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from learnlite import set_seed

SCRIPT = """
import hashlib, random, sys
import numpy as np
import torch
from torch import nn
from learnlite import EMA, DataLoaders, GradientClip, Learner, MixUp, accuracy, set_seed


class Items:
    def __len__(self):
        return 48

    def __getitem__(self, i):
        noise = torch.rand(3, 8, 8) + random.random() + float(np.random.rand())
        return noise + i % 4, i % 4


def trained(seed, n_workers):
    set_seed(seed, deterministic=True)
    dls = DataLoaders.from_dsets(Items(), Items(), bs=8, num_workers=n_workers, device="cpu")
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )
    learn = Learner(dls, net, metrics=accuracy, cbs=[MixUp(), EMA(0.9), GradientClip(1.0)])
    with learn.no_logging():
        learn.fit_one_cycle(2, 0.01)
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    return f"{digest.hexdigest()} {learn.recorder.values}"


if __name__ == "__main__":
    for seed in sys.argv[2:]:
        print(trained(int(seed), int(sys.argv[1])))
"""


def run(tmp_path, n_workers, *seeds):
    """What each seed gives, one after the other in a process of their own."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(n_workers), *map(str, seeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    return done.stdout.splitlines()


def test_two_processes_with_one_seed_give_the_same_bits(tmp_path):
    first, other, again = run(tmp_path, 0, 7, 8, 7)
    assert run(tmp_path, 2, 7) == [first] == [again]
    assert other != first


def settings():
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


def draws():
    return float(torch.rand(())), random.random(), np.random.rand()  # noqa: NPY002


def test_it_is_undone_with_every_generator_and_setting(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = settings()
    expected = [draws() for _ in range(2)]
    with set_seed(1):
        pass
    set_seed(5)
    first = draws()
    with set_seed(1, deterministic=True) as seeded:
        assert settings() == (True, True, True, False, ":4096:8")
        draws()
    seeded.undo()  # nothing, the second time
    assert settings() == before
    with set_seed(5):
        assert draws() == first
        second = draws()
    set_seed(5).undo()
    with set_seed(5):
        draws()
        assert draws() == second
    assert expected[0] != expected[1]


def test_a_setting_that_was_there_is_kept(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with set_seed(1, deterministic=True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_it_says_what_cannot_be_promised(monkeypatch):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with set_seed(3, deterministic=True) as seeded:
        said = repr(seeded)
    assert "seed 3" in said and f"other than {torch.get_num_threads()} threads" in said
    assert "PYTHONHASHSEED=0" in said
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    with set_seed(3, reproducible=True) as seeded:
        assert seeded.deterministic and "PYTHONHASHSEED" not in repr(seeded)
    with set_seed(3) as seeded:
        assert not seeded.limits and "deterministic=True" in repr(seeded)


def test_seeds_of_any_size_are_taken_and_what_is_none_is_refused():
    for seed in (0, np.int64(3), 1 << 40, -5):
        with set_seed(seed):
            first = draws()
        with set_seed(int(seed)):
            assert draws() == first
    for wrong in (1.5, "42", None, True):
        with pytest.raises(TypeError, match="`seed` is a whole number"):
            set_seed(wrong)
