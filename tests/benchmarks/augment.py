"""What augmenting a batch costs on this CPU, beside fastai where it is installed.

    python tests/benchmarks/augment.py [--bs 64] [--rounds 7] [--threads 1]

Batches of bytes, as they come from files; `aug_transforms` and `Normalize` as both write them. The
two take turns, so that what else the machine does meets both; prints the median milliseconds a
batch, for each its quickest, and the ratio of the medians.
"""

import argparse
import statistics
import time
from typing import Any

import torch

from learnlite.vision import aug
from learnlite.vision.batch_tfms import BatchTfms, Normalize, imagenet_stats

RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "460 px to 224, the book's": (460, {"size": 224, "min_scale": 0.75}),
    "224 px": (224, {}),
    "160 px to 128": (160, {"size": 128, "min_scale": 0.75}),
    "128 px": (128, {}),
    "224 px, flips alone": (224, {"max_rotate": 0, "max_warp": 0, "max_zoom": 1, "p_lighting": 0}),
}


def ours(x: torch.Tensor, given: dict[str, Any], training: bool) -> Any:
    tfms = BatchTfms([*aug.aug_transforms(**given), Normalize.from_stats(*imagenet_stats)])
    return lambda: tfms((x,), ("image",), training)[0]


def fastais(x: torch.Tensor, given: dict[str, Any], training: bool) -> Any:
    from fastai.vision import all as fastai

    image = fastai.TensorImage(x)
    pipeline = fastai.Pipeline(
        [
            fastai.IntToFloatTensor(),
            *fastai.aug_transforms(**given),
            fastai.Normalize.from_stats(*fastai.imagenet_stats, cuda=False),
        ],
        split_idx=0 if training else 1,
    )
    return lambda: pipeline((image,))[0]


def seconds(run: Any) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    makers = {"learnlite": ours}
    try:
        import fastai  # noqa: F401

        makers["fastai"] = fastais
    except ImportError:
        print("fastai is not installed: no comparison")
    print(f"milliseconds a batch of {arguments.bs}, median (quickest); torch {torch.__version__}")
    for name, (side, given) in RUNS.items():
        for training in (True, False):
            x = torch.randint(256, (arguments.bs, 3, side, side), dtype=torch.uint8)
            runs = {who: make(x, given, training) for who, make in makers.items()}
            times: dict[str, list[float]] = {who: [] for who in runs}
            for round_ in range(arguments.rounds + 1):
                for who, run in runs.items():
                    spent = seconds(run)
                    if round_:  # the first one warms up
                        times[who].append(spent * 1e3)
            medians = {who: statistics.median(spent) for who, spent in times.items()}
            shown = "  ".join(
                f"{who} {medians[who]:7.1f} ({min(times[who]):7.1f})" for who in times
            )
            ratio = (
                f"  {medians['fastai'] / medians['learnlite']:.1f} x" if "fastai" in times else ""
            )
            print(f"{name:27s}{'training' if training else 'validation':11s} {shown}{ratio}")


if __name__ == "__main__":
    main()
