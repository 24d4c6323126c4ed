"""A loader of items made of blocks: its one batch is as the model gets it, and can be shown."""

from typing import TYPE_CHECKING, Any

from learnlite.data import Loader
from learnlite.types import Batch

if TYPE_CHECKING:
    from learnlite.vision.loaders import BlockLoaders


class BlockLoader(Loader):
    """A loader that belongs to `BlockLoaders`: one batch of it went through their transforms.

    Iterating it gives batches as they are read; a learner, or `dls.receive(batch, training)`,
    transforms them on the device.
    """

    owner: "BlockLoaders | None" = None

    def one_batch(self) -> Batch:
        """The first batch as the model gets it, on the device: `raw_batch`, and transformed."""
        return self.raw_batch() if self.owner is None else self.owner.batch_from(self)

    def show_batch(
        self,
        batch: Any = None,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
    ) -> Any:
        """Draw the items of a batch, of the first one if none is given; gives the axes.

        With `unique` it is one item, each time with another augmentation.
        """
        if self.owner is None:
            raise RuntimeError(
                "this loader belongs to no `DataLoaders`; use `dls.show_batch(batch)`"
            )
        if batch is None:
            batch = self.owner.batch_from(self, max_n if unique else None)
        return self.owner.show_batch(batch, max_n, nrows, ncols, figsize)

    def like(self, dataset: Any, **changes: Any) -> Loader:
        """A loader of another dataset with the same settings, but for `changes`; in its order."""
        loader = super().like(dataset, **changes)
        if isinstance(loader, BlockLoader):
            loader.owner = self.owner
        return loader
