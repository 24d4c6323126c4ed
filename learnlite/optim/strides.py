"""Where an optimizer's state lies in memory: fused steps go wrong where that is not as the weight.

A fused step of torch's walks weight, gradient and state as they lie in memory, without a look at
their strides. If the state of a weight in `channels_last` order is in the usual order (loaded from
a file, or made before the model was converted), it trains with the wrong numbers, silently.
"""

import torch
from torch import Tensor
from torch.optim import Optimizer


def align_state(opt: Optimizer) -> None:
    """Give gradients and state the strides of their weights; their values stay.

    >>> weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3))
    >>> opt = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    >>> weight.sum().backward()
    >>> opt.step()
    >>> weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    >>> align_state(opt)
    >>> opt.state[weight]["momentum_buffer"].stride() == weight.stride()
    True
    """
    for parameter in (p for group in opt.param_groups for p in group["params"]):
        if parameter.grad is not None:
            parameter.grad = _like(parameter.grad, parameter)
        state = opt.state.get(parameter, {})
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = _like(value, parameter)


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    if tensor.stride() == parameter.stride() or tensor.layout is not torch.strided:
        return tensor
    new = torch.empty_strided(
        tensor.shape, parameter.stride(), dtype=tensor.dtype, device=tensor.device
    )
    return new.copy_(tensor)
