"""Our loader: the same batches always, and errors that name the item."""

# ruff: noqa: NPY002 - what becomes of numpy's old global generator is the question here

import copy
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

from learnlite.data import Loader, TensorItems
from learnlite.data.reading import item_path, name_item
from learnlite.types import EpochLoader

pytestmark = [
    # Two cores are enough to test with four workers; torch advises against it.
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # Python 3.12 and later warn of every fork of a process that has threads, as torch's has.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

Pair = namedtuple("Pair", "x y")

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn]
DTYPES += [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
DTYPES += [torch.uint16, torch.complex64]


class Noisy:
    """Items that draw from all three generators, and compute what depends on the threads."""

    def __init__(self, n=11):
        self.n = n
        self.read = []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.read.append(index)
        photo = torch.randn(3, 120, 120)
        return {
            "index": index,
            "torch": torch.rand(2),
            "python": random.random(),
            "numpy": np.random.rand(),
            "mean": photo.mean(),  # its last bit depends on how many threads add it up
        }


class Photos:
    """Items with paths, of which one does something bad."""

    def __init__(self, bad=5, fault=None, n=12):
        self.items = [Path(f"photos/{i}.jpg") for i in range(n)]
        self.bad = bad
        self.fault = fault

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if index == self.bad and self.fault is not None:
            self.fault()
        return torch.tensor(index)


class TwoWordsError(Exception):
    """An error that cannot be made again from its `args`, as pickle would."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def raise_value_error():
    raise ValueError("cannot identify image")


def raise_file_error():
    raise FileNotFoundError(2, "No such file", "gone.jpg")


def raise_two_words():
    raise TwoWordsError("some", "thing")


def raise_local():
    class LocalError(Exception):
        pass

    raise LocalError("only known here")


def kill_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


def exit_this_process():
    os._exit(3)


def hang():
    time.sleep(60)


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first.dtype == second.dtype and torch.equal(first, second)


def random_states():
    numpy_state = np.random.get_state()
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        numpy_state[1].tolist(),
        numpy_state[2:],
    )


def new_children(before=()):
    return [process for process in multiprocessing.active_children() if process not in before]


def test_any_number_of_workers_gives_the_same_batches_bit_for_bit():
    expected = Loader(Noisy(), 4, shuffle=True, seed=7)
    epochs = [list(expected.batches(epoch)) for epoch in (0, 1)]
    for num_workers in (1, 4):
        loader = Loader(Noisy(), 4, shuffle=True, seed=7, num_workers=num_workers)
        for epoch in (0, 1, 0):  # the processes stay from one epoch to the next
            assert same(list(loader.batches(epoch)), epochs[epoch])


def test_it_does_not_matter_how_many_threads_the_process_has():
    loader = Loader(Noisy(), 4, seed=7)
    expected = list(loader.batches(0))
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert same(list(loader.batches(0)), expected)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_may_be_started_in_any_way(method):
    loader = Loader(Noisy(), 4, seed=7, num_workers=1, start_method=method)
    assert same(list(loader.batches(1)), list(Loader(Noisy(), 4, seed=7).batches(1)))
    loader.close()


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_can_start_at_any_batch(start, num_workers):
    loader = Loader(Noisy(), 4, shuffle=True, seed=7, num_workers=num_workers)
    assert same(list(loader.batches(3, start)), list(loader.batches(3))[start:])


def test_batches_before_the_start_are_not_read():
    dataset = Noisy()
    loader = Loader(dataset, 4, shuffle=True, seed=7)
    list(loader.batches(3))
    whole, dataset.read = dataset.read, []
    list(loader.batches(3, start=2))
    assert dataset.read == whole[8:]
    assert len(dataset.read) == 3


def test_an_epoch_has_every_item_once_and_its_own_order():
    loader = Loader(range(50), 8, shuffle=True, seed=1)
    orders = [torch.cat(list(loader)).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert torch.cat(list(Loader(range(50), 8, shuffle=True, seed=2))).tolist() != orders[0]
    assert torch.cat(list(Loader(range(50), 8, seed=2))).tolist() == list(range(50))


def test_the_randomness_of_an_item_depends_on_nothing_but_seed_epoch_and_index():
    def noise(epoch=0, **settings):
        batches = Loader(Noisy(), **({"seed": 7} | settings)).batches(epoch)
        return {
            int(i): [float(batch[key][k]) for key in ("python", "numpy")]
            + batch["torch"][k].tolist()
            for batch in batches
            for k, i in enumerate(batch["index"])
        }

    first = noise(bs=4)
    assert noise(bs=3, shuffle=True) == first
    other_epoch, other_seed = noise(bs=4, epoch=1), noise(bs=4, seed=8)
    for i, values in first.items():
        assert not set(values) & (set(other_epoch[i]) | set(other_seed[i]))
    drawn = [value for values in first.values() for value in values]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_global_generators_are_left_alone(num_workers):
    loader = Loader(Noisy(), 4, shuffle=True, seed=7, num_workers=num_workers)
    tensors = Loader(TensorItems(torch.zeros(9)), 4, shuffle=True, seed=7)
    np.random.randn()  # numpy keeps the second of a pair: that must survive too
    before = random_states()
    for batches in (loader, tensors):
        for _ in batches:
            assert random_states() == before
        batches.one_batch()
    next(iter(loader))
    assert random_states() == before


def test_noise_drawn_between_the_batches_does_not_change_them():
    loader = Loader(Noisy(), 4, shuffle=True, seed=7)
    expected = list(loader.batches(0))
    disturbed = []
    for batch in loader.batches(0):
        disturbed.append(batch)
        torch.rand(3), random.random(), np.random.rand()
    assert same(disturbed, expected)


def test_a_seed_that_is_not_given_comes_from_torch():
    def seeds():
        torch.manual_seed(42)
        return [Loader(range(3)).seed for _ in range(2)]

    assert seeds() == seeds()
    assert len(set(seeds())) == 2


def test_iter_gives_one_epoch_after_the_other():
    loader = Loader(range(20), 4, shuffle=True, seed=1)
    assert isinstance(loader, EpochLoader)
    assert loader.epoch == 0
    assert same(list(loader), list(loader.batches(0)))
    assert loader.epoch == 1
    loader.epoch = 5
    assert same(list(loader), list(loader.batches(5)))
    assert loader.epoch == 6


def test_one_batch_is_the_next_one_and_starts_no_process():
    loader = Loader(Noisy(), 4, shuffle=True, seed=7, num_workers=2)
    loader.epoch = 3
    before = new_children()
    batch = loader.one_batch()
    assert not new_children(before)
    assert loader.epoch == 3
    assert same(batch, next(iter(Loader(Noisy(), 4, shuffle=True, seed=7).batches(3))))


def test_an_abandoned_epoch_leaves_nothing_in_the_next():
    loader = Loader(Noisy(40), 4, shuffle=True, seed=7, num_workers=2)
    expected = list(Loader(Noisy(40), 4, shuffle=True, seed=7).batches(1))
    before = new_children()
    for k in (0, 1, 3, 10):
        abandoned = loader.batches(k)
        for _ in range(k):
            next(abandoned)
        del abandoned
        assert same(list(loader.batches(1)), expected)
        assert len(new_children(before)) == 2
    loader.close()
    assert not new_children(before)
    assert same(list(loader.batches(1)), expected)  # and it starts again


def test_two_epochs_at_once_have_their_own_workers():
    loader = Loader(Noisy(), 2, shuffle=True, seed=7, num_workers=1)
    alone = Loader(Noisy(), 2, shuffle=True, seed=7)
    before = new_children()
    pairs = list(zip(loader.batches(0), loader.batches(1), strict=True))
    assert same([pair[0] for pair in pairs], list(alone.batches(0)))
    assert same([pair[1] for pair in pairs], list(alone.batches(1)))
    assert len(new_children(before)) == 1  # one set of them stays for the next epoch


def test_workers_end_with_their_loader():
    before = new_children()
    loader = Loader(Noisy(), 4, num_workers=2)
    next(iter(loader))
    assert len(new_children(before)) == 2
    del loader
    assert not new_children(before)


def test_workers_end_with_a_loader_in_a_cycle():
    before = new_children()
    loader = Loader(Noisy(), 4, num_workers=2)
    loader.itself = loader
    next(iter(loader))
    start = time.monotonic()
    del loader
    gc.collect()
    assert not new_children(before)
    assert time.monotonic() - start < 4


def test_a_forked_process_leaves_the_workers_to_its_parent():
    loader = Loader(Noisy(), 4, seed=7, num_workers=1)
    expected = list(loader.batches(0))
    child = multiprocessing.get_context("fork").Process(target=forget, args=(loader,))
    child.start()
    child.join(timeout=20)
    assert child.exitcode == 0
    assert same(list(loader.batches(0)), expected)


def forget(loader):
    loader._idle_pool = None
    gc.collect()


def test_copies_share_no_process():
    loader = Loader(Noisy(), 4, shuffle=True, seed=7, num_workers=1)
    expected = list(loader.batches(0))
    twin = copy.deepcopy(loader)
    assert same(list(twin.batches(0)), expected)
    assert same(list(loader.batches(0)), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("fault", "kind"), [(raise_value_error, ValueError), (raise_file_error, FileNotFoundError)]
)
def test_an_error_arrives_as_itself_with_index_and_path(fault, kind, num_workers):
    loader = Loader(Photos(fault=fault), 4, num_workers=num_workers)
    batches = loader.batches(0)
    next(batches)
    with pytest.raises(kind) as raised:
        next(batches)
    notes = "\n".join(raised.value.__notes__)
    assert "while reading item 5 (`photos/5.jpg`)" in notes
    assert ("in worker 1 of the loader" in notes) == bool(num_workers)
    if kind is FileNotFoundError:
        assert raised.value.filename == "gone.jpg"
    if num_workers:
        assert fault.__name__ in str(raised.value.__cause__)  # the traceback of the worker


def test_ctrl_c_ends_the_workers_and_the_loader_works_again():
    loader = Loader(Noisy(), 4, seed=7, num_workers=2)
    before = new_children()
    batches = loader.batches(0)
    next(batches)
    with pytest.raises(KeyboardInterrupt):
        batches.throw(KeyboardInterrupt())
    assert not new_children(before)
    assert same(list(loader.batches(0)), list(Loader(Noisy(), 4, seed=7).batches(0)))


@pytest.mark.parametrize("fault", [raise_two_words, raise_local])
def test_an_error_that_cannot_be_sent_arrives_as_text(fault):
    loader = Loader(Photos(fault=fault), 4, num_workers=1, timeout=20)
    with pytest.raises(RuntimeError, match=r"`\w+Error` in a worker: (some thing|only known here)"):
        list(loader)


def test_workers_go_on_after_an_error():
    loader = Loader(Photos(bad=9, fault=raise_value_error), 4, shuffle=True, num_workers=2, seed=1)
    before = new_children()
    for epoch in range(3):
        with pytest.raises(ValueError, match="cannot identify"):
            list(loader.batches(epoch))
    assert len(new_children(before)) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [(kill_this_process, "ended by SIGKILL"), (exit_this_process, "its exit with code 3")],
)
def test_a_worker_that_dies_is_named_with_what_it_read(fault, words):
    before = new_children()
    loader = Loader(Photos(fault=fault), 4, num_workers=2)
    with pytest.raises(RuntimeError, match=words) as raised:
        list(loader)
    assert "worker 1 of the loader" in str(raised.value)
    assert "while reading item 5 (`photos/5.jpg`)" in str(raised.value)
    assert not new_children(before)
    assert len(list(loader.batches(0, start=2))) == 1  # the loader starts new ones


def test_a_worker_that_hangs_is_named_after_the_timeout():
    before = new_children()
    loader = Loader(Photos(fault=hang), 4, num_workers=2, timeout=1.5)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no batch for 1\.5 s") as raised:
        list(loader)
    assert time.monotonic() - start < 5
    assert "worker 1 is reading item 5 (`photos/5.jpg`)" in str(raised.value)
    assert not new_children(before)


def test_workers_killed_between_two_epochs_are_replaced():
    before = new_children()
    loader = Loader(Noisy(), 4, num_workers=1, seed=7)
    expected = list(loader.batches(0))
    (process,) = new_children(before)
    process.kill()
    process.join()  # torch's handler of the signal, which raises wherever it comes, lets it be
    assert same(list(loader.batches(0)), expected)


def test_a_script_that_trains_as_it_is_imported_is_told_what_to_write(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from learnlite.data import Loader\n"
        "for _ in Loader([1, 2], 1, num_workers=1, start_method='spawn'):\n"
        "    print('a batch')\n"
    )
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environ, check=False
    )
    assert "a batch" not in run.stdout
    assert 'the training there under `if __name__ == "__main__":`' in run.stderr


def test_a_dataset_that_cannot_be_sent_says_so():
    class Local(Noisy):
        pass

    loader = Loader(Local(), 4, num_workers=1, start_method="spawn")
    with pytest.raises(Exception, match=r"pickle|local") as raised:
        list(loader)
    assert "`num_workers=0` reads in this one" in raised.value.__notes__[0]


def test_items_that_do_not_fit_together_are_named():
    loader = Loader([torch.zeros(2), torch.zeros(3), torch.zeros(2)], 2)
    with pytest.raises(RuntimeError, match="stack expects") as raised:
        list(loader)
    assert "the items 0, 1 into one batch" in raised.value.__notes__[0]


class Together:
    """Reads a batch at a time; gives what `make` makes of the items."""

    def __init__(self, make, bad=None):
        self.make = make
        self.bad = bad
        self.calls = []

    def __len__(self):
        return 10

    def __getitems__(self, indices):
        self.calls.append(indices)
        if self.bad in indices:
            raise KeyError(self.bad)
        return self.make([(torch.tensor(i), torch.rand(1)) for i in indices])

    def __getitem__(self, index):
        raise AssertionError("read item by item")


def test_a_dataset_is_read_a_batch_at_a_time_if_it_can():
    dataset = Together(list)
    loader = Loader(dataset, 4, seed=1)
    first, _, last = loader.batches(0)
    assert dataset.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert first[0].tolist() == [0, 1, 2, 3]
    assert last[1].shape == (2, 1)
    assert same(list(loader.batches(0)), list(Loader(dataset, 4, seed=1, num_workers=2).batches(0)))
    assert same(list(loader.batches(0, start=1)), list(loader.batches(0))[1:])


def test_a_dataset_may_make_the_batch_itself():
    dataset = Together(lambda items: (torch.stack([x for x, _ in items]), "as it is"))
    assert [batch[1] for batch in Loader(dataset, 4)] == ["as it is"] * 3


def test_a_batch_read_together_names_the_item_at_fault():
    with pytest.raises(KeyError) as raised:
        list(Loader(Together(list, bad=6), 4))
    assert raised.value.__notes__ == ["while reading item 6"]


def test_a_list_of_the_wrong_length_is_refused():
    with pytest.raises(TypeError, match=r"asked for 4 it gave a list of 3"):
        list(Loader(Together(lambda items: items[1:]), 4))


def test_a_subset_of_noisy_items_is_read_item_by_item():
    loader = Loader(Subset(Noisy(), [3, 1, 2]), 2, seed=7)
    (first, last), (one_by_one, _, _) = loader.batches(0), Loader(Noisy(3), 1, seed=7).batches(0)
    assert first["index"].tolist() == [3, 1]
    assert last["index"].tolist() == [2]
    assert torch.equal(first["torch"][0], one_by_one["torch"][0])


def test_paths_are_found_through_subsets_and_concatenations():
    photos = Photos()
    assert item_path(Subset(photos, [4, 2]), 1) == "photos/2.jpg"
    assert item_path(ConcatDataset([photos, photos]), 14) == "photos/2.jpg"
    assert item_path([1, 2, 3], 0) is None
    assert item_path({0: "a"}, 0) is None


def test_a_path_cannot_steer_the_terminal():
    class Hostile:
        paths = ("\x1b[31mred.jpg",)

    assert name_item(Hostile(), 0) == "item 0 (`?[31mred.jpg`)"


def test_items_of_any_structure_are_collated():
    nested = [{"a": (torch.tensor(i), [float(i)]), "b": Pair(i, str(i))} for i in range(4)]
    for num_workers in (0, 1):
        batch = next(iter(Loader(nested, 4, num_workers=num_workers)))
        assert batch["a"][0].tolist() == [0, 1, 2, 3]
        assert type(batch["b"]) is Pair
        assert batch["b"].x.tolist() == [0, 1, 2, 3]
        assert batch["b"].y == ("0", "1", "2", "3")


def test_a_collate_function_is_used_and_may_draw():
    loaders = [Loader(range(6), 3, seed=1, collate=sum_and_noise, num_workers=w) for w in (0, 2)]
    first, second = [list(loader) for loader in loaders]
    assert [total for total, _ in first] == [3, 12]
    assert first == second


def sum_and_noise(items):
    return sum(items), float(torch.rand(()))


def test_the_last_batch_is_short_or_dropped():
    assert [len(batch) for batch in Loader(range(10), 4)] == [4, 4, 2]
    dropped = Loader(range(10), 4, drop_last=True, shuffle=True)
    assert [len(batch) for batch in dropped] == [4, 4]
    assert len(dropped) == 2
    assert [len(batch) for batch in Loader(range(8), 4, drop_last=True)] == [4, 4]
    tensors = Loader(TensorItems(torch.arange(10)), 4, drop_last=True)
    assert [len(xb) for (xb,) in tensors] == [4, 4]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "dtype",
    DTYPES,
)
def test_tensors_of_any_dtype_are_indexed(dtype, shuffle):
    x = (torch.rand(10, 2, 3) * 9).to(dtype)
    loader = Loader(TensorItems(x, torch.arange(10)), 4, shuffle=shuffle, seed=1)
    rows = []
    for xb, yb in loader:
        assert xb.dtype == dtype
        assert xb.view(torch.uint8).equal(x[yb].view(torch.uint8))
        rows += yb.tolist()
    assert sorted(rows) == list(range(10))
    assert (rows == sorted(rows)) != shuffle


def test_tensors_come_in_the_order_of_any_other_dataset():
    x = torch.arange(50)
    settings = {"bs": 8, "shuffle": True, "seed": 3}
    expected = list(Loader(x.tolist(), **settings).batches(2, start=3))
    for dataset in (TensorItems(x), TensorDataset(x)):
        for num_workers in (0, 2):
            loader = Loader(dataset, num_workers=num_workers, **settings)
            assert same([xb for (xb,) in loader.batches(2, start=3)], expected)
    by_item = Loader(
        TensorItems(x), collate=lambda rows: torch.stack([x for (x,) in rows]), **settings
    )
    assert same(list(by_item.batches(2, start=3)), expected)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_changed_in_place_leaves_the_data_whole(shuffle):
    x = torch.ones(10, requires_grad=True)
    for (xb,) in Loader(TensorItems(x), 4, shuffle=shuffle):
        assert not xb.requires_grad
        xb.zero_()
    assert x.sum() == 10


def test_tensors_are_checked():
    with pytest.raises(ValueError, match=r"same number of rows, got \[3, 4\]"):
        TensorItems(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match="got a scalar"):
        TensorItems(torch.tensor(1))
    with pytest.raises(ValueError, match="at least one tensor"):
        TensorItems()
    with pytest.raises(TypeError, match="a tensor or a numpy array is needed, got `str`"):
        TensorItems("abc")


class Endless(IterableDataset):
    def __iter__(self):
        return iter(int, 1)


@pytest.mark.parametrize(
    ("dataset", "settings", "kind", "words"),
    [
        (range(5), {"bs": 0}, ValueError, "`bs` must be a whole number of at least 1, got 0"),
        (range(5), {"bs": 2.0}, ValueError, "`bs` must be a whole number of at least 1, got 2.0"),
        (range(5), {"bs": True}, ValueError, "`bs` must be a whole number"),
        (range(5), {"num_workers": -1}, ValueError, "`num_workers` must be .* at least 0, got -1"),
        (range(5), {"prefetch_factor": 0}, ValueError, "`prefetch_factor` must be .* at least 1"),
        (range(5), {"timeout": -1}, ValueError, "`timeout` must be at least 0 seconds, got -1"),
        ([], {}, ValueError, "the dataset is empty: `len` of this `list` is 0"),
        (range(5), {"drop_last": True}, ValueError, "`drop_last` leaves no batch of 5 items"),
        (Endless(), {}, TypeError, r"`IterableDataset`.*`Stream\("),
        ((i for i in range(3)), {}, TypeError, "needs `__len__` and `__getitem__`.*`generator`"),
        ({1, 2}, {}, TypeError, "needs `__len__` and `__getitem__`"),
        (DataLoader([1, 2]), {}, TypeError, "a dataset is needed, got a loader"),
        (Loader([1, 2]), {}, TypeError, "a dataset is needed, got a loader"),
    ],
)
def test_bad_arguments_are_named(dataset, settings, kind, words):
    with pytest.raises(kind, match=words):
        Loader(dataset, **settings)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 4)])
def test_an_epoch_or_start_that_is_not_there_is_refused_at_once(epoch, start):
    with pytest.raises(ValueError, match=r"`(epoch|start)` must be"):
        Loader(range(10), 4).batches(epoch, start)


def test_it_describes_itself():
    assert repr(Loader(range(5000), shuffle=True, num_workers=4, seed=1)) == (
        "Loader(5,000 items of range, 79 batches of 64, shuffled, 4 workers, seed=1)"
    )
    assert repr(Loader(range(5), 4, drop_last=True, seed=1)) == (
        "Loader(5 items of range, 1 batch of 4, last one dropped, seed=1)"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_batches_are_pinned_on_cuda_and_tensors_there_stay_there():
    assert next(iter(Loader(range(4), 2))).is_pinned()
    assert next(iter(Loader(TensorItems(torch.arange(4)), 2)))[0].is_pinned()
    on_gpu = Loader(TensorItems(torch.arange(4).cuda()), 2, shuffle=True)
    assert next(iter(on_gpu))[0].is_cuda
