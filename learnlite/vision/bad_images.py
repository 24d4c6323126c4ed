"""Images that do not open: others take their places, and none of it is silent."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch

from learnlite.data.warn import warn
from learnlite.seeds import kept_rng
from learnlite.types import Batch
from learnlite.vision.decode import ImageError
from learnlite.vision.loader import BlockLoader

_SHARE = 0.1  # of a set that may be bad
_MOST_NAMED = 4


class TooManyError(ValueError):
    """More images of a set do not open than others may stand in for."""


class ReadsItems(Protocol):
    """A set of items that raises an `ImageError` for an image that does not open."""

    items: Any

    def read(self, item: Any) -> Any: ...


class BadImages:
    """The images of a set that do not open, told to the main process by whoever meets them.

    The next item that opens takes the place of one: so an index alone says which, in any process.

    >>> class Files:
    ...     items = ["a.jpg", "bad.jpg", "c.jpg"]
    ...     def read(self, item):
    ...         if item == "bad.jpg":
    ...             raise ImageError(item, "is empty")
    ...         return item
    >>> bad = BadImages(3)
    >>> bad.read(Files(), 1), bad.found
    ('c.jpg', [1])
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.most = max(int(n * _SHARE), 1)
        """How many may be bad."""
        # Shared by all processes: a byte for each item, and one that says that there is news.
        self._flags = torch.zeros(n + 1, dtype=torch.uint8).share_memory_()
        self._errors: dict[int, ImageError] = {}
        self._told: set[int] = set()

    def read(self, dataset: ReadsItems, i: int) -> Any:
        """Item `i`, or the next one whose images open."""
        for k in range(self.most + 1):
            place = (i + k) % self.n
            try:
                return dataset.read(dataset.items[place if k else i])
            except ImageError as error:
                self._errors[place] = error
                self._flags[place] = 1
                self._flags[self.n] = 1
        raise self._too_many(self._errors[i % self.n])

    @property
    def found(self) -> list[int]:
        """The indices of those met until now, by any process."""
        return self._flags[: self.n].nonzero().flatten().tolist()

    def tell(self, dataset: ReadsItems) -> None:
        """Warn of those met since the last call; of too many, raise."""
        if not self._flags[self.n]:
            return
        self._flags[self.n] = 0  # first, so that what comes meanwhile is news again
        found = self.found
        if len(found) > self.most:
            self._flags[self.n] = 1
            raise self._too_many(self._error(dataset, found[0]))
        new = [i for i in found if i not in self._told]
        self._told.update(new)
        if new:
            named = [self._shown(dataset, i) for i in new[:_MOST_NAMED]]
            more = f" and {len(new) - _MOST_NAMED} more" if len(new) > _MOST_NAMED else ""
            do, places = ("image does", "its place") if len(new) == 1 else ("images do", "theirs")
            warn(
                f"{len(new)} {do} not open, and the next one that does takes {places} "
                f"(`on_bad_image`): {'; '.join(named)}{more}"
            )

    def _shown(self, dataset: ReadsItems, i: int) -> str:
        error = self._error(dataset, i)
        return f"item {i} (`{error.source}`) {error.reason}"

    def _error(self, dataset: ReadsItems, i: int) -> ImageError:
        """What is wrong with it; a worker that met it has not told, so it is opened again."""
        if i not in self._errors:
            try:
                with kept_rng():
                    dataset.read(dataset.items[i])
            except ImageError as error:
                self._errors[i] = error
        return self._errors.get(i) or ImageError(f"item {i}", "did not open in a worker")

    def _too_many(self, first: ImageError) -> TooManyError:
        return TooManyError(
            f"more than {self.most:,} of {self.n:,} images do not open, too many for "
            f'`on_bad_image="skip"`; the first: {first}; `verify_images(files)` finds them all'
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._flags = self._flags.share_memory_()  # a copy has workers of its own

    def __repr__(self) -> str:
        return f"BadImages({len(self.found)} of {self.n:,})"


class SkippingLoader(BlockLoader):
    """A loader that tells of the images of its dataset that did not open, once each."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return self._telling(super().batches(epoch, start))

    def raw_batch(self) -> Batch:
        batch = super().raw_batch()
        self._tell()
        return batch

    def _telling(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._tell()
            yield batch

    def _tell(self) -> None:
        bad: BadImages | None = getattr(self.dataset, "bad", None)
        if bad is not None:
            bad.tell(self.dataset)
