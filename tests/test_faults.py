"""What may go wrong in a running fit: it is said, and the learner can be used after it."""

import gc
import os
import signal
import time
import weakref

import pytest
import torch
from tiny import digits_loaders, net, silent
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader

from learnlite import SGD, Adam, DataLoaders, GradientAccumulation, Lamb, Learner, RMSProp, on
from learnlite.data import Loader


def learner(dls=None, model=None, **kwargs):
    torch.manual_seed(0)
    kwargs = {"lr": 0.01, "loss_func": nn.CrossEntropyLoss(), "seed": 1} | kwargs
    return silent(Learner(digits_loaders() if dls is None else dls, model or net(), **kwargs))


class Items:
    """Digits' like, with something that happens once, when an item is read."""

    items = [f"photos/{i}.jpg" for i in range(40)]

    def __init__(self, fault=None, bad=13, marker=None):
        self.fault = fault
        self.bad = bad
        self.marker = marker

    def __len__(self):
        return 40

    def __getitem__(self, i):
        if i == self.bad and self.fault is not None and not self.marker.exists():
            self.marker.touch()
            self.fault()
        generator = torch.Generator().manual_seed(i)
        return torch.randn(8, generator=generator), i % 4


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise ValueError("cannot identify image")


def hang():
    time.sleep(60)


def loaders(tmp_path, fault, n_workers, timeout=20, torchs=False):
    train = Items(fault, marker=tmp_path / "it happened")
    valid = Loader(Items(), 8)
    if torchs:
        return DataLoaders(
            DataLoader(train, 4, num_workers=n_workers, timeout=timeout), valid, device="cpu"
        )
    return DataLoaders(
        Loader(train, 4, num_workers=n_workers, timeout=timeout, seed=3), valid, device="cpu"
    )


WHOLE = [
    pytest.param(die, 1, RuntimeError, "worker 0 of the loader was ended by SIGKILL", id="killed"),
    pytest.param(fail, 1, ValueError, "cannot identify image", id="raises in a worker"),
    pytest.param(fail, 0, ValueError, "cannot identify image", id="raises here"),
    pytest.param(hang, 1, TimeoutError, "no batch for 1 s", id="hangs"),
]


@pytest.mark.parametrize(("fault", "n_workers", "kind", "words"), WHOLE)
def test_a_loader_that_fails_leaves_the_learner_as_the_batch_before_did(
    fault, n_workers, kind, words, tmp_path
):
    learn = learner(loaders(tmp_path, fault, n_workers, timeout=1 if fault is hang else 20))
    steps = []
    watch = on(after_batch=lambda learn: steps.append(learn.state_dict()) if learn.training else 0)
    watch.order = 1000
    with pytest.raises(kind, match=words) as caught:
        learn.fit(2, cbs=watch)
    told = "\n".join([str(caught.value), *caught.value.__notes__])
    assert "reading item 13 (`photos/13.jpg`)" in told
    assert f"raised by the training loader at batch {len(steps)} of epoch 0" in told
    assert len(steps) in ((2, 3) if fault is die else (3,))  # it read ahead, and took both along
    assert all(
        torch.equal(value, steps[-1]["model"][name])
        for name, value in learn.model.state_dict().items()
    )

    learn.fit(2, resume=learn.state_dict())  # the fault was a passing one
    whole = learner(loaders(tmp_path, None, 0))
    whole.fit(2)
    assert all(
        torch.equal(value, learn.model.state_dict()[name])
        for name, value in whole.model.state_dict().items()
    )
    assert learn.recorder.values == whole.recorder.values


def test_a_validation_loader_that_fails_is_named(tmp_path):
    dls = digits_loaders()
    dls = DataLoaders(dls.train, Loader(Items(fail, marker=tmp_path / "it"), 4), device="cpu")
    with pytest.raises(ValueError, match="cannot identify") as caught:
        learner(dls).fit(1)
    assert any(
        "raised by the validation loader at batch 3;" in note for note in caught.value.__notes__
    )


def test_torchs_loader_fails_as_it_does_and_the_batch_is_named(tmp_path):
    learn = learner(loaders(tmp_path, fail, 1, torchs=True))
    with pytest.raises(ValueError, match="identify image") as caught:
        learn.fit(1)
    assert any("training loader at batch 3 of epoch 0" in note for note in caught.value.__notes__)
    learn.fit(1)
    assert len(learn.recorder.values) == 1


def test_a_worker_that_dies_does_not_cut_a_step_in_two():
    """Torch raises from a signal handler, wherever the main thread is."""
    learn = learner(DataLoaders(Loader(Items(), 4, num_workers=1), device="cpu"))
    killed = []
    of_others = set(torch.multiprocessing.active_children())

    def kill_the_worker(learn):
        if learn.train_iter == 2 and not killed:
            for child in set(torch.multiprocessing.active_children()) - of_others:
                child.kill()
                killed.append(child)

    def linger(opt, args, kwargs):
        if killed:
            time.sleep(0.2)

    learn.create_opt().register_step_post_hook(linger)
    with pytest.raises(RuntimeError, match="ended by SIGKILL") as caught:
        learn.fit(3, cbs=on(before_step=kill_the_worker))
    assert not any("midst of an optimizer's step" in note for note in caught.value.__notes__)
    learn.fit(1)


# Memory


class BigNet(nn.Module):
    """Whose every activation can be watched."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.given = []

    def forward(self, x):
        pred = torch.relu(self.layer(x * 2))
        self.given.append(weakref.ref(pred))
        return pred


def no_room(learn):
    if learn.train_iter == 3:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def in_graphs():
    """The tensors that hold a graph; those of another test that failed may be among them."""
    gc.collect()
    return [t for t in gc.get_objects() if type(t) is torch.Tensor and t.grad_fn is not None]


@pytest.mark.parametrize("event", ["after_pred", "before_backward", "after_backward"])
def test_memory_that_ran_out_is_given_back_and_the_message_says_what_to_try(event):
    learn, n_before = learner(model=BigNet()), len(in_graphs())
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate") as caught:
        learn.fit(1, cbs=on(**{event: no_room}))
    told = caught.value.__notes__[-1]
    assert "the memory of cpu ran out at batch 3 of epoch 0, which holds 32" in told
    assert "`bs` (16) with `cbs=GradientAccumulation(32)`" in told and "`learn.to_bf16()`" in told
    assert all(parameter.grad is None for parameter in learn.model.parameters())
    assert not any(ref() is not None for ref in learn.model.given), "the traceback holds some"
    assert len(in_graphs()) == n_before
    learn.fit(1)
    learn.validate()


def test_what_is_tried_already_is_not_advised():
    learn = learner(cbs=[GradientAccumulation(64)]).to_bf16()
    with pytest.raises(torch.OutOfMemoryError) as caught:
        learn.fit(1, cbs=on(before_backward=no_room))
    told = caught.value.__notes__[-1]
    assert "to_bf16" not in told and "cbs=GradientAccumulation" not in told


def test_memory_that_runs_out_in_validation_asks_for_smaller_batches_there():
    def out(learn):
        if not learn.training:
            raise torch.OutOfMemoryError("no room")

    learn = learner()
    for run in (lambda cb: learn.fit(1, cbs=cb), lambda cb: learn.validate(cbs=cb)):
        with pytest.raises(torch.OutOfMemoryError) as caught:
            run(on(after_pred=out))
        (told,) = [note for note in caught.value.__notes__ if "the memory of" in note]
        assert "at batch 0 of validation, which holds 32" in told and "`val_bs` (16)" in told


class NoRoomAt(TorchFunctionMode):
    """Memory that runs out at the n-th call of torch while a step is made."""

    def __init__(self, learn, n):
        self.learn = learn
        self.n = n
        self.calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if self.learn._whole_steps.stepping:
            self.calls += 1
            if self.calls == self.n:
                raise torch.OutOfMemoryError("no room")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("opt_func", [Adam, Lamb, RMSProp, SGD])
def test_memory_may_run_out_at_any_call_within_a_step(opt_func):
    learn = learner(digits_loaders(8, bs=8), nn.Linear(8, 4), opt_func=opt_func)
    with NoRoomAt(learn, 0) as room:
        learn.fit(1)
    n_calls = room.calls
    assert n_calls > 3
    for n in {1, 2, 3, *range(1, n_calls, max(n_calls // 8, 1))}:
        learn = learner(digits_loaders(8, bs=8), nn.Linear(8, 4), opt_func=opt_func)
        with pytest.raises(torch.OutOfMemoryError) as caught, NoRoomAt(learn, n):
            learn.fit(1)
        assert any("midst of an optimizer's step" in note for note in caught.value.__notes__)
        learn.fit(1)
        assert all(bool(p.isfinite().all()) for p in learn.model.parameters())


@pytest.mark.gpu
def test_real_memory_of_a_gpu_is_given_back():
    device = torch.device("cuda")
    x, y = torch.randn(64, 8), torch.randint(4, (64,))
    dls = DataLoaders.from_tensors(x, y, bs=32, device=device)
    learn = learner(dls, net())
    learn.fit(1)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()

    def take_all(learn):
        if learn.train_iter == 1:
            learn.pred = learn.pred + torch.ones(1 << 50, device=device).sum()

    with pytest.raises(torch.OutOfMemoryError) as caught:
        learn.fit(1, cbs=on(after_pred=take_all))
    assert any("ran out at batch 1" in note for note in caught.value.__notes__)
    assert torch.cuda.memory_allocated() <= before
    learn.fit(1)
