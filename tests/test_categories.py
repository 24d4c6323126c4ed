"""Labels as numbers: the vocabulary, the way there and back, and what is wrong with labels."""

import json
import pickle

import numpy as np
import pytest
import torch

from learnlite.data.categories import (
    Categorize,
    EncodedMultiCategorize,
    MultiCategorize,
    RegressionSetup,
    from_state,
)
from learnlite.data.splits import EndSplitter
from learnlite.data.vocab import NA, Vocab
from learnlite.vision.blocks import CategoryBlock, MaskBlock
from learnlite.vision.datablock import DataBlock

PATHS = ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg"]


def set_up(coder, *labels, **items):
    coder.setup(*labels, **items)
    return coder


# --- the vocabulary


def test_a_vocabulary_is_a_tuple_with_a_way_back():
    vocab = Vocab(["b", "a"])
    assert vocab == ["b", "a"] and vocab == ("b", "a")
    assert vocab != ["a", "b"] and vocab != "ba" and hash(vocab) == hash(("b", "a"))
    assert vocab.o2i == {"b": 0, "a": 1} and vocab[torch.tensor(1)] == "a"
    again = pickle.loads(pickle.dumps(vocab))
    assert again == vocab and again.o2i == vocab.o2i and repr(again) == "['b', 'a']"
    with pytest.raises(ValueError, match="the vocabulary has `a` more than once"):
        Vocab(["a", "b", "a"])


@pytest.mark.parametrize(
    "make", [Vocab, Categorize, MultiCategorize, EncodedMultiCategorize, CategoryBlock, MaskBlock]
)
def test_a_text_is_no_list_of_classes(make):
    with pytest.raises(TypeError, match=r"is a list of classes, got 'red'; give \['red'\]"):
        make("red")


def test_several_classes_are_taken_by_numbers_or_by_a_mask():
    vocab = Vocab(["ants", "bees", "cats"])
    for chosen in (torch.tensor([2, 0]), np.array([2, 0]), [2, 0], (2, 0), [torch.tensor(2), 0]):
        assert vocab[chosen] == ["cats", "ants"]
    assert vocab[torch.tensor(1)] == "bees" and vocab[1:] == ("bees", "cats")
    assert vocab[torch.tensor([[0], [1]])] == [["ants"], ["bees"]] and vocab[[]] == []
    assert vocab[torch.tensor([0.9, 0.1, 0.8]) > 0.5] == ["ants", "cats"]
    with pytest.raises(IndexError, match="a mask of 2 truth values chooses from 3 classes"):
        vocab[torch.tensor([True, False])]
    with pytest.raises(IndexError):
        vocab[torch.tensor([3])]


def test_labels_are_sorted_and_counted_once():
    assert set_up(Categorize(), ["b", "a", "c", "a"]).vocab == ["a", "b", "c"]
    assert set_up(Categorize(sort=False), ["b", "a", "c", "a"]).vocab == ["b", "a", "c"]
    assert set_up(Categorize(), [10, 9, 9.5]).vocab == [9, 9.5, 10]
    assert set_up(Categorize(), [True, False]).vocab == [False, True]
    assert set_up(Categorize(), [(1, 2), (1, 1)]).vocab == [(1, 1), (1, 2)]


def test_a_given_vocabulary_is_sorted_unless_told_otherwise_as_in_fastai():
    assert Categorize(["b", "a", "b"]).vocab == ["a", "b"]
    assert Categorize(["b", "a"], sort=False).vocab == ["b", "a"]
    assert (
        MultiCategorize(["b", "a"]).vocab == EncodedMultiCategorize(["b", "a"]).vocab == ["b", "a"]
    )


@pytest.mark.parametrize(
    "labels", [np.array([7, 3, 7]), torch.tensor([7, 3, 7]), list(np.array([7, 3]))]
)
def test_numbers_of_other_libraries_are_the_same_classes(labels):
    categorize = set_up(Categorize(), labels)
    assert categorize.vocab == [3, 7] and {type(label) for label in categorize.vocab} == {int}
    for seven in (7, np.int64(7), np.uint8(7), torch.tensor(7), 7.0):
        assert categorize.encode(seven) == 1


def test_types_that_do_not_compare_are_sorted_apart_with_a_warning():
    with pytest.warns(UserWarning, match=r"several types, as `3` \(`int`\) and `'3'` \(`str`\)"):
        vocab = set_up(Categorize(), ["3", 3, "1", 2]).vocab
    assert vocab == [2, 3, "1", "3"]
    assert Vocab.of([1j, 2j]) == [1j, 2j]  # no order of their own


def test_categories_of_pandas_keep_their_order():
    pandas = pytest.importorskip("pandas")
    sizes = pandas.Categorical(["big", "small"], categories=["small", "mid", "big"], ordered=True)
    with pytest.warns(UserWarning, match="no item of the training set is of class `mid`"):
        categorize = set_up(Categorize(), pandas.Series(sizes))
    assert categorize.vocab == ["small", "mid", "big"]
    assert set_up(Categorize(), pandas.Series(["b", "a"], index=[4, 5])).vocab == ["a", "b"]


# --- one class


def test_a_label_becomes_a_number_and_back():
    categorize = set_up(Categorize(), ["dog", "cat", "owl"], ["owl", "cat", "dog"])
    assert [categorize.encode(label) for label in categorize.vocab] == [0, 1, 2]
    assert [categorize.decode(i) for i in (0, np.int64(1), torch.tensor(2))] == categorize.vocab
    assert type(categorize.encode("dog")) is int and categorize.c == 3
    for i in (3, -1):
        with pytest.raises(ValueError, match=f"3 classes, counted from 0: none is {i}"):
            categorize.decode(i)


def test_an_unknown_label_is_named_with_its_item_and_the_nearest_class():
    categorize = set_up(Categorize(), ["beagle", "pug"])
    with pytest.raises(
        ValueError,
        match="the label `'beegle'` of `a/2.jpg` is not among the 2 classes `'beagle'`, `'pug'`; "
        r"did you mean `beagle`\?; train on such items too, name all classes by `vocab`",
    ):
        categorize.encode("beegle", "a/2.jpg")
    with pytest.raises(ValueError, match="the label `None` is missing|the label is missing"):
        categorize.encode(None)
    numbers = set_up(Categorize(), [3, 7])
    with pytest.raises(ValueError, match="there it is a `int`, the label is a `str`"):
        numbers.encode("3")
    with pytest.raises(TypeError, match=r"\['pug'\] of item a/2.jpg is a `list`, not one class"):
        categorize.encode(["pug"], "a/2.jpg")


def test_labels_of_validation_are_checked_before_any_training():
    with pytest.raises(
        ValueError,
        match=r"the validation set has the label `'owl'` \(2 times, first in item 1, `a/2.jpg`\), "
        "which is not among the 2 classes",
    ):
        Categorize().setup(["cat", "dog"], ["cat", "owl", "owl"], valid_items=PATHS)
    with pytest.raises(ValueError, match=r"`'owl'` \(in item 0\), which \(as 1 others\) is not"):
        Categorize().setup(["cat", "dog"], ["owl", "emu"])
    with pytest.raises(ValueError, match="the training set has the label `'owl'`"):
        Categorize(["cat", "dog"]).setup(["cat", "owl"])


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan])
def test_missing_labels_are_errors_or_a_class_of_their_own(missing):
    with pytest.raises(
        ValueError,
        match=r"1 of the training set's labels .*the first in item 1, `a/2.jpg`; fill it",
    ):
        Categorize().setup(["cat", missing, "dog"], items=PATHS)
    categorize = set_up(Categorize(add_na=True), ["cat", missing, "dog"])
    assert categorize.vocab == [NA, "cat", "dog"]
    assert categorize.encode(missing) == categorize.encode("owl") == 0
    assert categorize.encode("dog") == 2


def test_what_counts_as_unknown_is_told():
    with pytest.warns(
        UserWarning, match="2 of the validation set's labels count as `#na#`: `'owl'`"
    ):
        Categorize(add_na=True).setup(["cat", "dog"], ["cat", "dog", "owl", "owl"])


def test_a_class_that_a_set_lacks_is_warned_of():
    with pytest.warns(UserWarning, match="no item of the validation set is of class `dog`, which"):
        Categorize().setup(["cat", "dog"], ["cat"])
    with pytest.warns(
        UserWarning, match="training set is of class `owl`, which so cannot be learned"
    ):
        Categorize(["cat", "dog", "owl"]).setup(["cat", "dog"])


def test_a_single_class_is_warned_of_and_none_is_an_error():
    for add_na in (False, True):
        with pytest.warns(
            UserWarning, match="there is one class only, `cat`: nothing to tell apart"
        ):
            Categorize(add_na=add_na).setup(["cat", "cat"])
    with pytest.raises(ValueError, match="the 0 labels of the training set name no class"):
        Categorize().setup([])
    with pytest.raises(RuntimeError, match="`Categorize` has no vocabulary yet; call its `setup`"):
        Categorize().encode("cat")


def test_labels_that_are_lists_are_sent_to_the_right_kind():
    with pytest.raises(
        TypeError, match=r"\['a'\] of item 1, `a/2.jpg` is a `list`.*`MultiCategorize`"
    ):
        Categorize().setup(["a", ["a"]], items=PATHS)


# --- several classes


def test_several_classes_are_ones_in_a_row_of_zeros():
    categorize = set_up(MultiCategorize(), [["sun", "sea"], ["sea"], [], ("sky",)])
    assert categorize.vocab == ["sea", "sky", "sun"]
    encoded = categorize.encode(["sun", "sea", "sun"])
    assert encoded.dtype == torch.float32 and encoded.tolist() == [1, 0, 1]
    for labels in (["sea", "sun"], [], ["sky"]):
        assert categorize.decode(categorize.encode(labels)) == labels
    assert categorize.decode([0.4, 0.6, 0.9]) == ["sky", "sun"]
    assert categorize.decode(torch.tensor([True, False, False])) == ["sea"]
    with pytest.raises(ValueError, match=r"3 classes, but values of shape \(2,\)"):
        categorize.decode([0, 1])


def test_a_string_is_not_taken_for_a_list_of_letters():
    with pytest.raises(
        TypeError, match=r"'sun' of `a/2.jpg` is a `str`.*split text, as by `ColReader"
    ):
        MultiCategorize().setup([["sun"], "sun"], items=PATHS)
    with pytest.raises(TypeError, match="None of `item 1` is a `NoneType`"):
        MultiCategorize().setup([["sun"], None])


def test_unknown_ones_among_several_are_named():
    with pytest.raises(ValueError, match=r"`'sky'` \(in item 2, `a/3.jpg`\), which is not among"):
        MultiCategorize().setup(
            [["sun"], ["sea"]], [[], ["sun", "sea"], ["sky"]], valid_items=PATHS
        )
    with pytest.raises(ValueError, match="the label `'sky'` of `a/1.jpg` is not among"):
        MultiCategorize(["sun"]).encode(["sun", "sky"], "a/1.jpg")
    assert MultiCategorize(["sun"], add_na=True).encode(["sky", "sun"]).tolist() == [1, 1]
    with pytest.warns(UserWarning, match="no item of the validation set is of class `sea`"):
        MultiCategorize().setup([["sun"], ["sea"]], [["sun"]])


def test_encoded_labels_pass_through_and_are_looked_at():
    categorize = EncodedMultiCategorize(["sea", "sky", "sun"])
    categorize.setup([[0, 1, 1]], [np.array([1, 0, 0])])
    for label in (
        [0, 1, 1],
        np.array([0, 1, 1]),
        torch.tensor([False, True, True]),
        ["0", "1", "1"],
    ):
        assert torch.equal(categorize.encode(label), torch.tensor([0.0, 1, 1]))
    assert categorize.decode([0, 1, 1]) == ["sky", "sun"]
    with pytest.raises(
        ValueError, match=r"of `a/1.jpg` has the shape \(2,\).*each of the 3 classes"
    ):
        categorize.setup([[0, 1]], items=PATHS)
    with pytest.raises(ValueError, match="must be made of 0 and 1"):
        categorize.encode([0, 2, 0])
    with pytest.raises(ValueError, match="is not made of numbers"):
        categorize.encode(["sea"])


# --- numbers


@pytest.mark.parametrize(
    ("labels", "c", "first"),
    [
        ([1, 2], 1, 1.0),
        (["1.5", "2"], 1, 1.5),
        (np.array([[1, 2], [3, 4]]), 2, [1.0, 2.0]),
        ([("1", "2"), (3, 4)], 2, [1.0, 2.0]),
        (torch.tensor([1.5, 2]), 1, 1.5),
    ],
)
def test_numbers_become_floats_and_are_counted(labels, c, first):
    regression = set_up(RegressionSetup(), labels, labels)
    assert regression.c == c
    encoded = regression.encode(labels[0])
    assert encoded.dtype == torch.float32 and regression.decode(encoded) == first


def test_numbers_that_are_none_are_named():
    with pytest.raises(ValueError, match="'many' of `a/2.jpg` is not made of numbers"):
        RegressionSetup().setup([1, "many"], items=PATHS)
    for missing in (None, float("nan"), float("inf"), "nan"):
        with pytest.raises(ValueError, match="of `item 1` is missing or not finite; fill it"):
            RegressionSetup().setup([1, missing])
    with pytest.raises(ValueError, match=r"\[1, 2, 3\] of `item 1` is 3 numbers, .* has to be 2"):
        RegressionSetup().setup([[1, 2]], [[1, 2], [1, 2, 3]])


# --- kept as plain data


@pytest.mark.parametrize(
    "coder",
    [
        Categorize(["b", "a"], sort=False),
        Categorize(["b", "a", 1.5], add_na=True, sort=False),
        MultiCategorize(["b", "a"]),
        MultiCategorize(["b", "a"], add_na=True),
        EncodedMultiCategorize(["b", "a"]),
        RegressionSetup(3),
        RegressionSetup(),
    ],
    ids=repr,
)
def test_all_they_know_goes_through_json(coder):
    again = from_state(json.loads(json.dumps(coder.state())))
    assert type(again) is type(coder) and again.state() == coder.state()
    assert repr(again) == repr(coder)
    if coder.vocab is not None:
        assert again.vocab == coder.vocab
        assert torch.equal(
            torch.as_tensor(again.encode(_one(coder))), torch.as_tensor(coder.encode(_one(coder)))
        )


def _one(coder):
    return (
        "b"
        if isinstance(coder, Categorize)
        else ["b"]
        if isinstance(coder, MultiCategorize)
        else [0, 1]
    )


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"kind": "os.system", "vocab": ["ls"], "add_na": False},
        {"kind": "Categorize"},
        {"kind": "Categorize", "vocab": "abc", "add_na": False},
        {"kind": "Categorize", "vocab": ["a", "a"], "add_na": False},
        {"kind": "Categorize", "vocab": ["a"], "add_na": "yes"},
        {"kind": "Categorize", "vocab": ["a"], "add_na": True},
        {"kind": "MultiCategorize", "vocab": [["a"]], "add_na": False},
        {"kind": "MultiCategorize", "vocab": [{"a": 1}], "add_na": False},
        {"kind": "RegressionSetup", "c": -1},
        {"kind": "RegressionSetup", "c": "1"},
    ],
)
def test_other_data_is_refused(state):
    with pytest.raises(
        (ValueError, TypeError), match="saved|kind of labels|not what|once|be stored"
    ):
        from_state(state)


def test_labels_that_json_cannot_hold_are_told_when_they_are_kept():
    with pytest.raises(TypeError, match=r"the class \(1, 2\) is a `tuple`, which cannot be stored"):
        Categorize([(1, 2), (3, 4)]).state()


def test_they_show_their_classes():
    assert repr(Categorize()) == "Categorize()"
    assert repr(Categorize(["a", "b"])) == "Categorize(2 classes: 'a', 'b')"
    assert repr(MultiCategorize(map(str, range(20)))).endswith("'9', ...)")
    assert repr(EncodedMultiCategorize(["a"])) == "EncodedMultiCategorize(1 class: 'a')"


def test_a_warning_names_the_line_of_the_user_however_deep_its_cause_lies():
    items = [f"{i}.jpg" for i in range(4)]
    block = DataBlock(CategoryBlock, get_x=lambda item: "cat", splitter=EndSplitter(0.5))
    for make in (lambda: Categorize().setup(["cat", "cat"]), lambda: block.datasets(items)):
        with pytest.warns(UserWarning, match="one class only") as caught:
            make()
        assert [warning.filename for warning in caught] == [__file__]
