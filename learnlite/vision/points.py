"""Points as a model predicts them: from -1 to 1 over the image."""

from torch import Tensor


class ScalePoints:
    """The last batch transform where there are points: from pixels to -1 … 1 over the image."""

    order = 110.0

    def __call__(
        self, batch: tuple[Tensor, ...], kinds: tuple[str | None, ...], training: bool
    ) -> tuple[Tensor, ...]:
        image = batch[kinds.index("image")]
        size = image.new_tensor([image.shape[-1], image.shape[-2]], dtype=batch[0].dtype)
        return tuple(
            x / size * 2 - 1 if kind == "points" else x
            for x, kind in zip(batch, kinds, strict=True)
        )

    def decode(
        self, batch: tuple[Tensor, ...], kinds: tuple[str | None, ...]
    ) -> tuple[Tensor, ...]:
        image = batch[kinds.index("image")]
        size = image.new_tensor([image.shape[-1], image.shape[-2]], dtype=image.dtype)
        return tuple(
            (x + 1) / 2 * size if kind == "points" else x
            for x, kind in zip(batch, kinds, strict=True)
        )

    def __repr__(self) -> str:
        return "ScalePoints()"
