"""Weighted and balanced epochs: how often items come, and that a seed alone decides it."""

import pickle

import numpy as np
import pytest
import torch

from learnlite.data import DataLoaders, Loader, TensorItems
from learnlite.data.sampling import WeightedOrder, class_weights, sampling_order

LABELS = ["cat"] * 70 + ["dog"] * 25 + ["owl"] * 5


def counts(order, n, epochs=1):
    total = torch.zeros(n, dtype=torch.int64)
    for seed in range(epochs):
        total += torch.bincount(order(seed, n), minlength=n)
    return total


# --- how often


def test_each_item_comes_as_often_as_its_weight_says_to_within_one():
    weights = torch.rand(500, dtype=torch.float64) ** 3 * 10
    expected = weights / weights.sum() * 500
    for seed in range(20):
        found = counts(lambda _, n, seed=seed: WeightedOrder(weights)(seed, n), 500)
        assert found.sum() == 500
        assert ((found - expected).abs() < 1).all()


def test_over_many_epochs_the_fractions_come_true():
    weights = torch.rand(50, dtype=torch.float64) + 0.1
    epochs = 2000
    expected = weights / weights.sum() * 50
    found = counts(WeightedOrder(weights), 50, epochs) / epochs
    fraction = expected % 1
    # the times of an item are its whole times and a coin with the probability of the fraction
    deviation = (fraction * (1 - fraction) / epochs).sqrt()
    z = (found - expected) / deviation
    assert z.abs().max() < 4.5
    assert 0.3 < (z**2).mean() < 2  # not better than chance either: no item is tied to another


def test_equal_weights_give_each_item_once_in_a_new_order():
    order = WeightedOrder([0.1] * 300)
    first, second = order(1, 300), order(2, 300)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(300))
    assert first.tolist() != second.tolist()


def test_an_item_of_weight_zero_never_comes():
    weights = [0, 1, 0, 3, 0, 0.5, 0]
    for seed in range(200):
        assert set(WeightedOrder(weights)(seed, 7).tolist()) <= {1, 3, 5}


def test_items_of_a_weight_do_not_come_in_fixed_company():
    order = WeightedOrder([1.0] * 4 + [3.0] * 4)  # two of the first four in an epoch
    pairs = {frozenset(order(seed, 8).tolist()) & {0, 1, 2, 3} for seed in range(200)}
    assert {len(pair) for pair in pairs} == {2} and len(pairs) == 6


def test_the_places_of_an_epoch_are_shuffled():
    places = torch.zeros(8)
    for seed in range(1000):
        order = WeightedOrder([1.0] * 7 + [3.0])(seed, 10 - 2)
        places += order == 7
    # each place is as likely as any other to hold item 7, which fills 2.4 of 8
    expected, deviation = 1000 * 2.4 / 8, (1000 * 0.3 * 0.7) ** 0.5
    assert (places - expected).abs().max() < 5 * deviation


def test_balanced_classes_come_equally_often_to_within_one():
    order = sampling_order(LABELS, balanced=True)
    starts = torch.tensor([0] * 70 + [1] * 25 + [2] * 5)
    for seed in range(20):
        of_class = torch.bincount(starts[order(seed, 100)])
        assert ((of_class - 100 / 3).abs() < 1).all()


def test_weights_of_classes_are_those_of_their_items():
    weights = {"cat": 1, "dog": 2, "owl": 8}
    by_class = sampling_order(LABELS, weights=weights)
    by_item = sampling_order(LABELS, weights=[weights[label] for label in LABELS])
    assert torch.equal(by_class(3, 100), by_item(3, 100))
    numbers = np.array([0] * 70 + [1] * 25 + [2] * 5)
    for labels in (numbers, torch.tensor(numbers), list(numbers)):
        assert torch.equal(
            sampling_order(labels, weights={0: 1, 1: 2, 2: 8})(3, 100), by_item(3, 100)
        )
    assert sampling_order(LABELS) is None


def test_class_weights_are_those_of_scikit_learn():
    weights = class_weights(LABELS)
    assert torch.allclose(weights, torch.tensor([100 / (3 * 70), 100 / (3 * 25), 100 / (3 * 5)]))
    of_items = weights[torch.tensor([0] * 70 + [1] * 25 + [2] * 5)]
    assert of_items.mean() == pytest.approx(1)
    utils = pytest.importorskip("sklearn.utils.class_weight")
    expected = utils.compute_class_weight("balanced", classes=np.unique(LABELS), y=LABELS)
    assert np.allclose(weights, expected)


def test_class_weights_follow_the_vocabulary():
    weights = class_weights([1, 1, 0, None], vocab=[2, 1, 0])
    assert torch.allclose(weights, torch.tensor([0, 0.75, 1.5]))
    loss = torch.nn.CrossEntropyLoss(weight=class_weights(torch.tensor([0, 1, 1])))
    assert loss(torch.zeros(3, 2), torch.tensor([0, 1, 1])) == pytest.approx(np.log(2))


# --- in a loader


def test_the_epoch_of_a_loader_is_a_function_of_seed_and_epoch():
    weights = torch.rand(40)
    epochs = {
        (seed, epoch): torch.cat(
            list(Loader(range(40), 8, order=WeightedOrder(weights), seed=seed).batches(epoch))
        ).tolist()
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len({tuple(epoch) for epoch in epochs.values()}) == 4
    torch.manual_seed(77)
    again = Loader(range(40), 8, order=pickle.loads(pickle.dumps(WeightedOrder(weights))), seed=2)
    before = torch.get_rng_state()
    assert torch.cat(list(again.batches(1))).tolist() == epochs[2, 1]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_epoch_begins_at_any_batch_with_any_number_of_workers(num_workers):
    order = sampling_order(LABELS, balanced=True)
    expected = list(Loader(range(100), 16, order=order, seed=3).batches(4))
    loader = Loader(range(100), 16, order=order, seed=3, num_workers=num_workers)
    for start in (0, 3, 6, 7):
        rest = list(loader.batches(4, start=start))
        assert len(rest) == 7 - start
        assert all(map(torch.equal, rest, expected[start:]))
    loader.close()


def test_tensors_are_drawn_by_weight_as_other_items_are():
    order = WeightedOrder([1.0] * 10 + [5.0] * 5)
    tensors = Loader(TensorItems(torch.arange(15)), 4, order=order, seed=1)
    items = Loader(range(15), 4, order=order, seed=1)
    assert [batch[0].tolist() for batch in tensors] == [batch.tolist() for batch in items]
    assert len(tensors) == 4


def test_a_loader_tells_its_order_and_does_not_hand_it_on():
    loader = Loader(range(4), 2, order=WeightedOrder([1, 2, 3, 4]), seed=1)
    assert (
        repr(loader)
        == "Loader(4 items of range, 2 batches of 2, order=WeightedOrder(4 weights), seed=1)"
    )
    assert loader.shuffle and not loader.like(range(9)).shuffle
    dls = DataLoaders(loader, Loader(range(3), 2), device="cpu")
    assert len(dls.test_dl(range(7)).dataset) == 7


def test_any_function_of_seed_and_n_is_an_order():
    backwards = Loader(range(5), 2, order=lambda seed, n: range(n - 1, -1, -1))
    assert torch.cat(list(backwards)).tolist() == [4, 3, 2, 1, 0]


# --- what is refused


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        ([1, 2, 3], TypeError, "is a function of .* got a `list`; for weights.* `WeightedOrder"),
        (WeightedOrder([1, 2]), ValueError, "`weights` has 2 values, but there are 3 items"),
        (lambda seed, n: [0, 1], ValueError, "must give 3 whole numbers, one for each item"),
        (lambda seed, n: [0.0, 1.0, 2.0], ValueError, "got a tensor .* torch.float32"),
        (lambda seed, n: [True, False, True], ValueError, "torch.bool"),
        (lambda seed, n: [0, 1, 3], ValueError, "indices from 0 to 3, but there are 3 items"),
        (lambda seed, n: [0, 1, -1], ValueError, "indices from -1 to 1"),
    ],
)
def test_a_loader_refuses_an_order_that_does_not_fit_when_it_is_made(order, error, message):
    with pytest.raises(error, match=message):
        Loader(range(3), order=order)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], r"has the shape \(0,\)"),
        ([[1, 2]], r"has the shape \(1, 2\); it needs one for each item"),
        ([1, -1], "at least 0 and finite, got -1.0 for item 1"),
        ([1, float("nan")], "got nan for item 1"),
        ([float("inf"), 1], "got inf for item 0"),
        ([0, 0], "are all 0, so no item would ever come"),
    ],
)
def test_weights_that_say_nothing_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        WeightedOrder(weights)


def test_what_to_sample_by_is_said_once_and_for_every_class():
    with pytest.raises(ValueError, match="leave one out"):
        sampling_order(LABELS, weights=[1] * 100, balanced=True)
    with pytest.raises(ValueError, match="the labels of the items are needed"):
        sampling_order(balanced=True)
    with pytest.raises(ValueError, match="`weights` has none for the classes `'owl'` of the items"):
        sampling_order(LABELS, weights={"cat": 1, "dog": 2})
    with pytest.raises(ValueError, match="`weights` has 3 values, but there are 100 items"):
        sampling_order(LABELS, weights=[1, 2, 3])
    with pytest.raises(TypeError, match="is a `list`, not one class"):
        sampling_order([["cat"], ["dog"]], balanced=True)
    with pytest.raises(ValueError, match="the labels `'owl'` are not in `vocab`"):
        class_weights(LABELS, vocab=["cat", "dog"])
    with pytest.raises(ValueError, match="no labels to weigh classes by"):
        class_weights([None])
