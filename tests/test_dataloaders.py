"""`DataLoaders` of anything that gives batches, and what can be done with a batch."""

import collections
import copy
import pickle
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from learnlite import Learner, on
from learnlite.data import DataLoaders, Loader, Stream, TensorItems, batch_size, move
from learnlite.data.batch import as_device, default_device, describe, split_batch

CPU, META = torch.device("cpu"), torch.device("meta")
Point = namedtuple("Point", "x y")


class HuggingFaceBatch(UserDict):
    """As `transformers.BatchEncoding`: no dict, moved in place by its own `to`."""

    def to(self, device):
        self.data = {key: value.to(device) for key, value in self.data.items()}
        return self


def batches(n=3, bs=4):
    return [(torch.full((bs, 2), float(i)), torch.arange(bs)) for i in range(n)]


def dict_batch():
    return {"ids": torch.zeros(4, 2), "mask": torch.ones(4, 2), "labels": torch.arange(4)}


# ── moving, splitting and counting ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(2),
        (torch.zeros(2), torch.zeros(2)),
        [torch.zeros(2), {"a": (torch.zeros(2), "text", None, 3)}],
        Point(torch.zeros(2), [torch.zeros(2)]),
        OrderedDict(b=torch.zeros(2), a=torch.zeros(2)),
        defaultdict(list, a=torch.zeros(2)),
        UserDict(a=torch.zeros(2)),
        HuggingFaceBatch(a=torch.zeros(2)),
        (torch.zeros(2), np.zeros(2), ["a", "b"], {1, 2}),
        (),
        {},
        "text",
    ],
)
def test_a_batch_keeps_its_structure_when_it_moves(batch):
    assert move(batch, CPU) is batch
    moved = move(batch, META)
    assert type(moved) is type(batch)
    assert_moved(batch, moved)


def assert_moved(before, after):
    assert type(before) is type(after)
    if isinstance(before, torch.Tensor):
        assert after.device == META
        assert after.shape == before.shape
    elif isinstance(before, collections.abc.Mapping):
        assert list(before) == list(after)
        for key in before:
            assert_moved(before[key], after[key]) if before is not after else None
    elif isinstance(before, tuple | list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_moved(one, other)
    else:
        assert before is after


def test_moving_leaves_the_batch_that_was_given_alone():
    batch = defaultdict(int, a=torch.zeros(2))
    assert move(batch, META)["a"].device == META
    assert batch["a"].device == CPU
    assert move(batch, META)["missing"] == 0


def test_an_object_that_can_move_moves_itself():
    packed = pack_sequence([torch.zeros(3), torch.zeros(2)])
    assert isinstance(move((packed, 1), CPU)[0], PackedSequence)
    batch = HuggingFaceBatch(ids=torch.zeros(2))
    assert move({"x": batch}, META)["x"]["ids"].device == META


def test_tensor_subclasses_stay_what_they_are():
    class Image(torch.Tensor):
        pass

    moved = move((torch.zeros(2).as_subclass(Image), 1), META)
    assert type(moved[0]) is Image
    assert moved[0].device == META


def test_devices_are_spelled_as_tensors_spell_them():
    assert default_device() == torch.zeros(1, device=default_device()).device
    assert as_device("cpu") == CPU
    assert as_device("cuda:1").index == 1


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        (torch.zeros(5, 2), 5),
        ((torch.zeros(5), torch.zeros(3)), 5),
        ({"ids": torch.zeros(7, 1)}, 7),
        (({"ids": [torch.zeros(7, 1)]},), 7),
        (HuggingFaceBatch(ids=torch.zeros(7, 1)), 7),
        ((torch.tensor(1), np.zeros((4, 2))), 4),
        (Point("text", torch.zeros(2)), 2),
    ],
)
def test_rows_are_counted_by_the_first_tensor(batch, n):
    assert batch_size(batch) == n


@pytest.mark.parametrize("batch", [(), "text", {"a": 1}, torch.tensor(1), (["a"], None)])
def test_a_batch_without_rows_says_so(batch):
    with pytest.raises(ValueError, match="must hold a tensor whose first dimension counts"):
        batch_size(batch)


def test_the_inputs_are_all_but_the_last_or_as_many_as_told():
    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    dls = DataLoaders(batches())
    assert dls.split((a, b)) == ((a,), (b,))
    assert dls.split([a, b, c]) == ((a, b), (c,))
    assert dls.split([a]) == ((a,), ()) == dls.split(a)
    assert dls.split(((a, b), c)) == (((a, b),), (c,))
    assert dls.split(Point(a, b)) == ((a,), (b,))
    one, two = DataLoaders(batches(), n_inp=1), DataLoaders(batches(), n_inp=2)
    assert one.split((a, b, c)) == ((a,), (b, c))
    assert two.split((a, b)) == ((a, b), ())


def test_targets_that_are_needed_and_missing_are_named():
    with pytest.raises(ValueError, match="no targets: all of its 2 elements are inputs"):
        DataLoaders(batches(), n_inp=2).split(batches()[0], need_targets=True)
    with pytest.raises(ValueError, match=r"`n_inp=3`, but the batch has 2 elements"):
        DataLoaders(batches(), n_inp=3).split(batches()[0])


@pytest.mark.parametrize("kind", [dict, HuggingFaceBatch, OrderedDict])
def test_the_targets_of_a_dict_are_under_their_key(kind):
    batch = kind(dict_batch())
    xb, (yb,) = DataLoaders([batch]).split(batch)
    assert list(xb) == ["ids", "mask"]
    assert yb is batch["labels"]
    assert "labels" in batch
    xb, yb = DataLoaders([batch], label=("mask", "labels")).split(batch)
    assert list(xb) == ["ids"]
    assert len(yb) == 2


def test_a_dict_may_lack_targets_in_inference_only():
    dls = DataLoaders([dict_batch()], label="label")
    xb, yb = dls.split(dict_batch())
    assert list(xb) == ["ids", "mask", "labels"]
    assert yb == ()
    with pytest.raises(ValueError, match="no key 'label', its keys are 'ids', 'mask', 'labels'"):
        dls.split(dict_batch(), need_targets=True)


@pytest.mark.parametrize("batch", ["text", 3, None, object()])
def test_what_is_no_batch_is_named(batch):
    with pytest.raises(TypeError, match=f"must be a tuple or list.*got `{type(batch).__name__}`"):
        split_batch(batch)


def test_an_empty_tuple_is_no_batch():
    with pytest.raises(ValueError, match="an empty `tuple`"):
        split_batch(())


def test_a_batch_is_described_for_messages():
    assert describe((torch.zeros(2, 3), "a", {"k": 1})) == (
        "3 elements (`Tensor` 2x3 float32, `str`, a dict with the keys ['k'])"
    )


# ── what a loader may be ──────────────────────────────────────────────────────────────────────


def endless():
    while True:
        yield from batches()


class Endless(IterableDataset):
    def __iter__(self):
        return iter(torch.rand(100, 2))


@pytest.mark.parametrize(
    "loader",
    [
        batches(),
        Loader(range(9), 3),
        DataLoader(TensorDataset(torch.arange(9)), 3),
        Stream(endless, 3),
        Stream(endless(), 3),
        Stream(DataLoader(Endless(), 8), 3),
    ],
    ids=lambda loader: type(loader).__name__,
)
def test_anything_with_batches_and_a_length_is_a_loader(loader):
    dls = DataLoaders(loader, loader, device="cpu")
    assert dls.train is loader
    assert dls[1] is dls.valid is loader
    assert len(dls) == 2
    assert list(dls) == dls.loaders == [loader, loader]
    assert len(dls.train) == 3 == len(list(dls.train)) == len(list(dls.train))
    assert move(dls.one_batch(), META) is not None


@pytest.mark.parametrize(
    ("loader", "kind", "words"),
    [
        (endless(), TypeError, r"`train` is a `generator`, which has no length.*`Stream\(gener"),
        (endless, TypeError, r"`train` is a `function`, which has no length.*`Stream\(function"),
        (DataLoader(Endless(), 8), TypeError, r"`train` is a `DataLoader`, which has no length"),
        ((torch.zeros(3), torch.zeros(3)), TypeError, "`tuple` of tensors, not a loader.*from_t"),
        (torch.zeros(3), TypeError, "`Tensor` of tensors, not a loader.*from_tensors"),
        (TensorDataset(torch.zeros(3)), TypeError, "a dataset and not a loader; .*from_dsets"),
        (TensorItems(torch.zeros(3)), TypeError, "a dataset and not a loader; .*from_dsets"),
        ("data/train", TypeError, "`train` is a `str`, not a loader"),
        ({"a": 1}, TypeError, "`train` is a `dict`, not a loader"),
        (None, TypeError, "`train` is a `NoneType`, which cannot be iterated"),
        (3, TypeError, "`train` is a `int`, which cannot be iterated"),
        ([], ValueError, "no training batches: the length of `train` is 0"),
        (DataLoader([1], 2, drop_last=True), ValueError, "no training batches.*`drop_last`"),
    ],
)
def test_what_is_no_loader_is_refused_with_advice(loader, kind, words):
    with pytest.raises(kind, match=words):
        DataLoaders(loader)


def test_an_empty_validation_loader_is_named():
    with pytest.raises(ValueError, match="no validation batches: the length of `valid` is 0"):
        DataLoaders(batches(), [])
    with pytest.raises(TypeError, match=r"`others\[0\]` is a `generator`"):
        DataLoaders(batches(), batches(), endless())


def test_validation_is_optional_and_there_may_be_more():
    assert DataLoaders(batches()).valid is None
    assert len(DataLoaders(batches())) == 1
    train, valid, third = batches(3), batches(2), batches(1)
    dls = DataLoaders(train, valid, third)
    assert dls[2] is third
    assert len(dls) == 3
    assert repr(dls.cpu()) == (
        "DataLoaders(train: 3 batches, valid: 2 batches, [2]: 1 batch, on cpu)"
    )


def test_the_device_is_found_or_told():
    dls = DataLoaders(batches())
    assert dls.device == default_device()
    assert dls.to("meta") is dls
    assert dls.device == META
    assert dls.one_batch()[0].device == META
    assert dls.cpu() is dls
    assert dls.device == CPU
    assert DataLoaders(batches(), device="meta").device == META


def test_what_a_learner_asks_is_kept():
    loss = torch.nn.MSELoss()
    dls = DataLoaders(batches(), path="somewhere", vocab=["a", "b"], loss_func=loss)
    assert (dls.path, dls.vocab, dls.c, dls.loss_func) == (Path("somewhere"), ["a", "b"], 2, loss)
    assert DataLoaders(batches(), c=7).c == 7
    assert DataLoaders(batches(), vocab=["a", "b"], c=7).c == 7
    assert DataLoaders(batches()).c is None
    with pytest.raises(ValueError, match="`n_inp` must be at least 1, got 0"):
        DataLoaders(batches(), n_inp=0)


def test_class_names_are_taken_from_the_dataset():
    class Photos(list):
        classes = ("cat", "dog")

    photos = Photos([0, 1, 2])
    for dls in (
        DataLoaders.from_dsets(photos, bs=2),
        DataLoaders.from_dsets(Subset(photos, [0]), bs=2),
        DataLoaders(DataLoader(photos, 2)),
    ):
        assert dls.vocab == ("cat", "dog")
        assert dls.c == 2


# ── one batch, without a trace ────────────────────────────────────────────────────────────────


def states_of(generators):
    return [generator.get_state().tolist() for generator in generators]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_one_batch_of_a_torch_loader_disturbs_nothing(num_workers):
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.arange(20))
    loaders = [
        DataLoader(data, 4, shuffle=True, num_workers=num_workers),
        DataLoader(data, 4, shuffle=True, num_workers=num_workers, generator=generator),
        DataLoader(data, batch_size=None, num_workers=num_workers),
        DataLoader(Endless(), 4, num_workers=num_workers),
    ]
    for loader in loaders:
        dls = DataLoaders(Stream(loader, 3), device="cpu")
        before = states_of([torch.default_generator, generator])
        first = dls.one_batch()
        assert states_of([torch.default_generator, generator]) == before
        assert type(first) is type(next(iter(loader)))


def test_one_batch_leaves_an_epoch_of_persistent_workers_alone():
    loader = DataLoader(range(12), 4, num_workers=1, persistent_workers=True)
    dls = DataLoaders(loader, device="cpu")
    seen = []
    for batch in loader:
        seen += batch.tolist()
        assert dls.one_batch().tolist() == [0, 1, 2, 3]
    assert seen == list(range(12))


def test_one_batch_of_any_loader_may_draw_without_a_trace():
    class Drawing(list):
        def __iter__(self):
            yield torch.rand(2)

    for loader in (Drawing([1]), Stream(Drawing([1]).__iter__, 1)):
        before = torch.get_rng_state()
        dls = DataLoaders(loader, loader, device="cpu")
        assert dls.one_batch().shape == dls.one_batch(1).shape == (2,)
        assert torch.equal(torch.get_rng_state(), before)


# ── streams ───────────────────────────────────────────────────────────────────────────────────


def test_a_generator_goes_on_where_the_last_epoch_stopped():
    stream = Stream(iter(range(100)), 3)
    assert len(stream) == 3
    assert stream.one_batch() == 0 == stream.one_batch()  # it is not lost
    assert [list(stream), list(stream)] == [[0, 1, 2], [3, 4, 5]]
    assert stream.one_batch() == 6
    assert list(stream) == [6, 7, 8]


@pytest.mark.parametrize("source", [lambda: iter(range(9)), range(9)])
def test_a_function_or_a_loader_begins_anew(source):
    stream = Stream(source, 3)
    assert [list(stream), list(stream), stream.one_batch()] == [[0, 1, 2], [0, 1, 2], 0]


def test_a_stream_that_ends_early_says_so():
    with pytest.raises(ValueError, match=r"ended after 5 batches, `n=8` were announced"):
        list(Stream(lambda: range(5), 8))
    short = Stream(iter(range(5)), 3)
    list(short)
    with pytest.raises(ValueError, match=r"the generator ended at batch 2 of the 3"):
        list(short)
    with pytest.raises(ValueError, match="the generator ended at batch 0"):
        short.one_batch()


def test_a_stream_is_checked():
    with pytest.raises(ValueError, match=r"`n`.*must be at least 1, got 0"):
        Stream(endless, 0)
    with pytest.raises(ValueError, match=r"`n`.*must be at least 1, got None"):
        Stream(endless, None)
    with pytest.raises(TypeError, match=r"a stream needs a generator.*got `int`"):
        Stream(3, 1)
    assert repr(Stream(endless, 1000)) == "Stream(endless, 1,000 batches)"


# ── made of datasets and tensors ──────────────────────────────────────────────────────────────


def test_the_first_dataset_is_shuffled_and_the_others_are_not():
    dls = DataLoaders.from_dsets(range(10), range(6), range(5), bs=4, val_bs=3, drop_last=True)
    assert [(dl.bs, dl.shuffle, dl.drop_last, len(dl)) for dl in dls] == [
        (4, True, True, 2),
        (3, False, False, 2),
        (3, False, False, 2),
    ]
    assert len({dl.seed for dl in dls}) == 3
    assert not DataLoaders.from_dsets(range(10), shuffle=False).train.shuffle
    with pytest.raises(ValueError, match="at least one dataset"):
        DataLoaders.from_dsets()


def test_the_seed_decides_everything_and_is_drawn_once():
    def made():
        dls = DataLoaders.from_tensors(torch.arange(50.0), torch.arange(50), bs=8)
        return [torch.cat([yb for _, yb in dl]).tolist() for dl in dls]

    torch.manual_seed(42)
    first, second = made(), made()
    torch.manual_seed(42)
    assert made() == first != second
    torch.manual_seed(42)
    made()
    state = torch.get_rng_state()
    torch.manual_seed(42)
    torch.randint(1 << 62, ())
    assert torch.equal(torch.get_rng_state(), state)


def test_loader_settings_are_passed_on():
    dls = DataLoaders.from_dsets(range(10), range(4), collate=sum, num_workers=0, timeout=5, seed=1)
    assert list(dls.valid) == [6]
    assert dls.train.timeout == 5


def test_a_part_of_the_tensors_is_held_back():
    x = torch.arange(100.0)
    dls = DataLoaders.from_tensors(x, x.long(), valid_pct=0.25, bs=10, seed=1)
    rows = [torch.cat([yb for _, yb in dl]).tolist() for dl in dls]
    assert [len(part) for part in rows] == [75, 25]
    assert sorted(rows[0] + rows[1]) == list(range(100))
    again = DataLoaders.from_tensors(x, x.long(), valid_pct=0.25, bs=10, seed=1)
    assert torch.equal(again.valid.dataset.tensors[0], dls.valid.dataset.tensors[0])
    assert DataLoaders.from_tensors(x, valid_pct=0).valid is None
    with pytest.raises(ValueError, match=r"`valid_pct` must be a fraction.*got 1"):
        DataLoaders.from_tensors(x, valid_pct=1)


def test_both_ways_to_give_a_validation_set_mean_the_same():
    x, y, xv, yv = torch.rand(6, 2), torch.arange(6), torch.rand(3, 2), torch.arange(3)
    for dls in (
        DataLoaders.from_tensors((x, y), (xv, yv), bs=4),
        DataLoaders.from_tensors([x, y], [xv, yv], bs=4),
        DataLoaders.from_tensors(x, y, valid=(xv, yv), bs=4),
        DataLoaders.from_tensors((x, y), valid=(xv, yv), bs=4),
    ):
        assert len(dls.train.dataset) == 6
        assert len(dls.valid.dataset) == 3
        assert torch.equal(next(iter(dls.valid))[0], xv)
        assert dls.c == 6
    assert len(DataLoaders.from_tensors((x, y), (xv, yv), (xv, yv))) == 3


@pytest.mark.parametrize(
    ("y", "c"),
    [
        (torch.tensor([0, 4, 1]), 5),
        (torch.tensor([0, 4, 1], dtype=torch.uint8), 5),
        (torch.tensor([0, -100, 1]), 2),
        (torch.tensor([0.5, 1.0, 2.0]), 1),
        (torch.zeros(3, 7), 7),
        (torch.zeros(3, 7, dtype=torch.bool), 7),
        (torch.zeros(3, 2, 2), None),
        (np.array([0, 2, 1]), 3),
        ([0, 2, 1], 3),
    ],
)
def test_the_number_of_classes_is_found_from_the_targets(y, c):
    assert DataLoaders.from_tensors(torch.zeros(3, 2), y, valid_pct=0).c == c
    assert DataLoaders.from_tensors(torch.zeros(3, 2), y, c=9).c == 9


def test_a_class_that_only_validation_has_is_counted():
    x = torch.zeros(2)
    dls = DataLoaders.from_tensors((x, torch.tensor([0, 1])), (x, torch.tensor([2, 0])))
    assert dls.c == 3
    assert DataLoaders.from_tensors(x, torch.tensor([0, 1]), vocab=["a", "b", "z"]).c == 3
    assert DataLoaders.from_tensors(x).c is None


def test_numpy_doubles_become_floats_and_tensors_stay_as_they_are():
    dls = DataLoaders.from_tensors(np.zeros((4, 2)), np.zeros(4, dtype=np.int32), valid_pct=0)
    xb, yb = next(iter(dls.train))
    assert (xb.dtype, yb.dtype) == (torch.float32, torch.int32)
    double = DataLoaders.from_tensors(torch.zeros(4).double(), valid_pct=0)
    assert next(iter(double.train))[0].dtype == torch.float64


def test_tensors_given_in_a_way_that_could_mean_two_things_are_refused():
    x, y = torch.zeros(4, 2), torch.zeros(4)
    with pytest.raises(ValueError, match=r"4 tensors in one set.*`from_tensors\(\(x, y\), "):
        DataLoaders.from_tensors(x, y, x, y)
    with pytest.raises(TypeError, match="tensors and tuples of tensors are mixed"):
        DataLoaders.from_tensors((x, y), x)
    with pytest.raises(ValueError, match=r"as many tensors each, got \[1, 2\]"):
        DataLoaders.from_tensors((x, y), (x,))
    with pytest.raises(ValueError, match="`from_tensors` needs tensors"):
        DataLoaders.from_tensors()
    with pytest.raises(ValueError, match=r"same number of rows, got \[4, 3\]"):
        DataLoaders.from_tensors(x, y[:3])
    two_inputs = DataLoaders.from_tensors(x, x, y, n_inp=2)
    xb, yb = two_inputs.split(two_inputs.one_batch())
    assert (len(xb), len(yb)) == (2, 1)


# ── new items ─────────────────────────────────────────────────────────────────────────────────


def test_a_test_loader_reads_new_tensors_in_order():
    dls = DataLoaders.from_tensors(torch.rand(9, 2), torch.arange(9), bs=4, device="cpu")
    x, y = torch.rand(6, 2), torch.arange(6)
    for items, n_targets in ((x, 0), ((x, y), 1)):
        test = dls.test_dl(items)
        xb, yb = zip(*[dls.split(batch) for batch in test], strict=True)
        assert torch.equal(torch.cat([parts[0] for parts in xb]), x)
        assert {len(parts) for parts in yb} == {n_targets}
        assert test.bs == 4
    assert dls.test_dl(x, bs=3).bs == 3


def test_a_dataset_makes_its_own_test_set():
    class Photos(list):
        def test_set(self, items):
            return Photos([f"{item}.jpg" for item in items])

    dls = DataLoaders.from_dsets(Photos("ab"), Photos("c"), collate=list, bs=2)
    assert list(dls.test_dl("xyz")) == [["x.jpg", "y.jpg"], ["z.jpg"]]


def test_a_test_loader_follows_a_torch_loader():
    dls = DataLoaders(DataLoader([1, 2], 2), DataLoader([1, 2], 2, collate_fn=sum))
    assert list(dls.test_dl([1, 2, 3])) == [3, 3]
    assert len(DataLoaders(batches()).test_dl(range(70))) == 2
    assert len(DataLoaders(batches()).test_dl(torch.zeros(70, 2))) == 2


# The same loader anew


@pytest.mark.parametrize("of_torch", [False, True])
def test_an_argument_that_no_loader_has_is_told_with_the_one_that_was_meant(of_torch):
    dls = DataLoaders(DataLoader(range(9), 2) if of_torch else Loader(range(9), 2), device="cpu")
    for make in (dls.new, lambda **given: dls.test_dl([1], **given)):
        with pytest.raises(TypeError, match="`Loader` has no argument `batch_size`; .* `bs`"):
            make(batch_size=4)
    with pytest.raises(TypeError, match="has no argument `num_wrokers`; .* `num_workers`"):
        DataLoaders.from_dsets(range(9), num_wrokers=1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "; did you mean `train`"),
        ("devcie", "; did you mean `device`"),
        ("valid_dl", "; it is `dls.valid`"),
        ("after_batch", "; they are `dls.batch_tfms`"),
        ("zzz", "$"),
    ],
)
def test_an_attribute_that_is_not_there_is_told_with_the_one_that_was_meant(name, hint):
    dls = DataLoaders(batches(), device="cpu")
    with pytest.raises(AttributeError, match=f"`DataLoaders` has no `{name}`{hint}"):
        getattr(dls, name)
    assert not hasattr(copy.copy(pickle.loads(pickle.dumps(dls))), name)


def test_a_new_loader_is_like_the_training_one_but_for_what_is_given():
    dls = DataLoaders.from_dsets(range(10), bs=4, drop_last=True, seed=1, device="cpu")
    again, other = dls.new(), dls.new(bs=5, drop_last=False)
    assert [b.tolist() for b in again.batches(3)] == [b.tolist() for b in dls.train.batches(3)]
    assert (len(again), len(other), other.shuffle) == (2, 2, True)
    assert torch.equal(torch.cat(list(dls.new(shuffle=False, bs=10))), torch.arange(10))
    assert len(torch.cat(list(dls.new(range(6), bs=3)))) == 6


def test_a_new_loader_keeps_the_order_of_its_own_items_alone():
    def rarely(seed, n):
        return torch.zeros(n).long()

    dls = DataLoaders.from_dsets(range(10), bs=5, order=rarely, seed=1, device="cpu")
    assert torch.cat(list(dls.new(bs=10))).tolist() == [0] * 10
    assert sorted(torch.cat(list(dls.new(range(8)))).tolist()) == list(range(8))
    assert torch.cat(list(dls.new(shuffle=False))).tolist() == list(range(10))


def test_a_new_loader_follows_a_torch_loader_and_a_list_has_none():
    dls = DataLoaders(DataLoader([1, 2, 3], 2, shuffle=True, drop_last=True), device="cpu")
    assert (dls.new().shuffle, len(dls.new()), len(dls.new(bs=1))) == (True, 1, 3)
    with pytest.raises(TypeError, match=r"tell its dataset; give one: `dls.new\(dataset\)`"):
        DataLoaders(batches()).new()
    assert len(DataLoaders(batches()).new(range(65))) == 2


# Batch transforms


def add_noise(batch, kinds, training):
    x, y = batch
    assert kinds == ("image", None)
    return (x + torch.randn_like(x) if training else x * 10, y)


def loaders_with_noise():
    dls = DataLoaders.from_tensors((X, Y), (X, Y), bs=4, shuffle=False, seed=1, device="cpu")
    dls.batch_tfms, dls.kinds = [add_noise], ("image",)
    return dls


X, Y = torch.arange(24.0).view(8, 3), torch.arange(8) % 2


def test_batch_transforms_act_in_training_and_in_validation_each_in_its_way():
    dls, seen = loaders_with_noise(), {True: [], False: []}
    learn = Learner(dls, torch.nn.Linear(3, 2), seed=1, lr=0.01)
    look = on(before_batch=lambda learn: seen[learn.training].append(learn.xb[0]))
    with learn.no_logging():
        learn.fit(2, cbs=look)
    assert torch.equal(torch.cat(seen[False]), torch.cat([X * 10] * 2))
    noise = torch.cat(seen[True]) - torch.cat([X] * 2)
    assert 0.5 < noise.std() < 1.5 and not torch.equal(noise[:8], noise[8:])
    assert torch.equal(torch.cat([x for x, _ in dls.train.batches(0)]), X), "the loader's are raw"


def test_one_batch_is_what_the_model_gets_and_disturbs_no_random_state():
    dls, before = loaders_with_noise(), torch.get_rng_state()
    assert torch.equal(dls.one_batch(1)[0], X[:4] * 10)
    assert not torch.equal(dls.one_batch()[0], X[:4])
    assert torch.equal(dls.raw_batch()[0], X[:4])
    assert torch.equal(before, torch.get_rng_state())


def test_batch_transforms_of_a_dict_are_refused():
    batches = [{"x": X[:4], "labels": Y[:4]}]
    dls = DataLoaders(batches, device="cpu")
    dls.batch_tfms = [add_noise]
    with pytest.raises(TypeError, match="change batches that are tuples, got a dict"):
        dls.receive(batches[0], training=True)
