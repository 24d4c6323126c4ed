"""The loaders of a training run: one to train on, others to measure with."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, Subset

from learnlite.data.batch import as_device, default_device, move, split_batch
from learnlite.data.loader import Loader, check_settings
from learnlite.data.loader_checks import check_loader
from learnlite.data.sampling import Order
from learnlite.data.single import batch_of, labels_of
from learnlite.data.stream import Stream
from learnlite.data.tensors import TensorItems, n_classes, tensor_sets
from learnlite.data.torch_loader import first_of_torch
from learnlite.data.wording import no_attribute
from learnlite.seeds import as_seed, kept_rng, mix
from learnlite.types import Batch, BatchTransform, LossFunc


@runtime_checkable
class MakesTestSet(Protocol):
    """A dataset that knows how to make one like itself of new items (say, of paths)."""

    def test_set(self, items: Any) -> Any: ...


class DataLoaders:
    """A training loader, validation loaders, and what a learner has to know about their batches.

    Any iterable of batches with a length is a loader: ours, torch's, a list; `Stream` gives a
    generator a length.
    A batch is a tuple or list whose first `n_inp` elements are the inputs (all but the last, if not
    given), or a dict with the targets under the key (or keys) `label`.
    `c` is the number of classes (or outputs), `vocab` their names, `loss_func` the loss to use.
    `batch_tfms` change each batch on the device; `kinds` tells them what its elements are.

    >>> batches = [(torch.zeros(8, 4), torch.zeros(8))] * 5
    >>> dls = DataLoaders(batches, batches[:1], device="cpu")
    >>> len(dls.train), len(dls.valid)
    (5, 1)
    """

    def __init__(
        self,
        train: Any,
        valid: Any = None,
        *others: Any,
        n_inp: int | None = None,
        label: str | Sequence[str] = "labels",
        device: str | int | torch.device | None = None,
        path: str | Path = ".",
        vocab: Sequence[Any] | None = None,
        c: int | None = None,
        loss_func: LossFunc | None = None,
    ) -> None:
        if n_inp is not None and n_inp < 1:
            raise ValueError(f"`n_inp` must be at least 1, got {n_inp}")
        given = [train, *(() if valid is None else (valid,)), *others]
        for i, loader in enumerate(given):
            check_loader(loader, ("train", "valid")[i] if i < 2 else f"others[{i - 2}]")
        self.loaders: list[Any] = given
        self.n_inp = n_inp
        self.labels: tuple[str, ...] = (label,) if isinstance(label, str) else tuple(label)
        self.path = Path(path)
        self.vocab = _vocab(train) if vocab is None else vocab
        self.c = c if c is not None or self.vocab is None else len(self.vocab)
        self.loss_func = loss_func
        self.batch_tfms: list[BatchTransform] = []
        self.kinds: tuple[str | None, ...] = ()
        self._device = None if device is None else as_device(device)

    @classmethod
    def from_dsets(
        cls,
        *datasets: Any,
        bs: int = 64,
        val_bs: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
        num_workers: int = 0,
        order: Order | None = None,
        n_inp: int | None = None,
        label: str | Sequence[str] = "labels",
        device: str | int | torch.device | None = None,
        path: str | Path = ".",
        vocab: Sequence[Any] | None = None,
        c: int | None = None,
        loss_func: LossFunc | None = None,
        **loader_settings: Any,
    ) -> Self:
        """A `Loader` for each dataset; the first is trained on, shuffled, the others read in order.

        `order(seed, n)` gives the indices of an epoch of training instead of a shuffle, as
        `sampling_order(labels, balanced=True)` does. `loader_settings` are further arguments of
        `Loader`, as `collate` or `timeout`.

        >>> DataLoaders.from_dsets(range(100), range(10), bs=16, seed=1, device="cpu")
        DataLoaders(train: 7 batches, valid: 1 batch, on cpu)
        """
        if not datasets:
            raise ValueError("`from_dsets` needs at least one dataset, got none")
        check_settings(Loader, loader_settings)
        seed = as_seed(seed)
        loaders: list[Any] = []
        for i, dataset in enumerate(datasets):
            loader = Loader(
                dataset,
                bs if i == 0 or val_bs is None else val_bs,
                shuffle=shuffle and order is None and i == 0,
                order=order if i == 0 else None,
                drop_last=drop_last and i == 0,
                seed=mix(seed, i),
                num_workers=num_workers,
                **loader_settings,
            )
            loaders.append(loader)
        return cls(
            *loaders,
            n_inp=n_inp,
            label=label,
            device=device,
            path=path,
            vocab=vocab,
            c=c,
            loss_func=loss_func,
        )

    @classmethod
    def from_tensors(
        cls,
        *tensors: Any,
        valid: Any = None,
        valid_pct: float = 0.2,
        bs: int = 64,
        val_bs: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
        n_inp: int | None = None,
        device: str | int | torch.device | None = None,
        path: str | Path = ".",
        vocab: Sequence[Any] | None = None,
        c: int | None = None,
        loss_func: LossFunc | None = None,
    ) -> Self:
        """Loaders of tensors (or numpy arrays) in memory, which need no workers.

        `from_tensors((x, y), (x_valid, y_valid))` takes the sets as they are; `from_tensors(x, y)`
        holds back `valid_pct` of the rows, drawn from the seed. `c` is found from the targets.

        >>> x, y = torch.randn(100, 8), torch.arange(100) % 3
        >>> dls = DataLoaders.from_tensors(x, y, valid_pct=0.1, bs=32, device="cpu")
        >>> dls, dls.c
        (DataLoaders(train: 3 batches, valid: 1 batch, on cpu), 3)
        """
        seed = as_seed(seed)
        sets = tensor_sets(tensors, valid, valid_pct, mix(seed, -1), n_inp)
        dls = cls.from_dsets(
            *sets,
            bs=bs,
            val_bs=val_bs,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            n_inp=n_inp,
            device=device,
            path=path,
            vocab=vocab,
            c=c,
            loss_func=loss_func,
        )
        if dls.c is None and len(sets[0].tensors) > (n_inp or 1):
            dls.c = n_classes([items.tensors[-1] for items in sets])
        return dls

    @property
    def train(self) -> Any:
        """The loader to train on."""
        return self.loaders[0]

    @property
    def valid(self) -> Any:
        """The loader to validate on, or None."""
        return self.loaders[1] if len(self.loaders) > 1 else None

    @property
    def bs(self) -> int | None:
        """How many items a batch of the training loader has, if it tells."""
        return getattr(self.train, "bs", None) or getattr(self.train, "batch_size", None)

    @property
    def device(self) -> torch.device:
        """Where batches go: as told, else CUDA, MPS or the CPU, whichever there is."""
        if self._device is None:
            self._device = default_device()
        return self._device

    @device.setter
    def device(self, device: str | int | torch.device) -> None:
        self._device = as_device(device)

    def to(self, device: str | int | torch.device) -> Self:
        """Send batches to `device` from now on."""
        self.device = device
        return self

    def cuda(self) -> Self:
        """Send batches to the current CUDA device from now on."""
        return self.to("cuda")

    def cpu(self) -> Self:
        """Leave batches on the CPU from now on."""
        return self.to("cpu")

    def __getitem__(self, i: int) -> Any:
        return self.loaders[i]

    def __len__(self) -> int:
        return len(self.loaders)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loaders)

    def split(self, batch: Batch, *, need_targets: bool = False) -> tuple[Any, tuple[Any, ...]]:
        """The inputs and targets of a batch: `(xb, yb)`, for a dict `(the rest, (targets,))`.

        Without `need_targets` a batch may lack them, as in inference: `yb` is empty then.
        """
        return split_batch(batch, n_inp=self.n_inp, labels=self.labels, need_targets=need_targets)

    def receive(self, batch: Batch, training: bool) -> tuple[Any, tuple[Any, ...]]:
        """A batch from a loader as the model and the loss get it: `(xb, yb)`.

        That is: on the device, changed by the batch transforms, and split.
        """
        batch = move(batch, self._device or self.device)
        if self.batch_tfms:
            batch = self.transformed(batch, training=training)
        if type(batch) is tuple and len(batch) == 2 and self.n_inp is None:  # the usual case
            return batch[:1], batch[1:]
        return self.split(batch)

    def transformed(self, batch: Batch, *, training: bool) -> Batch:
        """A batch on the device after the batch transforms, those of training or of validation.

        One tensor alone, as of a loader of inputs, is one element.
        """
        if not self.batch_tfms:
            return batch
        if isinstance(batch, Tensor):
            return self.transformed((batch,), training=training)[0]
        if not isinstance(batch, tuple | list):
            raise TypeError(
                f"batch transforms change batches that are tuples, got a {type(batch).__name__}"
            )
        parts = tuple(cast(Sequence[Any], batch))
        kinds = (*self.kinds, *[None] * (len(parts) - len(self.kinds)))[: len(parts)]
        for tfm in self.batch_tfms:
            parts = tfm(parts, kinds, training)
        return parts

    def is_raw(self, batch: Batch) -> bool:
        """Whether a batch is as loaders give it, before the batch transforms: images are bytes.

        Without images that cannot be told, and the answer is yes.
        """
        parts = [batch] if isinstance(batch, Tensor) else batch
        images = [part for part, kind in zip(parts, self.kinds, strict=False) if kind == "image"]
        return not any(isinstance(part, Tensor) and part.is_floating_point() for part in images)

    def one_batch(self, i: int = 0) -> Batch:
        """The first batch of loader `i`, as the model gets it, on the device.

        Loaders and random states do not notice.
        """
        with kept_rng(self.device):
            return self.transformed(self.raw_batch(i), training=i == 0)

    def raw_batch(self, i: int = 0) -> Batch:
        """The first batch of loader `i`, on the device, before the batch transforms."""
        loader = self.loaders[i]
        if isinstance(loader, Stream) and isinstance(loader.source, DataLoader):
            loader = cast(Any, loader.source)
        if isinstance(loader, Loader):
            batch = loader.raw_batch()
        elif isinstance(loader, DataLoader):
            batch = first_of_torch(loader)
        else:
            with kept_rng():
                batch = loader.one_batch() if isinstance(loader, Stream) else next(iter(loader))
        return move(batch, self.device)

    def batch_of(self, items: Sequence[Any]) -> Batch:
        """A batch of single items, as the validation loader would give it, made here and now."""
        return batch_of(self.valid if self.valid is not None else self.train, items)

    def decode_preds(self, decoded: Any, inputs: Any = None) -> list[Any]:
        """What is predicted for each item, as people read it: the names of classes, numbers.

        `decoded` is what `get_preds(with_decoded=True)` gives, `inputs` the batch it belongs to.
        """
        return labels_of(decoded, self.vocab)

    def test_dl(self, items: Any, **settings: Any) -> Loader:
        """A loader like the validation one over new items: a dataset, or tensors.

        A dataset with a method `test_set(items)` is asked to make one like itself of the items.
        `settings` are arguments of `Loader`, as `bs`.

        >>> dls = DataLoaders.from_tensors(torch.randn(50, 8), torch.randn(50), bs=16, device="cpu")
        >>> xb, yb = dls.split(next(iter(dls.test_dl(torch.randn(5, 8)))))
        >>> xb[0].shape, yb
        (torch.Size([5, 8]), ())
        """
        pattern = self.valid if self.valid is not None else self.train
        dataset = getattr(pattern, "dataset", None)
        if isinstance(dataset, MakesTestSet):
            items = dataset.test_set(items)
        elif isinstance(items, Tensor):
            items = TensorItems(items)
        return _like(pattern, items, settings)

    def new(self, dataset: Any = None, **settings: Any) -> Loader:
        """A loader like the training one, shuffled as it is, but for these arguments of `Loader`.

        Another `dataset` takes the place of its own; whole `DataLoaders` are made by `from_dsets`.

        >>> dls = DataLoaders.from_dsets(range(100), bs=16, seed=1, device="cpu")
        >>> dls.new(bs=50, shuffle=False)
        Loader(100 items of range, 2 batches of 50, seed=...)
        """
        train = self.train
        if dataset is None and not hasattr(train, "dataset"):
            raise TypeError(
                f"`train` is a `{type(train).__name__}`, which does not tell its dataset; "
                "give one: `dls.new(dataset)`"
            )
        if isinstance(train, Loader):
            return train.new(dataset, **settings)
        own: dict[str, Any] = {}
        if isinstance(train, DataLoader):
            shuffle = isinstance(train.sampler, RandomSampler)
            own = {"shuffle": shuffle, "drop_last": train.drop_last}
        return _like(
            train, cast(Any, train).dataset if dataset is None else dataset, own | settings
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say what was perhaps meant; nothing is delegated."""
            if name.startswith("_"):  # of protocols, which only ask
                raise AttributeError(name)
            if hasattr(type(self), name):  # a property that says itself what it lacks
                return object.__getattribute__(self, name)
            raise AttributeError(no_attribute(self, name, _ELSEWHERE))

    def __repr__(self) -> str:
        parts: list[str] = []
        for i, loader in enumerate(self.loaders):
            name = ("train", "valid")[i] if i < 2 else f"[{i}]"
            n_batches = len(loader)
            parts.append(f"{name}: {n_batches:,} {'batch' if n_batches == 1 else 'batches'}")
        device = "" if self._device is None else f", on {self._device}"
        return f"DataLoaders({', '.join(parts)}{device})"


def _like(pattern: Any, items: Any, settings: dict[str, Any]) -> Loader:
    if isinstance(pattern, Loader):
        return pattern.like(items, **settings)
    if isinstance(pattern, DataLoader):
        like = cast(Any, pattern)
        settings = {"num_workers": like.num_workers, "collate": like.collate_fn} | settings
        settings.setdefault("bs", like.batch_size or 64)
    check_settings(Loader, settings)
    return Loader(items, **settings)


_ELSEWHERE = {
    "after_batch": "they are `dls.batch_tfms`",
    "after_item": "those of images are `dls.train_ds.item_tfms`",
    "train_dl": "it is `dls.train`",
    "valid_dl": "it is `dls.valid`",
}


def _vocab(loader: Any) -> Sequence[Any] | None:
    dataset = getattr(loader, "dataset", None)
    while isinstance(dataset, Subset):
        dataset = cast(Any, dataset).dataset
    for name in ("vocab", "classes"):  # ours and fastai's, torchvision's
        vocab = getattr(dataset, name, None)
        if isinstance(vocab, list | tuple) and vocab:
            return cast(Sequence[Any], vocab)
    return None
