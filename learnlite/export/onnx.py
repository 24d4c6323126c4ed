"""What was trained as one graph from batches of bytes to probabilities: for torch or ONNX."""

import copy
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.data.batch import map_batch
from learnlite.export.data import BATCH_TFMS, NoData, tell_batch_tfms
from learnlite.export.table import ExportError, Told
from learnlite.losses.outputs import activation_of
from learnlite.meaning import told_of_loss, usual_loss
from learnlite.replace import replacing
from learnlite.seeds import kept_rng

if TYPE_CHECKING:
    from learnlite.learner import Learner

Size = tuple[int, int]

_PACKAGES = ("onnx", "onnxscript")
_MOST = (1 << 31) - 1  # bytes of one ONNX file


class Served(nn.Module):
    """A model with the batch stage before it and the loss's activation behind it.

    `stages` are the batch transforms of validation, as an exported file tells them; `canvas` is the
    height and width of the images.

    >>> stages = [{"kind": "Normalize", "mean": [0.5], "std": [0.5]}]
    >>> Served(nn.Flatten(), stages, nn.Sigmoid())(torch.full((1, 1, 1, 2), 255, dtype=torch.uint8))
    tensor([[0.7311, 0.7311]])
    """

    def __init__(
        self, model: nn.Module, stages: list[Told], activation: Any, canvas: Size = (1, 1)
    ) -> None:
        super().__init__()
        self.model = model
        self.stages = nn.ModuleList()
        self.activation = activation
        for told in _flat(stages):
            stage = _stage(told, canvas)
            canvas = stage.size if isinstance(stage, _Resized) else canvas
            self.stages.append(stage)

    def forward(self, *inputs: Tensor) -> Any:
        """The predictions for batches of each input."""
        for stage in self.stages:
            inputs = tuple(stage(x) for x in inputs)
        return self.activation(self.model(*inputs))


class _Standardized(nn.Module):
    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        unit = x if x.is_floating_point() else x.float() / 255
        return (unit - cast(Tensor, self.mean)) / cast(Tensor, self.std)


class _AsFloats(nn.Module):
    def __init__(self, div: float) -> None:
        super().__init__()
        self.div = div

    def forward(self, x: Tensor) -> Tensor:
        return x if x.is_floating_point() else x.float() / self.div


class _Resized(nn.Module):
    """A box of images of bytes in another size, to the bit as `F.interpolate` on a CPU gives it.

    That works in whole numbers: first along rows, then along columns, with weights of 15 bits.
    """

    def __init__(self, box: tuple[int, int, int, int], size: Size) -> None:
        super().__init__()
        self.box, self.size = box, size
        for name, old, new in (("down", box[2], size[0]), ("across", box[3], size[1])):
            self.register_buffer(name, None if old == new else _weights(old, new))

    def forward(self, x: Tensor) -> Tensor:
        top, left, height, width = self.box
        x = x[..., top : top + height, left : left + width]
        if x.is_floating_point():
            return F.interpolate(x, size=self.size, mode="bilinear", antialias=True)
        if self.across is not None:
            x = _rounded(x.double() @ cast(Tensor, self.across).T)
        if self.down is not None:
            x = _rounded(cast(Tensor, self.down) @ x.double())
        return x


def _weights(old: int, new: int) -> Tensor:
    """What each old pixel gives to each new one, in steps of a power of two."""
    eye = torch.eye(old, dtype=torch.float64)[None, None]
    weights = F.interpolate(eye, size=(old, new), mode="bilinear", antialias=True)[0, 0].T
    steps = 0
    while steps < 22 and int(0.5 + weights.max().item() * (1 << steps + 1)) < 1 << 15:
        steps += 1
    return (weights * (1 << steps) + 0.5).floor() / (1 << steps)


def _rounded(x: Tensor) -> Tensor:
    return (x + 0.5).floor().clamp(0, 255).to(torch.uint8)


def program_of(learn: "Learner", example: Any = None) -> torch.export.ExportedProgram:
    """The graph of a learner, for batches of any length."""
    inputs = _example(learn, example)
    said = told_of_loss(learn.loss_func, usual_loss(learn.dls))
    if said is not None:
        learn.say(said)
    with learn.callbacks.around("save"):
        model = copy.deepcopy(getattr(learn.model, "_orig_mod", learn.model)).cpu().eval()
    height, width = inputs[0].shape[-2:] if inputs[0].ndim == 4 else (1, 1)
    served = Served(
        model, tell_batch_tfms(learn.dls), activation_of(learn.loss_func), (height, width)
    ).eval()
    sizes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    try:
        with kept_rng(), torch.no_grad():
            return torch.export.export(served, inputs, dynamic_shapes=(sizes,))
    except Exception as error:
        text = str(error).strip()
        raise ExportError(
            f"`torch.export` cannot make one graph of this `{type(model).__name__}`: "
            f"{text.splitlines()[0] if text else type(error).__name__}"
        ) from error


def write_onnx(learn: "Learner", path: Path, example: Any = None) -> None:
    """Write the graph of a learner as an ONNX file, with the classes in its metadata."""
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            raise ImportError(
                f'an ONNX file needs the package `{name}`: `pip install "learnlite[onnx]"`'
            ) from None
    program = program_of(learn, example)
    with kept_rng():
        made: Any = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=_names(program), external_data=False
        )
    proto = made.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        for side in value.type.tensor_type.shape.dim[:1]:
            side.dim_param = "batch"
    if learn.dls.vocab is not None:
        entry = proto.metadata_props.add()
        entry.key, entry.value = "vocab", json.dumps(list(learn.dls.vocab), ensure_ascii=False)
    if proto.ByteSize() > _MOST:
        raise ExportError("the model has more than 2 GB, which one ONNX file cannot hold")
    with replacing(path) as file:
        file.write(proto.SerializeToString())


def _names(program: Any) -> list[str]:
    n = len(program.graph_signature.user_inputs)
    return ["input"] if n == 1 else [f"input_{i}" for i in range(n)]


def _flat(stages: list[Told]) -> list[Told]:
    return [
        inner
        for told in stages
        for inner in (_flat(told["tfms"]) if told["kind"] == "BatchTfms" else [told])
        if inner["kind"] != "ScalePoints"  # of targets
    ]


def _stage(told: Told, canvas: Size) -> nn.Module:
    if told["kind"] == "Normalize":
        return _Standardized(told["mean"], told["std"])
    if told["kind"] == "IntToFloatTensor":
        return _AsFloats(told["div"])
    if told["kind"] in ("ResizeBatch", "RandomResizedCropGPU") and told["mode"] == "bilinear":
        tfm = BATCH_TFMS.make(told)
        box = tfm.box(canvas) or (0, 0, *canvas)
        return _Resized(box, tfm.size or box[2:])
    name = told.get("name", told["kind"])
    mode = f" with `mode={told['mode']!r}`" if "mode" in told else ""
    raise ExportError(
        f"a graph cannot hold the batch transform `{name}`{mode}; it can resize by "
        '`mode="bilinear"`, and normalize'
    )


def _example(learn: "Learner", example: Any) -> tuple[Tensor, ...]:
    """Two samples of the inputs before the batch stage."""
    if example is None:
        pattern = learn.dls.loaders[-1]
        if not isinstance(pattern, NoData):
            example = learn.dls.split(learn.dls.raw_batch(len(learn.dls) - 1))[0]
        elif learn.dls.kinds[:1] == ("image",) and learn.dls.n_inp == 1:
            example = next(iter(learn.dls.test_dl([torch.zeros(3, 64, 64, dtype=torch.uint8)])))
        else:
            raise ExportError(
                "a learner that was loaded does not know what its inputs look like; give a batch: "
                "`example=x`"
            )
    inputs = example if isinstance(example, tuple | list) else (example,)
    if not all(isinstance(x, Tensor) and len(x) for x in inputs):
        raise ExportError("a graph is made for inputs that are batches of tensors")
    two = map_batch(tuple(inputs), lambda x: x.detach().cpu()[[0, -1]])
    return cast("tuple[Tensor, ...]", two)
