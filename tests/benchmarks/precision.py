"""Seconds a training batch of a ResNet in fp32, bf16 and fp16, channels last, compiled.

    python tests/benchmarks/precision.py [--device cuda] [--arch resnet50] [--size 224] [--bs 64]

Every way runs the same images through the same network; after a warm-up the ways take turns, and
the table gives the median of the turns and its ratio to plain fp32. What the device cannot do is
told.
"""

import argparse
import statistics
import time
import warnings

import torch
import torchvision

import learnlite as ll

WAYS = {
    "fp32": ("fp32", []),
    "fp32, channels last": ("fp32", [ll.ChannelsLast]),
    "bf16": ("bf16", []),
    "bf16, channels last": ("bf16", [ll.ChannelsLast]),
    "bf16, channels last, compiled": ("bf16", [ll.ChannelsLast, ll.Compile]),
    "fp16": ("fp16", []),
    "fp16, channels last": ("fp16", [ll.ChannelsLast]),
    "fp16, channels last, compiled": ("fp16", [ll.ChannelsLast, ll.Compile]),
}


class Turn(ll.Callback):
    """Times a fit from its first batch on, until the device is done."""

    order = ll.Order.REPORT + 9

    def before_train(self):
        self.start = self.now()

    def after_train(self):
        self.seconds = (self.now() - self.start) / self.learn.n_iter

    def now(self):
        if self.learn.dls.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--bs", type=int, default=64)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    x = torch.randn(args.bs, 3, args.size, args.size, device=args.device)
    y = torch.randint(10, (args.bs,), device=args.device)
    dls = ll.DataLoaders([(x, y)] * args.batches, device=args.device)
    learners = {}
    for name, (precision, cbs) in WAYS.items():
        model = getattr(torchvision.models, args.arch)(num_classes=10)
        learn = ll.Learner(dls, model, lr=1e-3, cbs=cbs)
        try:
            learn = getattr(learn, f"to_{precision}")()
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        learners[name] = learn
    seconds = {name: [] for name in learners}
    for turn in range(args.turns + 1):
        for name, learn in learners.items():
            timer = Turn()
            with learn.no_logging(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                learn.fit(1, cbs=timer)
            if turn:  # the first warms up, and compiles
                seconds[name].append(timer.seconds)
    plain = statistics.median(seconds["fp32"])
    for name, found in seconds.items():
        median = statistics.median(found)
        print(f"{name:<32} {1e3 * median:9.2f} ms {plain / median:6.2f} x as fast as fp32")


if __name__ == "__main__":
    main()
