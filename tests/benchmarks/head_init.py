"""How a new head should begin: its accuracy on frozen features, with torch's weights and Kaiming's.

    python tests/benchmarks/head_init.py FOLDER [--size 128] [--seeds 6]

FOLDER holds `train` and `val` with a folder for each class; a quarter of `train` is used. What the
body of a pretrained squeezenet1_1 (looked for where torch keeps weights) gives for each photo is
computed once; `fine_tune`'s schedule then trains heads on 10, 40 and all photos of each class.
Prints the mean accuracy and loss on `val` over the seeds.
"""

import argparse
import statistics

import torch
from torch import nn

from learnlite import DataLoaders, Learner
from learnlite.layers import apply_init
from learnlite.vision.all import ImageDataLoaders, Resize, accuracy, create_head, vision_learner


def features(folder, size):
    """What the body gives for the photos, pooled both ways, and their classes: train, val."""
    dls = ImageDataLoaders.from_folder(
        folder, valid="val", item_tfms=Resize(size), bs=64, seed=1, subset=0.25
    )
    learn = vision_learner(dls, "torchvision/squeezenet1_1")
    learn.model[1] = nn.Sequential(*learn.model[1][:2])  # its pooling alone
    for dl in (dls.train.new(shuffle=False, drop_last=False), dls.valid):
        yield tuple(learn.get_preds(dl=dl, act=nn.Identity())[:2])


def trained(train, valid, init, seed):
    torch.manual_seed(seed)
    bs = min(64, max(16, len(train[0]) // 12))
    dls = DataLoaders.from_tensors(train, valid, bs=bs, seed=seed, device="cpu")
    head = create_head(train[0].shape[1], int(valid[1].max()) + 1, pool=False)
    if init is not None:
        apply_init(head, init)
    learn = Learner(dls, head, nn.CrossEntropyLoss(), metrics=accuracy, seed=seed)
    with learn.no_logging():
        learn.fit_one_cycle(1, 2e-3, pct_start=0.99)
        learn.fit_one_cycle(4 if len(train[0]) < 1000 else 2, 1e-3, pct_start=0.3, div=5)
    return learn.recorder.last("accuracy"), learn.recorder.last("valid_loss")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=6)
    args = parser.parse_args()
    (x, y), valid = features(args.folder, args.size)
    for n in (10, 40, None):
        for name, init in (("torch", None), ("kaiming_normal_", nn.init.kaiming_normal_)):
            found = []
            for seed in range(args.seeds):
                torch.manual_seed(seed)
                classes = [torch.nonzero(y == label).flatten() for label in y.unique()]
                rows = torch.cat([each[torch.randperm(len(each))[:n]] for each in classes])
                found.append(trained((x[rows], y[rows]), valid, init, seed))
            right, loss = map(statistics.mean, zip(*found, strict=True))
            print(
                f"{n or 'all':>4} of each class  {name:16} {right:.4f}  loss {loss:.4f}", flush=True
            )


if __name__ == "__main__":
    main()
