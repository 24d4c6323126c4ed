"""Batches without a length, given one."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from learnlite.types import Batch


class Stream:
    """`n` batches an epoch of something that does not know its length.

    A function is called at the start of every epoch, and a loader iterated anew; a generator goes
    on where the last epoch stopped, so that it must never end.

    >>> def noise():
    ...     while True:
    ...         yield [0.0], [1]
    >>> len(Stream(noise, 100)), sum(1 for batch in Stream(noise, 100))
    (100, 100)
    """

    def __init__(self, source: Callable[[], Iterable[Batch]] | Iterable[Batch], n: int) -> None:
        if isinstance(n, bool) or not hasattr(n, "__index__") or n < 1:
            raise ValueError(f"`n`, the batches of an epoch, must be at least 1, got {n!r}")
        if not callable(source) and not isinstance(cast(Any, source), Iterable):
            raise TypeError(
                "a stream needs a generator, a function that makes one, or a loader, "
                f"got `{type(source).__name__}`"
            )
        self.source = source
        self.n = int(n)
        self._ahead: list[Batch] = []  # what `one_batch` has taken from a generator

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Batch]:
        batches = self._begin()
        for k in range(self.n):
            try:
                batch = self._ahead.pop() if self._ahead else next(batches)
            except StopIteration:
                raise ValueError(self._ended(k)) from None
            yield batch

    def one_batch(self) -> Batch:
        """The batch that the next epoch begins with; a generator does not lose it."""
        if self._ahead:
            return self._ahead[-1]
        for batch in self._begin():
            if self.goes_on:
                self._ahead.append(batch)
            return batch
        raise ValueError(self._ended(0))

    @property
    def goes_on(self) -> bool:
        """Whether the source is a generator that runs already, from epoch to epoch."""
        return isinstance(self.source, Iterator)

    def _begin(self) -> Iterator[Batch]:
        if self.goes_on:
            return cast(Iterator[Any], self.source)
        return iter(self.source() if callable(self.source) else self.source)

    def _ended(self, k: int) -> str:
        if self.goes_on:
            return (
                f"the generator ended at batch {k} of the {self.n} of an epoch; it is read once "
                "and goes on from epoch to epoch: give a function that makes it anew, "
                "`Stream(lambda: batches(), n)`"
            )
        return f"the stream ended after {k} batches, `n={self.n}` were announced; give `n={k}`"

    def __repr__(self) -> str:
        name = getattr(self.source, "__name__", type(self.source).__name__)
        return f"Stream({name}, {self.n:,} batches)"
