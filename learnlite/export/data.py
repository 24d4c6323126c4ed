"""The data's side of an exported file: what is done to an item and a batch before the model."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor

from learnlite.data import DataLoaders, Loader
from learnlite.data.tensors import TensorItems
from learnlite.data.wording import short
from learnlite.export.table import ExportError, Told, Transforms, name_of
from learnlite.recipe import plain
from learnlite.tensor_file import FileError

BATCH_TFMS = Transforms("batch transform")
ITEM_TFMS = Transforms("item transform")

_ROOMS = ("learnlite.vision.exported",)
"""What is imported where a file names what core does not know; a file names no module."""


def enter_rooms() -> None:
    """Import the packages that have tables and models of their own."""
    for room in _ROOMS:
        importlib.import_module(room)


@dataclass(frozen=True)
class DataForm:
    """How loaders of one class are told in a file, and made again without their data."""

    tell: Callable[[Any], Told]
    make: Callable[[Told], DataLoaders]


class NoData(Loader):
    """The place of a loader whose data no file holds: it knows what is done to an item.

    >>> len(NoData(ReadyItems()))
    Traceback (most recent call last):
    ...
    RuntimeError: a learner that was loaded has no data to train on or to validate with; ...
    """

    def __init__(self, dataset: Any, bs: int = 64, collate: Any = None) -> None:
        super().__init__([None], bs, seed=0, collate=collate)
        self.dataset = dataset

    def __len__(self) -> int:
        if hasattr(self, "_reader"):
            raise RuntimeError(_NO_DATA)
        return 1  # while it is made

    def batches(self, epoch: int, start: int = 0) -> Any:
        raise RuntimeError(_NO_DATA)

    def one_batch(self) -> Any:
        raise RuntimeError(_NO_DATA)

    def like(self, dataset: Any, **changes: Any) -> Loader:
        if dataset is self.dataset:
            raise RuntimeError(_NO_DATA)
        return Loader(dataset, **(cast(Told, {"bs": self.bs, "collate": self.collate}) | changes))

    def __repr__(self) -> str:
        return "NoData()"


class ReadyItems:
    """Makes datasets of what the model takes as it is: tensors, arrays, or items of a dataset."""

    def test_set(self, items: Any) -> Any:
        """A dataset of these items."""
        if isinstance(items, Tensor | np.ndarray):
            return TensorItems(items)
        return TensorItems(*cast(Any, items)) if isinstance(items, tuple) else items


class WithoutData(DataLoaders):
    """What an exported learner knows of its data: what is done to it, and none of it.

    >>> dls = WithoutData(vocab=["cat", "dog"], device="cpu")
    >>> import torch
    >>> dls, next(iter(dls.test_dl(torch.zeros(2, 3))))[0].shape
    (DataLoaders(no data, on cpu), torch.Size([2, 3]))
    """

    def __init__(
        self, dataset: Any = None, bs: int = 64, collate: Any = None, **settings: Any
    ) -> None:
        super().__init__(_OneBatch([()]), **settings)
        place = NoData(ReadyItems() if dataset is None else dataset, bs, collate)
        self.loaders = [place, place]

    def __repr__(self) -> str:
        return f"DataLoaders(no data{'' if self._device is None else f', on {self._device}'})"


class NoAugmentation:
    """Stands before the batch transforms of a file, to say that those of training are not there."""

    def __call__(self, batch: Any, kinds: Any, training: bool) -> Any:
        if training:
            raise RuntimeError(NO_AUGMENTATION)
        return batch

    def __repr__(self) -> str:
        return "NoAugmentation()"


class _OneBatch(list[Any]):
    """A loader for as long as there is none."""


def tell_data(dls: DataLoaders) -> Told:
    """What a file tells of loaders: all that predicting needs."""
    if type(dls) not in _KINDS:
        enter_rooms()
    for cls in type(dls).__mro__:
        kind = _KINDS.get(cls)
        if kind is not None:
            return {"kind": kind} | _FORMS[kind].tell(dls)
    raise TypeError(f"`dls` is a {type(dls).__name__}")


def make_data(told: Any) -> DataLoaders:
    """Loaders without data, from what `tell_data` told."""
    kind = cast(Told, told).get("kind") if isinstance(told, dict) else None
    if str(kind) not in _FORMS or cast(Told, told).get("batch_tfms"):
        enter_rooms()
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    if form is None:
        raise FileError(f"the file tells of data of the kind {short(kind)}, which is not known")
    return form.make(cast(Told, told))


def add_data(kind: str, form: DataForm, *classes: type[DataLoaders]) -> None:
    """Let loaders of these classes stand in a file."""
    _FORMS[kind] = form
    _KINDS.update(dict.fromkeys(classes, kind))


def tell_common(dls: DataLoaders) -> Told:
    """What all kinds of loaders tell."""
    pattern = dls.loaders[-1]
    bs = getattr(pattern, "bs", None) or getattr(pattern, "batch_size", None)
    vocab = dls.vocab
    try:
        return {
            "n_inp": dls.n_inp,
            "labels": list(dls.labels),
            "vocab": None if vocab is None else plain(list(vocab), "vocab"),
            "c": dls.c,
            "bs": bs if isinstance(bs, int) else 64,
            "kinds": list(dls.kinds),
            "batch_tfms": tell_batch_tfms(dls),
        }
    except TypeError as error:
        raise ExportError(f"a file cannot hold {error}; make the classes text or numbers") from None


def tell_batch_tfms(dls: DataLoaders) -> list[Told]:
    """What a file tells of the batch transforms of loaders, as validation has them."""
    tfms = [tfm for tfm in dls.batch_tfms if not isinstance(tfm, NoAugmentation)]
    if tfms:
        enter_rooms()
    return tell_tfms(BATCH_TFMS, tfms, WAY_OUT)


def made_common(told: Told) -> Told:
    """The arguments of `WithoutData` from what `tell_common` told, looked at."""
    wanted: dict[str, Callable[[Any], bool]] = {
        "n_inp": lambda v: v is None or _is_count(v),
        "labels": lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
        "vocab": lambda v: v is None or isinstance(v, list),
        "c": lambda v: v is None or _is_count(v),
        "bs": lambda v: _is_count(v) and v <= 1 << 20,
    }
    for name, fits in wanted.items():
        if not fits(told.get(name)):
            raise FileError(f"the file has {short(told.get(name))} as `{name}` of its data")
    found = {name: told.get(name) for name in wanted}
    return {"label": found.pop("labels"), **found}


def tell_tfms(table: Transforms, tfms: Any, way_out: str) -> list[Told]:
    """What a file tells of transforms; the first that it cannot hold is named."""
    told: list[Told] = []
    for tfm in tfms:
        try:
            one = table.tell(tfm)
        except ExportError as error:
            raise ExportError(f"the {table.what} `{name_of(tfm)}`: {error}; {way_out}") from None
        if one is None:
            raise ExportError(
                f"an exported file holds no code, and the {table.what} `{name_of(tfm)}` is code of "
                f"yours that predictions need; {way_out}"
            )
        told.append(one)
    return told


def make_batch_tfms(told: Any) -> list[Any]:
    """The batch transforms of loaders without data."""
    made = make_tfms(BATCH_TFMS, told)
    return [NoAugmentation(), *made] if made else []


def make_tfms(table: Transforms, told: Any) -> list[Any]:
    """The transforms that `tell_tfms` told of."""
    if not isinstance(told, list):
        raise FileError(f"the file has {short(told)} where a list of transforms should be")
    return [table.make(one) for one in cast("list[Any]", told)]


WAY_OUT = (
    'register it, by `@register_transform("name")`, or use one of learnlite\'s or of '
    "`torchvision.transforms.v2`"
)


def _make(told: Told) -> DataLoaders:
    dls = WithoutData(**made_common(told))
    dls.batch_tfms = make_batch_tfms(told.get("batch_tfms"))
    dls.kinds = made_kinds(told)
    return dls


def made_kinds(told: Told) -> tuple[str | None, ...]:
    """What the elements of a batch are, looked at."""
    kinds = told.get("kinds")
    if not isinstance(kinds, list) or not all(
        kind is None or isinstance(kind, str) for kind in cast("list[Any]", kinds)
    ):
        raise FileError(f"the file has {short(kinds)} as `kinds` of its data")
    return tuple(cast("list[Any]", kinds))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 48


_NO_DATA = (
    "a learner that was loaded has no data to train on or to validate with; give it some: "
    "`learn.dls = dls`, with the classes it knows (`vocab=learn.dls.vocab`)"
)
NO_AUGMENTATION = (
    "a learner that was loaded has no augmentation, as its file holds what is done to predict; "
    "give it loaders that have: `learn.dls = dls`"
)
_FORMS: dict[str, DataForm] = {}
_KINDS: dict[type[DataLoaders], str] = {}
add_data("DataLoaders", DataForm(tell_common, _make), DataLoaders, WithoutData)
