"""Data that is always there: two moons and the shapes."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learnlite.commands.demo import demo_learner
from learnlite.data import load_shapes, make_shapes, two_moons
from learnlite.data.toy import SHAPE_CLASSES, draw_shape

# --- two moons


@pytest.mark.parametrize("n", [2, 3, 100, 1001])
def test_moons_are_balanced_and_typed(n):
    x, y = two_moons(n)
    assert x.shape == (n, 2) and x.dtype == torch.float32
    assert y.shape == (n,) and y.dtype == torch.int64
    assert abs(int((y == 0).sum()) - int((y == 1).sum())) == n % 2


def test_moons_without_noise_lie_on_two_half_circles():
    x, y = two_moons(500, noise=0.0)
    upper, lower = x[y == 0], x[y == 1]
    assert torch.allclose(upper.norm(dim=1), torch.ones(250), atol=1e-6)
    assert upper[:, 1].min() >= -1e-6
    assert torch.allclose((lower - torch.tensor([1.0, 0.5])).norm(dim=1), torch.ones(250))
    assert lower[:, 1].max() <= 0.5 + 1e-6
    # Spread over the whole arcs, and each tip lies inside the other moon.
    assert upper[:, 0].min() < -0.95 and upper[:, 0].max() > 0.95
    assert lower[:, 0].min() < 0.05 and lower[:, 0].max() > 1.95


def test_the_noise_of_moons_is_its_standard_deviation():
    clean, y = two_moons(20_000, noise=0.0, seed=3)
    noisy, same_y = two_moons(20_000, noise=0.3, seed=3)
    assert torch.equal(y, same_y)
    assert torch.allclose((noisy - clean).std(0), torch.tensor([0.3, 0.3]), atol=0.006)
    assert (noisy - clean).mean(0).abs().max() < 0.01


def test_moons_come_in_random_order():
    _, y = two_moons(1000)
    changes = int((y[1:] != y[:-1]).sum())
    assert 400 < changes < 600


def test_moons_depend_on_the_seed_alone():
    before = torch.get_rng_state()
    first = two_moons(64, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    again, other = two_moons(64, seed=5), two_moons(64, seed=6)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    ("given", "message"), [({"n": 1}, "`n` must be at least 2"), ({"noise": -0.1}, "`noise`")]
)
def test_moons_say_what_they_cannot_do(given, message):
    with pytest.raises(ValueError, match=message):
        two_moons(**given)


# --- one picture


def picture(*key, size=32):
    return np.asarray(draw_shape(*key, size=size))


def test_a_picture_is_a_function_of_seed_split_class_and_number():
    key = (0, "train", "star", 3)
    first = picture(*key)
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    np.random.seed(1)  # noqa: NPY002  the old global generator must not matter
    draw_shape(9, "val", "ring", 1)
    assert np.array_equal(first, picture(*key))
    others = [(1, "train", "star", 3), (0, "val", "star", 3), (0, "train", "star", 4)]
    for other in others:
        assert not np.array_equal(first, picture(*other))
    assert not np.array_equal(first, picture(0, "train", "heart", 3))


def test_drawing_leaves_the_global_random_states_alone():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    picture(0, "train", "star", 3)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_pictures_use_the_whole_range_of_light_and_colour():
    pictures = np.stack([picture(0, "train", name, i) for name in SHAPE_CLASSES for i in range(10)])
    assert pictures.min() < 10 and pictures.max() > 245
    means = pictures.reshape(len(pictures), -1).mean(1)
    assert means.min() < 90 and means.max() > 150


# --- the set on disk


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("sets") / "small", 53, 20, size=32)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")
    }


def test_the_set_lies_in_folders_like_imagenette(small_set):
    assert sorted(path.name for path in small_set.iterdir()) == ["shapes.json", "train", "val"]
    for split in ("train", "val"):
        assert tuple(sorted(path.name for path in (small_set / split).iterdir())) == SHAPE_CLASSES
    counts = [len(list((small_set / "train" / name).iterdir())) for name in SHAPE_CLASSES]
    assert sum(counts) == 53 and set(counts) == {5, 6}
    with Image.open(small_set / "val" / "ring" / "ring_0001.jpg") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (32, 32), "RGB")


def test_the_same_seed_gives_the_same_bytes(small_set, tmp_path):
    again = make_shapes(tmp_path / "again", 53, 20, size=32)
    other = make_shapes(tmp_path / "other", 53, 20, size=32, seed=1)
    assert files(small_set) == files(again)
    assert not set(files(small_set).values()) & set(files(other).values())


def test_a_larger_set_begins_with_the_smaller_one(small_set, tmp_path):
    larger = files(make_shapes(tmp_path / "larger", 80, 30, size=32))
    assert {name: larger[name] for name in files(small_set)} == files(small_set)


def test_no_picture_stands_twice(small_set):
    assert len(set(files(small_set).values())) == 73


def test_loading_gives_bytes_labels_and_names(small_set):
    train, valid, vocab = load_shapes(small_set)
    assert vocab == list(SHAPE_CLASSES)
    assert train[0].shape == (53, 3, 32, 32) and train[0].dtype == torch.uint8
    assert valid[0].shape == (20, 3, 32, 32) and valid[1].tolist() == sorted([*range(10)] * 2)
    assert train[1].bincount().tolist() == [6, 6, 6, *[5] * 7]
    with Image.open(small_set / "train" / "star" / "star_0000.jpg") as image:
        i = train[1].tolist().index(vocab.index("star"))
        assert np.array_equal(np.asarray(image), train[0][i].permute(1, 2, 0).numpy())


def test_a_set_that_is_there_is_used_again(small_set):
    before = {path: path.stat().st_mtime_ns for path in small_set.rglob("*")}
    assert make_shapes(small_set, 53, 20, size=32) == small_set
    assert {path: path.stat().st_mtime_ns for path in small_set.rglob("*")} == before


def test_a_set_of_other_parameters_is_refused_and_left_alone(small_set):
    before = files(small_set)
    message = "holds shapes made with n_valid=20, seed=0, wanted n_valid=30, seed=4; name another"
    with pytest.raises(FileExistsError, match=message):
        make_shapes(small_set, 53, 30, size=32, seed=4)
    assert files(small_set) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already and holds no set of shapes"):
        make_shapes(tmp_path, 10, 10, size=16)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "set").mkdir()
    assert len(files(make_shapes(tmp_path / "set", 10, 10, size=16))) == 20


def test_a_set_that_lost_pictures_is_noticed(small_set, tmp_path):
    damaged = shutil.copytree(small_set, tmp_path / "damaged")
    (damaged / "train" / "star" / "star_0000.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1 pictures? of the shapes in .* gone"):
        make_shapes(damaged, 53, 20, size=32)


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    drawn = []

    def stop_at_the_fifth(*key, size):
        drawn.append(key)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return draw_shape(*key, size=size)

    monkeypatch.setattr("learnlite.data.toy.shapes.draw_shape", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path / "set", 10, 10, size=16)
    assert list(tmp_path.iterdir()) == []
    assert len(files(make_shapes(tmp_path / "set", 10, 10, size=16))) == 20


KILLED = """
import os, sys
from learnlite.data.toy import shapes

def draw(*key, size, draw=shapes.draw_shape, drawn=[]):
    drawn.append(key)
    if len(drawn) == 5:
        os.kill(os.getpid(), 9)
    return draw(*key, size=size)

shapes.draw_shape = draw
shapes.make_shapes(sys.argv[1], 10, 10, size=16)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_no_half_made_set(tmp_path):
    folder = tmp_path / "set"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -9
    assert not folder.exists()
    with pytest.raises(FileNotFoundError, match="make one with `make_shapes"):
        load_shapes(folder)
    assert len(files(make_shapes(folder, 10, 10, size=16))) == 20


def test_two_processes_that_make_the_same_set_agree(tmp_path, monkeypatch):
    """The other one is done just before this one puts its set in place."""
    folder, other = tmp_path / "set", make_shapes(tmp_path / "other", 10, 10, size=16)
    monkeypatch.setattr(
        "learnlite.data.toy.shapes.json",
        type("Slow", (), {"loads": json.loads, "dumps": lambda it: copied(it)}),
    )

    def copied(wanted):
        shutil.copytree(other, folder)
        return json.dumps(wanted)

    assert make_shapes(folder, 10, 10, size=16) == folder
    assert files(folder) == files(other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "set"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_train": 9}, "`n_train` must be at least 10, one of each class, got 9"),
        ({"n_valid": 0}, "`n_valid` must be at least 10, one of each class, got 0"),
        ({"size": 8}, "`size` must be at least 16 pixels to show a shape, got 8"),
    ],
)
def test_a_set_that_cannot_be_is_refused(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        make_shapes(tmp_path / "set", **given)
    assert list(tmp_path.iterdir()) == []


# --- how hard it is


def ridge_accuracy(shapes):
    """The best held-out accuracy of least squares on the pixels, over all strengths of decay."""
    (x, y), (x_valid, y_valid), _ = shapes
    pixels = nn.functional.avg_pool2d(torch.cat([x, x_valid]).float() / 255, 2).flatten(1)
    pixels = (pixels - pixels[: len(x)].mean(0)) / pixels[: len(x)].std(0)
    train, held_out = pixels[: len(x)], pixels[len(x) :]
    values, vectors = torch.linalg.eigh((train @ train.T).double())
    projected = (held_out @ train.T).double() @ vectors
    targets = vectors.T @ (nn.functional.one_hot(y, 10).double() - 0.1)
    best = 0.0
    for decay in (10.0**k for k in range(9)):
        pred = (projected / (values + decay) @ targets).argmax(1)
        best = max(best, (pred == y_valid).double().mean().item())
    return best


def test_a_linear_model_on_pixels_stays_far_below_sixty_percent(tmp_path):
    shapes = load_shapes(make_shapes(tmp_path / "set", 500, 200))
    assert ridge_accuracy(shapes) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_convnet_passes_ninety_five_percent(tmp_path_factory, seed):
    folder = tmp_path_factory.getbasetemp() / "shapes"
    learn = demo_learner(load_shapes(make_shapes(folder)), seed=seed)
    with learn.no_logging():
        learn.fit_one_cycle(8, 0.01)
    assert learn.recorder.last("accuracy") > 0.95
