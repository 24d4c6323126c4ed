"""Splitters: the shares they promise, what they leave out, and what they refuse."""

import copy
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from learnlite.data.splits import (
    ColSplitter,
    EndSplitter,
    FileSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    MaskSplitter,
    NoSplitter,
    RandomSplitter,
    RandomSubsetSplitter,
    TrainTestSplitter,
    checked_split,
    subset,
)
from learnlite.data.tables import read_csv

LABELS = ["cat"] * 61 + ["dog"] * 33 + ["owl"] * 7 + ["emu"] * 2
FOLDERS = [f"data/{part}/ants/{i}.jpg" for part in ("train", "val") for i in range(3)]

DRAWN = [
    RandomSplitter(0.3, seed=5),
    TrainTestSplitter(0.3, random_state=5),
    TrainTestSplitter(0.3, random_state=5, stratify=LABELS),
    RandomSubsetSplitter(0.6, 0.3, seed=5),
]


def is_partition(split, n):
    return sorted(split[0] + split[1]) == list(range(n))


# --- drawn ones


@pytest.mark.parametrize("splitter", DRAWN, ids=repr)
def test_a_seed_decides_the_split_and_nothing_is_drawn_from_elsewhere(splitter):
    before = torch.get_rng_state()
    first = splitter(LABELS)
    torch.manual_seed(99)
    assert splitter(LABELS) == first == pickle.loads(pickle.dumps(splitter))(LABELS)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not set(first[0]) & set(first[1])
    assert all(type(i) is int for part in first for i in part)


@pytest.mark.parametrize("make", [RandomSplitter, TrainTestSplitter])
def test_without_a_seed_the_global_generator_of_torch_decides(make):
    torch.manual_seed(7)
    first, second = make()(LABELS), make()(LABELS)
    torch.manual_seed(7)
    assert make()(LABELS) == first != second


@pytest.mark.parametrize("n", [2, 3, 4, 5, 10, 103, 1000])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.29, 0.5, 0.99])
def test_counts_are_those_of_fastai_but_never_none(n, share):
    n_valid = max(int(share * n), 1)
    train, valid = RandomSplitter(share, seed=1)(range(n))
    assert len(valid) == n_valid and is_partition((train, valid), n)
    assert EndSplitter(share)(range(n)) == (
        list(range(n - n_valid)),
        list(range(n - n_valid, n)),
    )
    train, valid = EndSplitter(share, valid_last=False)(range(n))
    assert valid + train == list(range(n)) and len(valid) == n_valid


def test_every_item_is_as_likely_to_validate_as_any_other():
    counts = np.zeros(20)
    for seed in range(2000):
        counts[RandomSplitter(0.25, seed=seed)(range(20))[1]] += 1
    # each count has mean 500 and standard deviation sqrt(2000 * 0.25 * 0.75) = 19.4
    assert abs(counts - 500).max() < 5 * 19.4


@pytest.mark.parametrize("test_size", [0.1, 0.2, 0.37, 0.5, 31])
def test_a_stratified_split_gives_each_class_its_share_to_within_one_item(test_size):
    n = len(LABELS)
    splitter = TrainTestSplitter(test_size, random_state=3, stratify=LABELS)
    train, valid = splitter(LABELS)
    assert is_partition((train, valid), n)
    share = len(valid) / n
    for part, of_part in ((train, 1 - share), (valid, share)):
        counts = Counter(LABELS[i] for i in part)
        for label, total in Counter(LABELS).items():
            assert abs(counts[label] - total * of_part) < 1


def test_a_stratified_split_with_both_sizes_leaves_the_rest_out():
    splitter = TrainTestSplitter(0.2, random_state=3, stratify=LABELS, train_size=0.5)
    train, valid = splitter(LABELS)
    assert (len(train), len(valid)) == (51, 21)
    assert not set(train) & set(valid)
    for label, total in Counter(LABELS).items():
        n_train = sum(LABELS[i] == label for i in train)
        assert abs(n_train - total * 51 / 103) < 1


def test_sizes_are_counted_as_scikit_learn_counts_them():
    model_selection = pytest.importorskip("sklearn.model_selection")
    sizes = [(0.2, None), (0.33, None), (None, None), (0.2, 0.5), (7, None), (7, 0.5), (None, 0.9)]
    for n in (5, 20, 103):
        for test_size, train_size in sizes:
            settings = {"test_size": test_size, "train_size": train_size}
            try:
                expected = model_selection.train_test_split(range(n), **settings)
            except ValueError:
                with pytest.raises(ValueError, match="of 5 items"):
                    TrainTestSplitter(**settings)(range(n))
                continue
            given = TrainTestSplitter(**settings)(range(n))
            assert [len(part) for part in given] == [len(part) for part in expected]
            in_order = model_selection.train_test_split(range(n), **settings, shuffle=False)
            assert list(TrainTestSplitter(**settings, shuffle=False)(range(n))) == in_order


def test_stratify_takes_a_function_and_labels_of_several_classes():
    paths = [f"{label}/{i}.jpg" for i, label in enumerate(LABELS)]
    by_function = TrainTestSplitter(random_state=1, stratify=lambda path: path[:3])(paths)
    assert by_function == TrainTestSplitter(random_state=1, stratify=LABELS)(paths)
    several = [["sea", "sun"], ["sun"]] * 10
    valid = TrainTestSplitter(random_state=1, stratify=several)(several)[1]
    assert sorted(map(len, (several[i] for i in valid))) == [1, 1, 2, 2]


def test_a_class_of_one_item_is_trained_on():
    labels = ["cat"] * 9 + ["owl"]
    for seed in range(20):
        train, _ = TrainTestSplitter(0.5, random_state=seed, stratify=labels)(labels)
        assert 9 in train
    with pytest.raises(ValueError, match="leaves 0 of 3 items for validation, but 1 are asked for"):
        TrainTestSplitter(stratify="abc")("abc")


def test_the_parts_of_a_random_subset_have_their_sizes():
    train, valid = RandomSubsetSplitter(0.5, 0.25, seed=1)(range(101))
    assert (len(train), len(valid)) == (50, 25) and not set(train) & set(valid)
    assert is_partition(RandomSubsetSplitter(0.7, 0.3, seed=1)(range(10)), 10)


# --- by what the items are


def test_the_grandparent_folder_decides():
    assert GrandparentSplitter(valid_name="val")(FOLDERS) == ([0, 1, 2], [3, 4, 5])
    paths = [Path(path) for path in FOLDERS]
    assert GrandparentSplitter("val", "train")(paths) == ([3, 4, 5], [0, 1, 2])
    more = [*FOLDERS, "data/test/ants/1.jpg", "data/extra/ants/1.jpg"]
    assert GrandparentSplitter(["train", "extra"], ["val"])(more) == ([0, 1, 2, 7], [3, 4, 5])


def test_a_folder_that_is_not_there_is_answered_by_those_that_are():
    with pytest.raises(
        ValueError,
        match=r"no item has `valid` as the folder two above it; found `train` \(3\), `val` \(3\); "
        "name the folder by `valid_name`; did you mean `val`?",
    ):
        GrandparentSplitter()(FOLDERS)
    with pytest.raises(ValueError, match="found no folder"):
        GrandparentSplitter()(["1.jpg"])
    with pytest.raises(ValueError, match="`train` is named for training and for validation"):
        GrandparentSplitter("train", ["valid", "train"])
    with pytest.raises(TypeError, match="the item 3 is a `int`; split by `FuncSplitter"):
        GrandparentSplitter()([3])


@pytest.mark.parametrize("valid", [[4, 1], (4, 1), np.array([4, 1]), torch.tensor([4, 1]), {4, 1}])
def test_indices_validate_in_their_order_and_the_others_are_trained_on(valid):
    train, found = IndexSplitter(valid)("abcde")
    assert train == [0, 2, 3] and found == list(map(int, valid))
    assert IndexSplitter(3)("abcde") == ([0, 1, 2, 4], [3])


@pytest.mark.parametrize(
    ("valid", "error", "message"),
    [
        ([5], ValueError, "`valid_idx` has the index 5, but there are 5 items, counted from 0"),
        ([-1], ValueError, "the index -1"),
        ([1, 2, 1], ValueError, "the index 1 2 times; name it once"),
        ([], ValueError, "`valid_idx` leaves no item to validate with, of 5; give `NoSplitter"),
        (range(5), ValueError, "`valid_idx` leaves no item to train on, of 5"),
        ([True, False, True, False, True], TypeError, "truth values.*use `MaskSplitter`"),
        (["1"], TypeError, "must hold whole numbers, got"),
        ([0.5], TypeError, "must hold whole numbers, got"),
    ],
)
def test_indices_that_mean_nothing_are_refused(valid, error, message):
    with pytest.raises(error, match=message):
        IndexSplitter(valid)("abcde")


@pytest.mark.parametrize(
    "mask",
    [[False, True, False], np.array([False, True, False]), torch.tensor([0, 1, 0]), "010"],
)
def test_a_mask_is_true_where_items_validate(mask):
    assert MaskSplitter(mask)("abc") == ([0, 2], [1])


def test_a_mask_has_a_value_for_each_item_and_means_something():
    with pytest.raises(ValueError, match="`mask` has 2 values, but there are 3 items"):
        MaskSplitter([True, False])("abc")
    with pytest.raises(ValueError, match="`mask` has nan at 1, neither true nor false"):
        MaskSplitter([True, float("nan"), 0])("abc")
    with pytest.raises(ValueError, match="`mask` leaves no item to validate with, of 2"):
        MaskSplitter([False, False])("ab")


def test_a_function_decides_and_its_error_names_the_item():
    assert FuncSplitter(lambda path: "val" in path)(FOLDERS) == ([0, 1, 2], [3, 4, 5])
    with pytest.raises(AttributeError) as caught:
        FuncSplitter(lambda path: path.stem)(FOLDERS)
    assert any("the item is 'data/train/ants/0.jpg'" in note for note in caught.value.__notes__)


def test_a_file_names_what_validates(tmp_path):
    names = tmp_path / "valid.txt"
    names.write_bytes("\ufeff1.jpg\r\n\r\n3.jpg\r\n".encode())  # as Windows writes it
    items = [Path(f"photos/{i}.jpg") for i in range(5)]
    assert FileSplitter(names)(items) == ([0, 2, 4], [1, 3])
    names.write_text("./cats/1.jpg\n")
    assert FileSplitter(str(names))(["a/cats/1.jpg", "a/dogs/1.jpg"]) == ([1], [0])


def test_a_file_of_other_names_is_told_apart_from_one_with_some_missing(tmp_path):
    names = tmp_path / "valid.txt"
    names.write_text("1.png\n2.png\n")
    with pytest.raises(
        ValueError, match=r"2 of the 2 names .* no item: `1.png`, `2.png`; the item"
    ):
        FileSplitter(names)(["a/1.jpg", "a/2.jpg"])
    with pytest.warns(UserWarning, match="1 of the 2 names in .* name of no item: `2.png`"):
        assert FileSplitter(names)(["a/1.png", "a/3.png"]) == ([1], [0])
    names.write_text("\n")
    with pytest.raises(ValueError, match="names no file; it needs one a line"):
        FileSplitter(names)


def test_a_column_decides(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("fname,is_valid,fold\n1.jpg,False,a\n2.jpg,TRUE,b\n3.jpg,0,c\n")
    rows = read_csv(path)
    assert ColSplitter()(rows) == ColSplitter(1)(rows) == ([0, 2], [1])
    assert ColSplitter("fold", on="c")(rows) == ([0, 1], [2])
    assert ColSplitter("fold", on=["a", "c"])(rows) == ([1], [0, 2])
    assert ColSplitter("is_valid")({"is_valid": [1, 0, np.True_]}.copy()) == ([1], [0, 2])


def test_a_column_that_does_not_decide_is_told_why():
    rows = [{"part": "train"}, {"part": "valid"}, {"part": "train"}]
    with pytest.raises(ValueError, match="column `part` has 'train' at 0.*name the values.* `on=`"):
        ColSplitter("part")(rows)
    with pytest.raises(
        ValueError, match=r"no row has 'val' in column `part`; it has 'train' \(2\)"
    ):
        ColSplitter("part", on="val")(rows)
    with pytest.raises(ValueError, match="no column `is_valid` among `part`"):
        ColSplitter()(rows)
    with pytest.raises(ValueError, match="column `is_valid` has nan at 1"):
        ColSplitter()([{"is_valid": True}, {"is_valid": float("nan")}])


def test_a_data_frame_is_split_by_its_rows():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"fname": list("abcd"), "is_valid": [0, 1, 0, 1]}, index=[9, 8, 7, 6])
    expected = ([0, 2], [1, 3])
    assert ColSplitter()(frame) == ColSplitter(1)(frame) == expected
    assert ColSplitter("fname", on=["b", "d"])(frame) == expected
    assert MaskSplitter(frame["is_valid"])(frame) == expected
    assert FuncSplitter(lambda row: row.is_valid)(frame) == expected
    assert is_partition(RandomSplitter()(frame), 4)
    gaps = pandas.DataFrame({"part": ["b", pandas.NA, "a"]}, dtype=object)
    assert ColSplitter("part", on="a")(gaps) == ([0, 1], [2])
    texts = pandas.DataFrame({"is_valid": ["False", "True", None]})
    with pytest.raises(ValueError, match="column `is_valid` has (None|nan) at 2"):
        ColSplitter()(texts)


# --- what all of them refuse


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.2, True, "0.2", float("nan"), None])
def test_a_share_lies_between_nothing_and_all(share):
    for make in (RandomSplitter, EndSplitter, lambda one: RandomSubsetSplitter(0.5, one)):
        with pytest.raises(ValueError, match="must be a share between 0 and 1, got"):
            make(share)


def test_messages_on_shares_say_what_was_meant():
    with pytest.raises(ValueError, match="got 20; write 0.2 for 20 %"):
        RandomSplitter(20)
    with pytest.raises(ValueError, match="give `NoSplitter"):
        RandomSplitter(0)
    with pytest.raises(ValueError, match="`test_size=0.2` and `train_size=0.9` are more than the"):
        TrainTestSplitter(train_size=0.9)
    with pytest.raises(ValueError, match="`test_size` must be a share between 0 and 1, got 1.0"):
        TrainTestSplitter(1.0)
    with pytest.raises(ValueError, match="of 10 items are 10 and 0; both sets need at least one"):
        TrainTestSplitter(10)(range(10))
    with pytest.raises(ValueError, match="`train_sz=0.9` and `valid_sz=0.2` are more"):
        RandomSubsetSplitter(0.9, 0.2)
    with pytest.raises(ValueError, match="`shuffle=False` forbids"):
        TrainTestSplitter(stratify=LABELS, shuffle=False)
    with pytest.raises(ValueError, match="`stratify` has 103 values, but there are 3 items"):
        TrainTestSplitter(stratify=LABELS)("abc")


@pytest.mark.parametrize("n", [0, 1])
def test_less_than_two_items_cannot_be_split(n):
    what = "only one item" if n else "no item"
    for splitter in (RandomSplitter(), EndSplitter(), TrainTestSplitter()):
        with pytest.raises(ValueError, match=f"there is {what} to split in two"):
            splitter(range(n))


def test_a_splitter_of_the_user_is_looked_at():
    given = (np.array([0, 1]), torch.tensor([2]))
    assert checked_split(lambda items: given, "abc") == ([0, 1], [2])
    assert checked_split(lambda items: ([0], [2]), "abc") == ([0], [2])

    def twice(items):
        return [0, 1], [1, 2]

    faults = {
        r"1 items are in .*of `twice`, the first is 1, 'b'": twice,
        "leaves no item to train on, of 3": lambda items: ([], [0]),
        r"leaves no item to validate with, of 3; give `NoSplitter\(\)`": lambda items: ([0], []),
        "`valid` has the index 3, but there are 3 items": lambda items: ([0], [3]),
    }
    for message, splitter in faults.items():
        with pytest.raises(ValueError, match=message):
            checked_split(splitter, "abc")
    with pytest.raises(TypeError, match="gives two lists of indices.* gave None"):
        checked_split(lambda items: None, "abc")
    with pytest.raises(ValueError, match="there are no items to split"):
        checked_split(RandomSplitter(), [])


def test_only_who_asks_for_it_trains_without_validation():
    assert checked_split(NoSplitter(), "abc") == ([0, 1, 2], [])


def test_splitters_show_what_they_do_but_not_long_lists():
    assert repr(RandomSplitter(0.1, seed=3)) == "RandomSplitter(valid_pct=0.1, seed=3)"
    assert repr(IndexSplitter(range(9))) == "IndexSplitter()"
    assert copy.copy(EndSplitter()) == EndSplitter()


# --- a part for quick tries


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9, 1.0, 1, 40, 103])
def test_a_subset_has_its_size_and_each_class_its_share(share):
    part = subset(LABELS, share, LABELS)
    n_chosen = round(share * 103) if isinstance(share, float) else share
    assert len(part) == len(set(part)) == n_chosen and part == sorted(part)
    counts = Counter(LABELS[i] for i in part)
    for label, total in Counter(LABELS).items():
        assert abs(counts[label] - total * n_chosen / 103) < 1


def test_what_is_left_of_whole_items_goes_to_the_largest_remainders():
    labels = ["cat"] * 52 + ["dog"] * 29 + ["owl"] * 19  # 5.2, 2.9 and 1.9 of ten
    assert Counter(labels[i] for i in subset(labels, 10, labels)) == {"cat": 5, "dog": 3, "owl": 2}


def test_a_rare_class_is_not_lost_where_there_is_room_for_it():
    labels = ["cat"] * 96 + ["owl", "emu"] * 2
    part = subset(labels, 0.1, labels)
    assert {labels[i] for i in part} >= {"cat", "owl"} or {labels[i] for i in part} >= {
        "cat",
        "emu",
    }


def test_a_subset_is_the_same_every_time_unless_the_seed_is_another():
    assert subset(LABELS, 0.3) == subset(LABELS, 0.3) != subset(LABELS, 0.3, seed=1)
    assert subset(range(9), 1.0) == list(range(9))
    assert subset(range(3), 0.01) == subset(range(3), 1)


def test_a_subset_is_of_something():
    for share, message in ((0, "from 1 to 9 items"), (10, "got 10"), (1.5, "at most 1, got 1.5")):
        with pytest.raises(ValueError, match=message):
            subset(range(9), share)
    with pytest.raises(ValueError, match="`labels` has 2 values, but there are 9 items"):
        subset(range(9), 0.5, ["a", "b"])
    with pytest.raises(ValueError, match="no items to choose from"):
        subset([], 0.5)


def test_a_million_items_are_split_at_once():
    labels = np.arange(1_000_000) % 1000
    train, valid = TrainTestSplitter(0.1, random_state=0, stratify=labels)(labels)
    assert np.array_equal(np.bincount(labels[valid]), np.full(1000, 100))
    assert len(train) == 900_000
