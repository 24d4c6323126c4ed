"""What all losses share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)


class FlatLoss(nn.Module, ABC):
    """What all our losses share: a class axis, a reduction, and the way back to labels."""

    weight: Tensor | None

    def __init__(self, axis: int, weight: Tensor | Sequence[float] | None, reduction: str) -> None:
        super().__init__()
        if isinstance(axis, Tensor | Sequence):
            raise TypeError(
                f"`axis` is the number of the class axis, got {axis!r}; pass weights as `weight=`"
            )
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f'`reduction` must be "mean", "sum" or "none", got {reduction!r}')
        self.axis = axis
        self.reduction = reduction
        self._set_buffer("weight", weight)

    @abstractmethod
    def matched(self, pred: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
        """Both as the loss computes with them, or a ValueError that says what does not fit."""

    def activation(self, pred: Tensor) -> Tensor:
        """What the raw outputs of the model mean: here just what they say."""
        return pred

    def decodes(self, pred: Tensor) -> Tensor:
        """The labels, or numbers, that `activation(outputs)` stands for."""
        return pred

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        told = [(name, getattr(self, name), usual) for name, usual in self._usual().items()]
        return ", ".join(
            f"{name}={_shown(value)}"
            for name, value, usual in told
            if value is not usual and value != usual
        )

    def _usual(self) -> dict[str, object]:
        return {"axis": -1, "weight": None, "reduction": "mean"}

    def _set_buffer(self, name: str, value: Tensor | Sequence[float] | None) -> None:
        if value is None:
            setattr(self, name, None)  # a plain attribute: a buffer is found three times as slowly
        else:
            self.register_buffer(
                name, torch.as_tensor(value, dtype=torch.get_default_dtype()), persistent=False
            )

    def _buffer_for(self, name: str, pred: Tensor) -> Tensor | None:
        """The weights where `pred` is; they are moved there once."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            return None
        if value.device != pred.device:
            value = value.to(pred.device)
            setattr(self, name, value)
        return value


def _shown(value: object) -> str:
    return f"tensor of {value.numel()}" if isinstance(value, Tensor) else repr(value)
