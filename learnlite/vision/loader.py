"""A loader of items made of blocks: its one batch is as the model gets it, and can be shown."""

from typing import TYPE_CHECKING, Any

from learnlite.data import Loader
from learnlite.data.reading import Job
from learnlite.types import Batch
from learnlite.vision.show import n_shown

if TYPE_CHECKING:
    from learnlite.vision.loaders import BlockLoaders


class BlockLoader(Loader):
    """A loader that belongs to `BlockLoaders`: one batch of it went through their transforms.

    Iterating it gives batches as they are read; a learner, or `dls.receive(batch, training)`,
    transforms them on the device.
    """

    owner: "BlockLoaders | None" = None
    _looks = 0  # how often a batch of it was looked at

    def one_batch(self) -> Batch:
        """The first batch as the model gets it, on the device: `raw_batch`, and transformed."""
        return self.raw_batch() if self.owner is None else self.owner.batch_from(self)

    def show_batch(
        self,
        batch: Any = None,
        max_n: int | None = None,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
        **settings: Any,
    ) -> Any:
        """Draw the items of a batch, of another one with each call if none is given.

        With `unique` it is one item, each time with another augmentation. `settings` are
        matplotlib's, as in `BlockLoaders.show_batch`. Gives the axes.
        """
        if self.owner is None:
            raise RuntimeError(
                "this loader belongs to no `DataLoaders`; use `dls.show_batch(batch)`"
            )
        if batch is None:
            batch = self.next_look(n_shown(max_n, nrows, ncols) if unique else None)
        return self.owner.show_batch(batch, max_n, nrows, ncols, figsize, **settings)

    def next_look(self, often: int | None = None) -> Batch:
        """A batch to look at, as the model gets it: another one with each call, of a later epoch.

        The first is that of `one_batch`. With `often` it is its first item, so many times. Training
        does not notice.
        """
        if self.owner is None:
            return self.raw_batch()
        look, self._looks = self._looks, self._looks + 1
        return self.owner.batch_from(self, often, look)

    def first_job(self, look: int = 0) -> Job:
        """The seed and the indices of the first batch of the next epoch, or of a later one."""
        return next(self._jobs(self.epoch + look, 0))

    def batch_of_job(self, job: Job) -> Batch:
        """The batch as it is read."""
        return next(self._read_here(iter([job])))

    def like(self, dataset: Any, **changes: Any) -> Loader:
        """A loader of another dataset with the same settings, but for `changes`; in its order."""
        loader = super().like(dataset, **changes)
        if isinstance(loader, BlockLoader):
            loader.owner = self.owner
        return loader
