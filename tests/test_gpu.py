"""What only a GPU can show; skipped without one."""

from contextlib import contextmanager

import pytest
import torch
from test_every_callback import EVERY, given, learner, loaders
from tiny import digits_loaders, net, silent

from learnlite import (
    Callback,
    Checkpoint,
    DataLoaders,
    Learner,
    MixedPrecision,
    accuracy,
    on,
    state_file,
)
from learnlite.state_folder import StateFolder

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


def test_predicting_reads_the_device_once_for_many_batches():
    learn = silent(Learner(digits_loaders(bs=4).to("cuda"), net(), seed=1))
    learn.get_preds()  # warm: caches and kernels
    preds, targs, decoded = learn.get_preds(with_decoded=True, cbs=NoWaiting())  # 16 batches
    assert {part.device.type for part in (preds, targs, decoded)} == {"cpu"}
    learn.dls.cpu()
    torch.testing.assert_close(preds, learn.get_preds()[0])


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


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_no_callback_waits_for_the_device_in_a_batch(cls, tmp_path):
    if cls is Checkpoint:
        pytest.skip("it waits where it is due, for the copy")
    learn = learner(tmp_path, loaders(160).to("cuda"))
    given(cls, learn)
    learn.fit(1)  # warm: caches, kernels, and what is looked at once
    learn.fit(2, cbs=NoWaiting)
    assert all(bool(p.isfinite().all()) for p in learn.model.parameters())


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_mixed_precision_trains_as_full_precision_does_without_waiting(dtype):
    def run(precise):
        torch.manual_seed(0)
        learn = silent(Learner(digits_loaders(seed=2).to("cuda"), net(), seed=1, metrics=accuracy))
        if not precise:
            learn.to_bf16() if dtype == "bf16" else learn.to_fp16()
        learn.fit(1, 0.01)
        learn.fit_one_cycle(3, 0.02, cbs=NoWaiting)
        return torch.tensor(learn.recorder.losses)

    assert torch.allclose(run(True), run(False), rtol=0.05, atol=0.03)


def test_fp16_leaves_out_steps_that_overflow_and_counts_them():
    learn, steps = silent(Learner(digits_loaders(seed=2).to("cuda"), net(), seed=1)).to_fp16(), []

    def overflow(learn):
        if learn.training and learn.train_iter in (2, 4):
            learn.loss = learn.loss + 1e38 * (learn.loss - learn.loss.detach())

    count = on(after_loss=overflow, after_step=lambda learn: steps.append(learn.train_iter))
    learn.fit(1, 0.01, cbs=count)
    assert steps == [0, 1, 3, 5]
    assert next(cb for cb in learn.cbs if isinstance(cb, MixedPrecision)).skipped == 2


@pytest.mark.parametrize("background", [False, True])
def test_checkpoints_of_a_gpu_hold_what_it_had_at_that_batch(background, tmp_path):
    states = []
    keep = on(
        after_batch=lambda learn: states.append(learn.state_dict()) if learn.training else None,
        order=5000,
    )
    x = torch.randn(64, 8)
    dls = DataLoaders.from_tensors((x, x.sum(1, keepdim=True)), bs=16, seed=1, device="cuda")
    learn = Learner(dls, torch.nn.Linear(8, 1), lr=0.1, path=tmp_path)
    learn.fit(2, cbs=[Checkpoint(every=1, keep=99, background=background), keep])
    by_place = {str(state["progress"]): state for state in states}
    files = StateFolder(tmp_path / "checkpoints").files()
    assert files
    for path in files:
        found = state_file.read(path, "cuda")
        wanted = by_place.get(str(found["progress"]))
        if wanted is not None:
            for name, weight in wanted["model"].items():
                assert found["model"][name].is_cuda and torch.equal(found["model"][name], weight)
