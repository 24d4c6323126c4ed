"""What every test stands on: fixed seeds, one thread, no window, a home of its own."""

import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes that tests start: there are many
os.environ["MPLBACKEND"] = "Agg"  # before anything imports matplotlib: no test opens a window


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # tiny problems: a second thread only waits for the first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="this machine has no CUDA device"))


def pytest_collection_finish() -> None:
    """Spare the collections of garbage in tests the half million objects of what was imported."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


@pytest.fixture(autouse=True)
def same_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Same seeds, same thread count, and an empty home, whatever ran before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  the library must leave this old global generator alone
    torch.manual_seed(0)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home" / "torch"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real images and weights, which is no part of the project."""
    folder = os.environ.get("LEARNLITE_TEST_DATA", "")
    if not folder:
        pytest.skip("`LEARNLITE_TEST_DATA` names no folder with test data")
    if not Path(folder).is_dir():
        pytest.skip(f"`LEARNLITE_TEST_DATA` names {folder!r}, which is no folder")
    return Path(folder)
