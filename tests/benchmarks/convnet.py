"""What channels last and compiling bring to a small ResNet: milliseconds a training batch.

    python tests/benchmarks/convnet.py [--device cuda] [--threads 1] [--bf16] [--reps 4]

The four take turns in one process; the first fit of each, in which models are compiled, is told
apart.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

import learnlite as ll


class Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.way = nn.Conv2d(n_in, n_out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.way(x))


def small_resnet() -> nn.Module:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
    blocks = (Block(32, 32), Block(32, 64, 2), Block(64, 128, 2))
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


CASES = {
    "plain": (),
    "channels last": (ll.ChannelsLast,),
    "compiled": (ll.Compile,),
    "both": (ll.ChannelsLast, ll.Compile),
}


def _wall() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--reps", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, y = torch.randn(192, 3, 64, 64), torch.randint(10, (192,))
    dls = ll.DataLoaders.from_tensors((x, y), bs=32, device=options.device)
    fits = {name: (ll.Learner(dls, small_resnet()), [cb() for cb in CASES[name]]) for name in CASES}
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    # On one CPU thread what others do on the machine counts less in this than in the wall's time.
    clock = time.process_time if options.device == "cpu" and options.threads == 1 else _wall
    for _ in range(options.reps + 1):
        for name, (learn, cbs) in fits.items():
            precision = [ll.MixedPrecision("bf16")] if options.bf16 else []
            begun = clock()
            with learn.no_logging():
                learn.fit(1, 1e-3, cbs=[*cbs, *precision])
            seconds[name].append((clock() - begun) / len(dls.train))
    plain = statistics.median(seconds["plain"][1:])
    for name, (first, *others) in seconds.items():
        each = statistics.median(others)
        print(
            f"{name:<14}{each * 1e3:8.1f} ms a batch, {plain / each:.2f} of plain's speed; "
            f"first fit {first * len(dls.train):.1f} s"
        )


if __name__ == "__main__":
    main()
