"""Datasets of torchvision, Hugging Face and the like: their items, without copying any."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, cast

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from learnlite.data.members import shown
from learnlite.data.reading import item_path
from learnlite.data.wording import quoted, short
from learnlite.vision.decode import ImageError

_LABELS = ("targets", "labels", "_labels")  # where torchvision's datasets list them
_NAMES_OF_LABELS = ("label", "labels", "target", "y")


class Samples:
    """The samples of a dataset as items: each is read when an element of it is wanted.

    `x` and `y` are the keys of the image and of the label; of samples that are dicts they are found
    where there is only one of the kind. `names` are those of whole-numbered labels.

    >>> samples = Samples([("a picture", 0), ("another", 1)], names=["cat", "dog"])
    >>> samples.image(samples[1]), samples.label(samples[1])
    ('another', 'dog')
    """

    def __init__(
        self, dataset: Any, x: Any = None, y: Any = None, names: Sequence[Any] | None = None
    ) -> None:
        self.dataset = _checked(dataset)
        first = dataset[0]
        self.x, self.y = _keys(first, getattr(dataset, "features", None), x, y)
        self.own = _names(dataset, self.y)
        self.names = _distinct(names) if names is not None else self.own
        self._begun: tuple[int, Any] | None = None
        self._known: dict[int, int | str] = {}  # labels that were read
        self._labels = _listed_labels(dataset, self.y, first)

    def like(self, dataset: Any) -> "Samples":
        """Those of another dataset, read in this way; where both name their classes, names count.

        >>> class Pets(list):
        ...     def __init__(self, samples, classes):
        ...         super().__init__(samples)
        ...         self.classes = classes
        >>> later = Samples(Pets([("", 1)], ["cat", "dog"])).like(Pets([("", 0)], ["dog"]))
        >>> later.label(later[0])
        'dog'
        """
        other = Samples(dataset, self.x, self.y)
        if self.names is not None:
            name_of = dict(zip(self.own or (), self.names, strict=False))
            known = self.own is not None and other.own is not None
            other.names = [name_of.get(n, n) for n in other.own or ()] if known else self.names
        return other

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> "Sample":
        return Sample(self, range(len(self))[i])

    def __iter__(self) -> Iterator["Sample"]:
        return (Sample(self, i) for i in range(len(self)))

    def read(self, i: int) -> Any:
        """A sample, read anew: the dataset's own transforms may be random."""
        try:
            return self.dataset[i]
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            path = item_path(self.dataset, i) or f"sample {i} of {_kind(self.dataset)}"
            raise ImageError(shown(path), f"cannot be read: {shown(str(error))}") from error

    def image(self, item: Any) -> Any:
        """The image of an item; of one to predict, which is no sample, the image that it is."""
        sample = item
        if isinstance(item, Sample):
            sample = item.samples.begin(item.i)
        elif not isinstance(item, tuple | list | Mapping):
            return item
        image = sample[self.x]
        if isinstance(image, Mapping):  # not decoded by Hugging Face: {"bytes": …, "path": …}
            file = cast(Mapping[str, Any], image)
            return file["path"] if file.get("bytes") is None else file["bytes"]
        if isinstance(image, Tensor) and image.is_floating_point():
            least, most = (end.item() for end in image.aminmax())
            if not 0 <= least <= most <= 1:
                way_out = (
                    "give bytes, of the type uint8, or divide by 255"
                    if least >= 0
                    else "take `Normalize` out of the dataset's transforms, and give it as one of "
                    "`batch_tfms`"
                )
                raise ValueError(
                    f"{_item(item)} is an image of numbers from {least:.3g} to {most:.3g}, not "
                    f"from 0 to 1; {way_out}"
                )
        return image

    def label(self, item: Any) -> Any:
        """The label of an item, by its name where there is one."""
        names = self.names
        if isinstance(item, Sample):
            label, names = item.samples.number(item.i), item.samples.names
        else:
            label = item[self.y]
        label = _plain(label)
        if names is None or not isinstance(label, int):
            return label
        if not 0 <= label < len(names):
            raise ValueError(
                f"{_item(item)} has the label {label}, and there are {len(names)} classes, counted "
                "from 0; leave out what has no label, as by `dataset.filter(...)`"
            )
        return names[label]

    def begin(self, i: int) -> Any:
        """A sample of which the label is asked for next."""
        sample = self.read(i)
        if self._labels is None and i not in self._known:
            self._begun = (i, sample)
        return sample

    def number(self, i: int) -> Any:
        """The label as the dataset has it."""
        if self._labels is not None:
            return self._labels[i]
        begun, self._begun = self._begun, None
        if i in self._known:
            return self._known[i]
        label = (begun[1] if begun is not None and begun[0] == i else self.read(i))[self.y]
        if isinstance(label, int | str):
            self._known[i] = label
        return label

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_begun": None}

    def __repr__(self) -> str:
        return f"Samples({len(self):,} of {_kind(self.dataset)})"


class Sample:
    """One sample of a dataset, not yet read."""

    __slots__ = ("i", "samples")

    def __init__(self, samples: Samples, i: int) -> None:
        self.samples = samples
        self.i = i

    def __repr__(self) -> str:
        path = item_path(self.samples.dataset, self.i)
        named = f" ({shown(path)})" if path else ""
        return f"sample {self.i} of {_kind(self.samples.dataset)}{named}"


def _checked(dataset: Any) -> Any:
    if isinstance(dataset, Mapping):
        parts: Mapping[Any, Any] = cast(Any, dataset)
        raise TypeError(
            f"a dataset is needed, got a dict of them ({', '.join(map(quoted, parts))}); give two, "
            'as `from_dataset(dataset["train"], dataset["validation"])`'
        )
    has_both = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if isinstance(dataset, IterableDataset) or not has_both:
        raise TypeError(
            f"a dataset with `__len__` and `__getitem__` is needed, got a `{_kind(dataset)}`; a "
            "stream has no order to shuffle: save it, or give `DataLoaders` a `Stream` of batches"
        )
    if not len(dataset):
        raise ValueError(f"the dataset is empty: `len` of this `{_kind(dataset)}` is 0")
    return dataset


def _keys(first: Any, features: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Under which keys (or in which places) a sample has its image and its label."""
    if isinstance(first, Mapping):
        sample: Mapping[Any, Any] = cast(Any, first)
        kinds: Mapping[Any, Any] = cast(Any, features) if isinstance(features, Mapping) else {}
        images = [
            key
            for key, value in sample.items()
            if isinstance(value, Image.Image) or type(kinds.get(key)).__name__ == "Image"
        ]
        classes = [key for key in sample if _class_names(kinds.get(key)) is not None]
        classes = classes or [key for key in sample if key in _NAMES_OF_LABELS]
        return _key("x", x, images, sample, "image"), _key("y", y, classes, sample, "label")
    if isinstance(first, tuple | list) and len(cast(Sequence[Any], first)) >= 2:
        n = len(cast(Sequence[Any], first))
        for name, place in (("x", x), ("y", y)):
            if place is not None and not (isinstance(place, int) and -n <= place < n):
                raise ValueError(
                    f"samples have {n} elements, so `{name}` is from 0 to {n - 1}, got {place!r}"
                )
        return 0 if x is None else x, 1 if y is None else y
    raise TypeError(
        f"a sample of the dataset is a `{_kind(first)}`; one like (image, label) is needed, or a "
        'dict like {"image": …, "label": …}'
    )


def _key(name: str, given: Any, found: list[Any], sample: Mapping[Any, Any], what: str) -> Any:
    if given is not None and given not in sample:
        raise ValueError(
            f"samples have no `{name}={given!r}`; there is {', '.join(map(quoted, sample))}"
        )
    if given is None and len(found) != 1:
        raise ValueError(
            f"which is the {what} of a sample is not clear, it has "
            f"{', '.join(map(quoted, sample))}; name it by `{name}=`"
        )
    return found[0] if given is None else given


def _names(dataset: Any, y: Any) -> list[Any] | None:
    """What the numbers of the classes are called, if the dataset knows it."""
    if isinstance(dataset, Subset):
        return _names(cast(Any, dataset).dataset, y)
    if isinstance(dataset, ConcatDataset):
        parts = [_names(part, y) for part in cast(Any, dataset).datasets]
        known = [names for names in parts if names is not None]
        if other := [names for names in known if names != known[0]]:
            raise ValueError(
                "the parts of the dataset number their classes differently, as "
                f"{short(known[0])} and {short(other[0])}; give one list to all of them"
            )
        return known[0] if known else None
    features: Any = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        names = _class_names(cast(Mapping[Any, Any], features).get(y))
    else:
        names = getattr(dataset, "classes", None) if y == 1 else None
        if not isinstance(names, list | tuple):
            return None
    return None if names is None else _distinct(cast(Sequence[Any], names))


def _class_names(feature: Any) -> Sequence[Any] | None:
    return getattr(feature, "names", None)


def _distinct(names: Sequence[Any]) -> list[Any]:
    """Names of which none is there twice: ImageNet has two cranes and two maillots."""
    joined = [
        ", ".join(map(str, cast(Any, name))) if isinstance(name, tuple | list) else name
        for name in names
    ]
    return [f"{name} ({i})" if joined.count(name) > 1 else name for i, name in enumerate(joined)]


def _listed_labels(dataset: Any, y: Any, first: Any) -> Sequence[Any] | None:
    """All labels, where they are to be had without opening every image."""
    labels: Any = None
    if isinstance(dataset, Subset):
        subset = cast(Any, dataset)
        whole = _listed_labels(subset.dataset, y, subset.dataset[0])
        return None if whole is None else [whole[i] for i in subset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [_listed_labels(part, y, part[0]) for part in cast(Any, dataset).datasets]
        return None if any(part is None for part in parts) else [v for p in parts for v in p or ()]
    if isinstance(first, Mapping):
        if getattr(dataset, "features", None) is None:
            return None
        labels = dataset[y]  # a column of Hugging Face's
    elif y == 1 and getattr(dataset, "target_transform", None) is None:
        labels = next(
            (v for name in _LABELS if (v := getattr(dataset, name, None)) is not None), None
        )
    if labels is None:
        return None
    labels = labels.tolist() if isinstance(labels, Tensor | np.ndarray) else list(labels)
    is_plain = len(labels) == len(dataset) and all(isinstance(label, int | str) for label in labels)
    label = _plain(first[y])
    return labels if is_plain and isinstance(label, int | str) and label == labels[0] else None


def _plain(label: Any) -> Any:
    """A number that came as a tensor or array of one, as Python's."""
    is_array = isinstance(label, Tensor | np.ndarray | np.generic)
    return label.item() if is_array and label.ndim == 0 else label


def _item(item: Any) -> str:
    """An item in words: a sample to predict may be an image, whose pixels nobody wants to read."""
    return short(item) if isinstance(item, Sample | str | PurePath) else f"a `{_kind(item)}`"


def _kind(value: Any) -> str:
    return type(value).__name__
