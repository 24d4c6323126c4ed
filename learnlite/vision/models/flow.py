"""How an image flows through a network: which of its parts are called, and what each gives.

The forward pass of the network itself is traced, its parts are not, unless one of them holds both
the body and the head. A small image then shows the shape that each part gives.
"""

import inspect
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

Shape = tuple[int, ...]
Size = int | tuple[int, int] | None

# Sizes tried one after another: 128 leaves a map of 2 x 2 to a body that divides by 64; many
# networks take one size only.
_SIZES = (128, 224, 256, 32, 64, 28, 299, 384, 512, 518, 448, 96)
_RELU = {F.relu, torch.relu, F.relu_, torch.relu_, "relu", "relu_"}
_ADAPTIVE = {F.adaptive_avg_pool2d, F.adaptive_max_pool2d}


class NotTraced(Exception):
    """The parts of a network are not called one after another, as far as can be seen."""


class NoSizeFits(NotTraced):
    """No image that was tried went through the network."""


@dataclass
class Flow:
    """A network as the graph of its parts, with the shape that each gave of one image."""

    root: nn.Module
    graph: fx.Graph
    shapes: dict[fx.Node, Shape] = field(default_factory=dict[fx.Node, Shape])
    failed: fx.Node | None = None

    def module(self, node: fx.Node) -> nn.Module | None:
        """The part of the network that a node calls; None if it calls a function."""
        return self.root.get_submodule(str(node.target)) if node.op == "call_module" else None

    def until(self, node: fx.Node) -> nn.Module:
        """The network up to a node: its parts in a row, or as a graph where they are not."""
        needed = _ancestors(node)
        nodes = [each for each in self.graph.nodes if each in needed]
        body = self._row(nodes)
        if body is None:
            body = self._subgraph(nodes)
        for module in body.modules():  # those that are new; the others keep theirs
            if isinstance(module, fx.GraphModule | nn.Sequential) and module is body:
                module.training = self.root.training
        return body

    def _row(self, nodes: list[fx.Node]) -> nn.Sequential | None:
        row: dict[str, nn.Module] = {}
        before = nodes[0]
        for node in nodes[1:]:
            module = self.module(node)
            if module is None and node.target in _RELU:
                module = nn.ReLU(inplace=node.kwargs.get("inplace") is True)
            if module is None or node.all_input_nodes != [before] or node.args[0] is not before:
                return None
            if len(node.args) > 1 and node.op == "call_module":
                return None
            module.train(self.root.training) if node.op != "call_module" else None
            row[_free_name(str(node.target if node.op == "call_module" else "relu"), row)] = module
            before = node
        body = nn.Sequential()
        for name, module in row.items():
            body.add_module(name, module)
        return body

    def _subgraph(self, nodes: list[fx.Node]) -> fx.GraphModule:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(copies[nodes[-1]])
        return fx.GraphModule(self.root, graph, f"{type(self.root).__name__}Body")


def flow_of(model: nn.Module, n_in: int = 3, size: int | None = None) -> Flow:
    """Trace a network and send an image through; opens the part that makes a vector of the image.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> [shape[1:] for shape in flow_of(net, size=16).shapes.values()]
    [(3, 16, 16), (4, 14, 14), (4, 1, 1), (4,)]
    """
    opened: set[str] = set()
    while True:
        flow = _flow(model, frozenset(opened), n_in, size)
        both = next((node for node in flow.graph.nodes if _has_body_and_head(flow, node)), None)
        if both is None:
            return flow
        opened.add(str(both.target))


def last_map(flow: Flow) -> fx.Node | None:
    """The last node that gives a map of features; None if there is none, or tokens follow it."""
    made = _made_by_weights(flow)
    maps = [node for node in flow.graph.nodes if node in made and is_map(flow.shapes.get(node))]
    if not maps:
        return None
    found = maps[-1]
    after = _descendants(flow.graph, found)
    if any(_gives_tokens(flow, node) for node in after):
        return None
    node = found
    while node in made and not _weights_of(flow, node) and len(node.all_input_nodes) == 1:
        if _is_adaptive_pool(flow, node):  # what pools to a fixed size belongs to the head
            found = node.all_input_nodes[0]
        node = node.all_input_nodes[0]
    return found


def last_vector(flow: Flow) -> fx.Node | None:
    """The node before the last linear layer, or before the part that ends with one."""
    for node in reversed(list(flow.graph.nodes)):
        module = flow.module(node)
        if module is not None and any(isinstance(m, nn.Linear) for m in module.modules()):
            before = node.all_input_nodes[:1]
            if before and len(flow.shapes.get(before[0], ())) == 2:
                return before[0] if before[0].op != "placeholder" else None
    return None


def is_map(shape: Shape | None) -> bool:
    """Whether a shape is that of (batch, channels, height, width), of more than one pixel."""
    return shape is not None and len(shape) == 4 and shape[2] * shape[3] > 1


def output_shape(model: nn.Module, n_in: int = 3, size: Size = None) -> Shape | None:
    """The shape of what a network gives of one image; None if that is no tensor.

    >>> output_shape(nn.Conv2d(3, 8, 1), size=16)
    (1, 8, 16, 16)
    """
    error: Exception | None = None
    with as_in_inference(model):
        for image in images(model, n_in, size):
            try:
                out = model(image)
            except Exception as fault:
                error = error or fault
                continue
            return tuple(out.shape) if isinstance(out, Tensor) else None
    raise _no_size(size) from error


class _Tracer(fx.Tracer):
    """Goes into the parts that are opened, and into no other."""

    def __init__(self, opened: frozenset[str]) -> None:
        super().__init__()
        self.opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.opened


class _Run(fx.Interpreter):
    """Runs a graph and notes the shape of each result."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, Shape] = {}
        self.at: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.at = n
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op != "output":
            self.shapes[n] = tuple(result.shape)
        return result


def _flow(model: nn.Module, opened: frozenset[str], n_in: int, size: int | None) -> Flow:
    with as_in_inference(model):
        try:
            traced = _traced(model, opened)
        except Exception as error:  # whatever the user's forward does with what is no tensor
            if opened:
                raise NotTraced(f"its forward cannot be traced ({first_line(error)})") from error
            return _recorded(model, n_in, size)
        first: Flow | None = None
        error: Exception | None = None
        for image in images(model, n_in, size):
            run = _Run(traced)
            run.extra_traceback = False
            try:
                run.run(image)
            except Exception as fault:
                flow = Flow(model, traced.graph, run.shapes, run.at)
                if error is None:
                    first, error = flow, fault
                continue
            return Flow(model, traced.graph, run.shapes)
    if first is not None and last_map(first) is not None and not _has_conv(first, first.failed):
        return first  # it is the head that takes one size only
    raise _no_size(size) from error


def _traced(model: nn.Module, opened: frozenset[str]) -> fx.GraphModule:
    parameters = list(inspect.signature(model.forward).parameters.values())
    defaults = {
        each.name: each.default
        for each in parameters[1:]
        if each.default is not inspect.Parameter.empty
    }
    graph = _Tracer(opened).trace(model, defaults or None)
    return fx.GraphModule(model, graph)


def _recorded(model: nn.Module, n_in: int, size: int | None) -> Flow:
    """The flow through the children of a network whose forward cannot be traced.

    It stands for the network only where each child gets just what the one before it gave.
    """
    names = {child: name for name, child in model.named_children()}
    calls: list[tuple[nn.Module, Any, Any]] = []

    def note(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        calls.append((module, args[0] if len(args) == 1 else None, out))

    error: Exception | None = None
    handles = [child.register_forward_hook(note) for child in names]
    try:
        for image in images(model, n_in, size):
            calls.clear()
            try:
                model(image)
            except Exception as fault:
                error = error or fault
                continue
            return _chain(model, names, image, calls)
    finally:
        for handle in handles:
            handle.remove()
    raise _no_size(size) from error


def _chain(
    model: nn.Module,
    names: dict[nn.Module, str],
    image: Tensor,
    calls: list[tuple[nn.Module, Any, Any]],
) -> Flow:
    flow = Flow(model, fx.Graph())
    node, value = flow.graph.placeholder("image"), image
    flow.shapes[node] = tuple(image.shape)
    for i, (module, given, out) in enumerate(calls):
        if given is not value or not isinstance(out, Tensor):
            rest = [later for _, _, later in calls[i:] if isinstance(later, Tensor)]
            if any(is_map(tuple(later.shape)) or later.ndim == 3 for later in rest):
                raise NotTraced(
                    f"its forward cannot be traced, and `{names[module]}` gets something else than "
                    "the part before it gives"
                )
            break
        node, value = flow.graph.call_module(names[module], (node,)), out
        flow.shapes[node] = tuple(out.shape)
    return flow


@contextmanager
def as_in_inference(model: nn.Module) -> Generator[None]:
    """In evaluation mode and without gradients for a while; every module then has its own mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def images(model: nn.Module, n_in: int, size: Size) -> Iterable[Tensor]:
    """Black images where the model is, of `size` or of the usual sizes, one after another."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    for each in _SIZES if size is None else (size,):
        sides = (each, each) if isinstance(each, int) else each
        yield torch.zeros(1, n_in, *sides, dtype=like.dtype, device=like.device)


def _no_size(size: Size) -> NoSizeFits:
    sizes = ", ".join(map(str, sorted(_SIZES))) if size is None else str(size)
    return NoSizeFits(f"no image went through it, of {sizes} pixels")


def _has_body_and_head(flow: Flow, node: fx.Node) -> bool:
    """Whether a part takes a map, or the image, and gives none, with convolutions of its own."""
    if node.op != "call_module" or not node.all_input_nodes:
        return False
    if not is_map(flow.shapes.get(node.all_input_nodes[0])) or is_map(flow.shapes.get(node)):
        return False
    return _has_conv(flow, node) and any(True for _ in cast(Any, flow.module(node)).children())


def _has_conv(flow: Flow, node: fx.Node | None) -> bool:
    """Whether a part has a convolution that sees more than one pixel."""
    module = None if node is None else flow.module(node)
    return module is not None and any(
        isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1 for m in module.modules()
    )


def _made_by_weights(flow: Flow) -> set[fx.Node]:
    """The nodes that a layer with weights lies before, or that are one."""
    made: set[fx.Node] = set()
    for node in flow.graph.nodes:
        if _weights_of(flow, node) or any(before in made for before in node.all_input_nodes):
            made.add(node)
    return made


def _weights_of(flow: Flow, node: fx.Node) -> bool:
    module = flow.module(node)
    return module is not None and any(True for _ in module.parameters())


def _gives_tokens(flow: Flow, node: fx.Node) -> bool:
    return _weights_of(flow, node) and len(flow.shapes.get(node, ())) == 3


def _is_adaptive_pool(flow: Flow, node: fx.Node) -> bool:
    module = flow.module(node)
    if module is None:
        return node.target in _ADAPTIVE
    leaves = [m for m in module.modules() if not any(True for _ in m.children())]
    return all(type(m).__name__.startswith("Adaptive") for m in leaves)


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found, waiting = set[fx.Node](), [node]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += each.all_input_nodes
    return found


def _descendants(graph: fx.Graph, node: fx.Node) -> set[fx.Node]:
    found = {node}
    for each in graph.nodes:
        if any(before in found for before in each.all_input_nodes):
            found.add(each)
    return found - {node}


def _free_name(target: str, taken: Iterable[str]) -> str:
    name = target.replace(".", "_")
    n = 1
    free = name
    while free in set(taken):
        n += 1
        free = f"{name}_{n}"
    return free


def first_line(error: BaseException) -> str:
    """An error in a line, for a message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"
