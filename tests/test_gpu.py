"""What only a GPU can show; skipped without one."""

from contextlib import contextmanager

import pytest
import torch
from tiny import digits_loaders, net, silent

from learnlite import Callback, Learner, accuracy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class NoWaiting(Callback):
    """Makes every wait for the device during a pass an error."""

    @contextmanager
    def around_train(self):
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    around_validate = around_train


def test_no_batch_waits_for_the_device():
    dls = digits_loaders(shuffle=True).to("cuda")
    learn = silent(Learner(dls, net(0.5), metrics=accuracy, seed=1))
    learn.fit(1, 0.01)  # warm: caches and kernels
    learn.fit_one_cycle(2, 0.01, cbs=NoWaiting)
    assert learn.recorder.last("accuracy") > 0.5


def test_the_finder_leaves_no_trace_on_the_device():
    def run(find):
        torch.manual_seed(0)
        learn = silent(Learner(digits_loaders(shuffle=True, seed=2).to("cuda"), net(0.5), seed=1))
        if find:
            learn.lr_find(show_plot=False)
        learn.fit_one_cycle(2, 0.01)
        return [t.cpu() for t in learn.model.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(run(False), run(True), strict=True))


def test_a_bad_label_is_named_before_the_device_asserts():
    dls = digits_loaders().to("cuda")
    dls.train.dataset.tensors[1][-1] = 9
    learn = silent(Learner(dls, net()))
    with pytest.raises(ValueError, match="9"):
        learn.fit(1)
