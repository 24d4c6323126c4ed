"""Where in an image a model sees a class: Grad-CAM, from one forward and one backward pass."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.hooks import Hooks, check_hookable


class GradCAM:
    """Maps of how much each place spoke for a class, between 0 and 1, in the size of the images.

    The channels of a layer's output are weighed by the mean gradient of the class's output to them
    (Selvaraju et al., 2017); what speaks against it is left out. `layer` is by default the last
    module whose output has a height and a width above 1. Weights, gradients and the training mode
    of the model stay as they are.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> GradCAM(model)(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 16, 16])
    """

    def __init__(self, model: nn.Module, layer: nn.Module | None = None) -> None:
        check_hookable(model)
        if layer is not None and all(layer is not module for module in model.modules()):
            raise ValueError(
                f"`layer` is no module of the model, got {type(layer).__name__}; give one of it, "
                "as `learn.model[0]`"
            )
        self.model = model
        self.layer = layer

    def __call__(self, *xb: Tensor, targets: Tensor | Sequence[int] | None = None) -> Tensor:
        """The maps of a batch of inputs, for the outputs `targets`, or for the largest of each."""
        inputs = [_wanting_gradient(x) for x in xb]
        seen: list[Tensor] = []

        def keep(module: nn.Module, given: Any, output: Any) -> None:
            if _is_map(output) and (self.layer is None or module is self.layer):
                seen[:] = [output]

        modes = [(module, module.training) for module in self.model.modules()]
        try:
            self.model.eval()
            with torch.enable_grad(), Hooks(self.model.modules(), keep, detach=False):
                pred: Any = self.model(*inputs)
        finally:
            for module, mode in modes:
                module.training = mode
        if not isinstance(pred, Tensor) or pred.ndim != 2:
            given = tuple(pred.shape) if isinstance(pred, Tensor) else f"a {type(pred).__name__}"
            raise TypeError(
                f"Grad-CAM looks at outputs (items, classes), and this model gives {given}"
            )
        if not seen:
            what = "the layer" if self.layer is not None else "no layer of the model"
            verb = "gives no output" if self.layer is not None else "gives an output"
            raise ValueError(
                f"{what} {verb} with a height and a width, so there is no place to show; "
                "Grad-CAM is for models with convolutions"
            )
        chosen = pred.argmax(1) if targets is None else torch.as_tensor(targets).to(pred.device)
        with torch.enable_grad():
            scores = pred.gather(1, chosen[:, None]).sum()
        return _heat(seen[0], torch.autograd.grad(scores, seen[0])[0], xb[0].shape[-2:])


def heat_over(panel: Any, heat: Tensor) -> None:
    """Lay a map of 0 to 1 over the image that `panel` shows."""
    extent = panel.images[0].get_extent() if panel.images else None
    # Blue to red; see-through where there is nothing to see.
    style: Any = {"cmap": "jet", "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
    panel.imshow(heat.cpu().numpy(), alpha=(0.6 * heat).cpu().numpy(), extent=extent, **style)


def _heat(features: Tensor, gradient: Tensor, size: Sequence[int]) -> Tensor:
    features, gradient = features.detach().float(), gradient.float()
    weights = gradient.mean((2, 3), keepdim=True)  # (items, channels, 1, 1)
    heat = (weights * features).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, size=list(size), mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _wanting_gradient(x: Any) -> Any:
    """So that a frozen body has a gradient too."""
    if isinstance(x, Tensor) and x.is_floating_point():
        return x.detach().requires_grad_()
    return x


def _is_map(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[-2:]) > 1
