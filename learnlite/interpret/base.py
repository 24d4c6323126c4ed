"""What a model gets wrong, found by one pass over the data."""

from collections.abc import Sequence
from typing import Any, Self, cast

from torch import Tensor

from learnlite.data.single import row_of
from learnlite.interpret.gradcam import GradCAM, heat_over
from learnlite.interpret.rows import Rows
from learnlite.learner import Learner
from learnlite.losses.outputs import are_probabilities, tells_activation
from learnlite.plots import plain_text

_LONGEST = 24  # characters of a prediction or a target in one


class Interpretation:
    """Predictions and losses of every item of a loader, and the items to look at.

    `from_learner` predicts once; nothing here asks the model again, but for `plot_gradcam`, which
    runs it on the items that it draws. All is in the data's order: `preds`, `targs`, `decoded` and
    `losses`; `source(i)` says what item `i` is, as a path.

    >>> import torch
    >>> from learnlite import DataLoaders
    >>> x = torch.randn(100, 4)
    >>> dls = DataLoaders.from_tensors(x, (x[:, 0] > 0).long(), bs=16, device="cpu")
    >>> interp = Interpretation.from_learner(Learner(dls, torch.nn.Linear(4, 2)))
    >>> losses, indices = interp.top_losses(3)
    >>> losses[0] == interp.losses.max(), len(indices)
    (tensor(True), 3)
    """

    heading = "predicted / actual, loss"
    has_probabilities = True
    """False where nobody has told what makes probabilities of the outputs, and they are none."""

    def __init__(
        self,
        learn: Learner,
        dl: Any,
        losses: Tensor,
        preds: Any,
        targs: Any,
        decoded: Any,
    ) -> None:
        self.learn = learn
        self.dl = dl
        self.losses = losses
        self.preds = preds
        self.targs = targs
        self.decoded = decoded
        self._rows = Rows(learn.dls, dl)
        self._checked()

    @classmethod
    def from_learner(cls, learn: Learner, ds_idx: int = 1, dl: Any = None, act: Any = None) -> Self:
        """Of loader `ds_idx` of the learner's data, or of `dl`, which must have targets.

        `act` makes predictions of the model's outputs, if the loss's own activation is not meant.
        """
        if dl is None:
            if ds_idx >= len(learn.dls):
                raise ValueError(
                    f"there is no loader {ds_idx} to interpret: `dls` has {len(learn.dls)}; "
                    "pass one by `dl=…`"
                )
            dl = learn.dls[ds_idx]
        found = learn.get_preds(dl=dl, act=act, with_decoded=True, with_loss=True)
        preds, targs, decoded, losses = found
        self = cls(learn, dl, losses, preds, targs, decoded)
        is_told = act is not None or tells_activation(learn.loss_func)
        self.has_probabilities = is_told or are_probabilities(preds)
        return self

    @property
    def vocab(self) -> Any:
        """The names of the classes, if the data has any."""
        return self.learn.dls.vocab

    def source(self, i: int) -> Any:
        """What item `i` is made of, as a path, if its dataset keeps it; else its number."""
        return self._rows.source(i)

    def images(self, indices: Sequence[int]) -> list[Tensor | None]:
        """The images of these items as tensors of 0 to 1; None for an item that is no image."""
        return self._rows.images(indices)

    def top_losses(self, k: int | None = None, largest: bool = True, items: bool = False) -> Any:
        """The `k` largest losses (all, if not given) and the numbers of their items.

        With `items` what they are made of comes third; `largest=False` begins with the smallest.
        """
        n = len(self.losses)
        k = n if k is None else min(k, n)
        if k < 1:
            raise ValueError(f"`k` counts items and must be at least 1, got {k}")
        losses, indices = self.losses.topk(k, largest=largest)
        if not items:
            return losses, indices.tolist()
        return losses, indices.tolist(), [self.source(i) for i in indices.tolist()]

    def plot_top_losses(self, k: int = 9, largest: bool = True, **settings: Any) -> Any:
        """Draw the `k` items with the largest losses, in `nrows`, `ncols`, `figsize` if given."""
        return self.plot_items(self.top_losses(k, largest)[1], **settings)

    def plot_items(self, indices: list[int], **settings: Any) -> Any:
        """Draw items by their numbers, with what is so, what was predicted, and the loss.

        They look as in `learn.show_results`: labels and numbers in a title, the target's above the
        prediction's; masks, points and boxes in pictures of their own. Gives the axes.
        """
        notes = [self.note(i) for i in indices]
        panels = self._rows.show_results(indices, self.decoded, notes, **settings)
        if panels is None:
            return self._plot_titled(indices, **settings)
        if len(panels) == len(indices):
            panels[0].figure.suptitle("target, prediction, loss", fontsize=10)
        return panels

    def _plot_titled(self, indices: list[int], heading: str = "", **settings: Any) -> Any:
        """One picture an item, and over it `title(i)`."""
        panels = self._rows.show(indices, [self.title(i) for i in indices], **settings)
        panels[0].figure.suptitle(heading or self.heading, fontsize=10)
        return panels

    def plot_gradcam(
        self, k: int = 9, indices: list[int] | None = None, layer: Any = None, **settings: Any
    ) -> Any:
        """Draw where in the image the model saw what it predicted, over the largest losses.

        `indices` draws other items; `layer` is the module whose output is looked at, by default the
        last one that gives a map. `settings` are `nrows`, `ncols`, `figsize`.
        """
        chosen: list[int] = self.top_losses(k)[1] if indices is None else indices
        xb = self.learn.dls.split(self._rows.batch(chosen))[0]
        maps = GradCAM(self.learn.model, layer)(*xb, targets=self._classes_seen(chosen))
        panels = self._plot_titled(chosen, **settings)
        for panel, heat in zip(panels, maps, strict=True):
            heat_over(panel, heat)
        return panels

    def title(self, i: int) -> str:
        """What stands over item `i`: prediction and target, if they are short, and the loss."""
        both = [self._read(values, i) for values in (self.decoded, self.targs)]
        return f"{' / '.join(both)}\n{self.note(i)}" if all(both) else self.note(i)

    def note(self, i: int) -> str:
        """What is told of item `i` beside prediction and target: its loss."""
        return f"loss {self.losses[i]:.2f}"

    def _read(self, values: Any, i: int) -> str:
        """Of gathered values that of item `i`, as people read it; empty if that is no text."""
        value: Any = row_of(values, i)
        if isinstance(value, Tensor):
            value = self.learn.dls.decode_preds(value[None])[0]
        if isinstance(value, list):
            value = "; ".join(map(str, cast(list[Any], value)))
        if isinstance(value, Tensor) and value.ndim == 0:
            value = value.item()
        if isinstance(value, Tensor | tuple):
            return ""
        return plain_text(value, longest=_LONGEST)

    def _classes_seen(self, indices: list[int]) -> Tensor | None:
        """The output whose place in the image is looked for: the largest one, if not said."""
        return None

    def _checked(self) -> None:
        if self.targs is None:
            raise ValueError(
                "there are no targets to compare with; interpret a loader that has them: "
                "`dls.test_dl(items, with_labels=True)`"
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.losses):,} items, mean loss {self.losses.mean():.4f})"
        )
