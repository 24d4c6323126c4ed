"""How the model runs: frozen statistics, channels last, compiled; all undone after the fit."""

import copy
import logging
import pickle

import pytest
import torch
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn

from learnlite import DataLoaders, GradientAccumulation, Learner, on
from learnlite.callbacks.model import BnFreeze, ChannelsLast, Compile

# Frozen statistics


def frozen_after(model, cbs=BnFreeze, **kwargs):
    """What a fit leaves of the statistics of each norm layer: whether they moved."""
    kept = copy.deepcopy(model)
    learn = silent(Learner(digits_loaders(), model, lr=0.1, **kwargs))
    learn.fit(2, cbs=cbs)
    before, after = (
        [layer.running_mean for layer in m.modules() if hasattr(layer, "running_mean")]
        for m in (kept, learn.model)
    )
    return [torch.equal(a, b) for a, b in zip(before, after, strict=True)]


def two_norms(**kwargs):
    body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16, **kwargs))
    return nn.Sequential(body, nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)))


def test_statistics_of_frozen_layers_stay_and_those_of_others_move():
    model = two_norms()
    model[0].requires_grad_(False)
    assert frozen_after(model) == [True, False]
    assert frozen_after(model, cbs=[]) == [False, False]
    assert frozen_after(two_norms()) == [False, False]


def test_a_norm_layer_without_parameters_goes_by_the_module_around_it():
    model = two_norms(affine=False)
    assert frozen_after(model) == [False, False]
    model[0].requires_grad_(False)
    assert frozen_after(model) == [True, False]


def test_an_instance_norm_with_statistics_is_kept_and_one_without_is_let_be():
    class Rows(nn.Module):
        def __init__(self, track):
            super().__init__()
            self.norm = nn.InstanceNorm1d(8, affine=True, track_running_stats=track)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.norm(x[..., None].expand(-1, -1, 4)).mean(-1))

    model = Rows(True)
    model.norm.requires_grad_(False)
    assert frozen_after(model) == [True]
    plain = Rows(False)
    plain.norm.requires_grad_(False)
    silent(Learner(digits_loaders(), plain)).fit(1, cbs=BnFreeze)


def test_where_no_statistics_are_frozen_it_is_said(capsys):
    for train_bn, said in ((True, True), (False, False)):
        learn = Learner(
            digits_loaders(), two_norms(), train_bn=train_bn, splitter=lambda m: [*m.children()]
        )
        learn.freeze()
        silent(learn).fit(1, cbs=BnFreeze)
        assert ("`BnFreeze` has nothing to do" in capsys.readouterr().out) is said


def test_freezing_the_body_with_train_bn_off_keeps_its_statistics_and_modes_come_back():
    model = two_norms()
    modes = []
    learn = silent(
        Learner(digits_loaders(), model, train_bn=False, splitter=lambda m: [*m.children()])
    )
    learn.freeze()
    before = model[0][1].running_mean.clone()
    look = on(
        after_pred=lambda learn: modes.append(
            (learn.training, model[0][1].training, model[1][1].training)
        )
    )
    learn.fit(1, cbs=[BnFreeze, look])
    assert torch.equal(before, model[0][1].running_mean)
    assert set(modes) == {(True, False, True), (False, False, False)}
    learn.unfreeze()
    learn.fit(1, cbs=BnFreeze)
    assert not torch.equal(before, model[0][1].running_mean)


# Channels last


class Convs(nn.Module):
    def __init__(self, drop=0.0):
        super().__init__()
        # no bias: before a norm its gradient is rounding alone, which Adam makes large
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv2(torch.relu(self.norm(self.conv1(x))))
        return self.head(self.drop(x.mean((2, 3))))


def images(n=44, bs=8):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (n,), generator=generator)
    x = torch.randn(n, 3, 6, 6, generator=generator) + y[:, None, None, None] / 2
    return DataLoaders.from_tensors((x, y), (x[:12], y[:12]), bs=bs, device="cpu", seed=1)


def convs(cbs=(), dls=None, drop=0.0, seed=0, **kwargs):
    torch.manual_seed(seed)
    learn = silent(
        Learner(images() if dls is None else dls, Convs(drop), cbs=cbs, seed=2, lr=0.01, **kwargs)
    )
    learn.say = lambda text: None
    return learn


def strides(learn):
    state = learn.opt.state if learn.opt is not None else {}
    return [
        *(t.stride() for t in (*learn.model.parameters(), *learn.model.buffers())),
        *(v.stride() for values in state.values() for v in values.values() if v.dim()),
    ]


def close(a, b):
    return all(
        torch.allclose(x, y, atol=1e-4)
        for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    )


SGD = torch.optim.SGD
OPTIMIZERS = {
    "AdamW fused": lambda params, lr: torch.optim.AdamW(params, lr, fused=True),
    "AdamW foreach": lambda params, lr: torch.optim.AdamW(params, lr, foreach=True),
    "SGD fused": lambda params, lr: SGD(params, lr, momentum=0.9, fused=True),
    "SGD": lambda params, lr: SGD(params, lr, momentum=0.9, foreach=False),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_channels_last_trains_to_the_same_weights_also_from_a_state_made_without(name):
    plain, last = convs(opt_func=OPTIMIZERS[name]), convs(opt_func=OPTIMIZERS[name])
    for cbs in ([], [ChannelsLast()], []):  # the state is made, converted, and converted back
        plain.fit(2, cbs=[])
        last.fit(2, cbs=cbs)
        assert close(plain, last)
    assert strides(plain) == strides(last)


def test_inputs_and_convolutions_are_channels_last_in_training_and_validation():
    seen = []

    def look(learn):
        given = learn.xb["x"] if isinstance(learn.xb, dict) else learn.xb[0]
        last = torch.channels_last
        seen.append(
            (
                learn.training,
                given.is_contiguous(memory_format=last),
                learn.model.conv2.weight.is_contiguous(memory_format=last),
                given.is_contiguous(),
            )
        )

    x, y = images().train.dataset.tensors
    dicts = [{"x": x[:8], "labels": y[:8]}] * 2
    for dls in (images(), DataLoaders(dicts, dicts, device="cpu")):
        seen.clear()
        convs(ChannelsLast(), dls).fit(1, cbs=on(after_pred=look))
        assert set(seen) == {(True, True, True, False), (False, True, True, False)}


def test_a_model_that_was_channels_last_stays_so_and_others_come_back():
    learn = convs(ChannelsLast())
    learn.model.conv2.to(memory_format=torch.channels_last)
    learn.create_opt()
    before = strides(learn)
    learn.fit(1)
    assert strides(learn)[: len(before)] == before


def test_a_model_without_images_is_told_that_there_is_nothing_to_do():
    said = []
    learn = silent(Learner(digits_loaders(), net()))
    learn.say = said.append
    learn.fit(1, cbs=ChannelsLast())
    assert len(said) == 1 and "nothing to do: no weight of the model has 4 dimensions" in said[0]


@pytest.mark.parametrize("saved_in", ["channels last", "plain"])
def test_a_state_goes_on_in_the_other_order_of_memory(saved_in):
    """Loaded state keeps the strides it was saved with, which a fused step would misread."""
    states = []

    def stop(learn):
        if learn.training and learn.train_iter == 7:
            states.append(learn.state_dict())

    with_it = [ChannelsLast()] if saved_in == "channels last" else []
    without = [] if with_it else [ChannelsLast()]
    whole = convs(opt_func=OPTIMIZERS["AdamW fused"])
    whole.fit(3, cbs=[*with_it, on(after_batch=stop, order=99)])
    fresh = convs(opt_func=OPTIMIZERS["AdamW fused"], seed=9)
    with pytest.warns(UserWarning, match=r"not those of the saved fit[\s\S]*`ChannelsLast`"):
        fresh.fit(3, resume=states[0], cbs=without)
    assert close(whole, fresh)


# Compiled


def counting(graphs):
    """A backend that notes each graph it is given, and runs it as it is."""

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    return backend


def failing(after):
    """A backend that fails on the graph after so many."""
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        if len(seen) > after:
            raise NotImplementedError("this graph is beyond me\nand more lines")
        return graph.forward

    return backend


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def weights(learn):
    return [value.clone() for value in learn.model.state_dict().values()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_trains_to_the_same_weights_under_the_same_names(backend):
    plain, compiled = convs(drop=0.3), convs(drop=0.3)
    names = list(compiled.model.state_dict())
    inside = []
    plain.fit(2)
    compiled.fit(
        2,
        cbs=[
            Compile(backend=backend),
            on(after_batch=lambda learn: inside.append(list(learn.model.state_dict()) == names)),
        ],
    )
    assert equal(plain, compiled) and plain.recorder.losses == compiled.recorder.losses
    assert all(inside) and compiled.model._compiled_call_impl is None


def test_each_size_is_compiled_once_and_not_again_in_later_epochs():
    graphs = []
    learn = convs()  # 44 in batches of 8: a short last one; 12 to validate on: another
    counts = on(after_epoch=lambda learn: epochs.append(len(graphs)))
    epochs = []
    learn.fit(3, cbs=[Compile(backend=counting(graphs)), counts])
    assert epochs == [4, 4, 4]


def test_dynamic_sizes_are_compiled_once_for_all():
    graphs, epochs = [], []
    x = torch.randn(40, 3)
    batches = [(x[:k], x[:k].sum(1, keepdim=True)) for k in (4, 5, 6, 7, 8, 9, 10, 11, 12)]
    learn = linear_learner([])
    learn.dls = DataLoaders(batches, device="cpu")
    learn.fit(
        2,
        cbs=[
            Compile(backend=counting(graphs), dynamic=True),
            on(after_epoch=lambda learn: epochs.append(len(graphs))),
        ],
    )
    assert epochs == [1, 1]


def test_many_models_and_fits_in_one_process_are_all_compiled():
    """torch counts compiled variants by code: after two models of a class it would stop, mutely."""
    made = []
    for _ in range(4):
        graphs, fits = [], []
        learn, cb = convs(), Compile(backend=counting(graphs))
        for _ in range(3):
            learn.fit(1, cbs=cb)
            fits.append(len(graphs))
        made.append(fits)
    assert made == [[4, 4, 4]] * 4  # and what a fit has compiled serves the next


def test_freezing_layers_between_fits_compiles_anew_without_end():
    graphs, fits = [], []
    learn, cb = convs(), Compile(backend=counting(graphs))
    for trained in (True, False, True, False):
        learn.model.conv1.requires_grad_(trained)
        learn.fit(1, cbs=cb)
        fits.append(len(graphs))
    assert fits == [4, 8, 12, 16]


def test_more_sizes_than_torch_compiles_are_told():
    x = torch.randn(40, 3)
    batches = [(x[:k], x[:k].sum(1, keepdim=True)) for k in range(4, 14)]
    learn = linear_learner([])
    learn.dls = DataLoaders(batches, device="cpu")
    with pytest.warns(UserWarning, match="more than 8 variants.*size mismatch.*dynamic=True"):
        learn.fit(1, cbs=Compile(backend="eager"))


def test_more_variants_than_torch_compiles_are_told_also_where_all_sizes_are_the_same():
    learn = convs(dls=images(40))

    def change(learn):
        learn.model.norm.momentum = 0.1 / (learn.train_iter + 1)

    with pytest.warns(UserWarning, match="more than 8 variants.*momentum") as caught:
        learn.fit(4, cbs=[Compile(backend="eager"), on(before_batch=change)])
    assert len(caught) == 1
    assert not logging.getLogger("torch._dynamo.convert_frame").filters


def test_a_copy_of_a_learner_trains_its_own_model():
    learn = convs(Compile(backend="eager"))
    learn.fit(1)
    before = weights(learn)
    copied = copy.deepcopy(learn)
    copied.fit(2)
    reference = convs()
    reference.fit(1)
    reference.fit(2)
    assert equal(copied, reference)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(learn), strict=True))


def test_a_callback_that_has_compiled_can_be_pickled():
    learn = linear_learner()
    learn.fit(1, cbs=(cb := Compile(backend="eager")))
    del cb.learn
    assert repr(pickle.loads(pickle.dumps(cb))) == repr(cb)


def test_a_model_that_cannot_be_compiled_trains_as_it_is_and_says_why():
    plain, failed = convs(drop=0.3), convs(drop=0.3)
    plain.fit(1)
    with pytest.warns(UserWarning, match="could not be compiled") as caught:
        failed.fit(1, cbs=Compile(backend=failing(0)))
    assert [str(w.message) for w in caught] == [
        "the model could not be compiled, so the fit goes on without: "
        "NotImplementedError: this graph is beyond me"
    ]
    assert equal(plain, failed) and plain.recorder.losses == failed.recorder.losses
    assert failed.model._compiled_call_impl is None


def test_a_backward_pass_that_cannot_be_compiled_is_met_in_the_forward_pass():
    from torch._dynamo.backends.common import aot_autograd

    def fail(graph, inputs):
        raise NotImplementedError("no such gradient")

    backend = aot_autograd(fw_compiler=lambda graph, inputs: graph.forward, bw_compiler=fail)
    plain, failed = convs(drop=0.3), convs(drop=0.3)
    plain.fit(1)
    with pytest.warns(UserWarning, match="NotImplementedError: no such gradient"):
        failed.fit(1, cbs=Compile(backend=backend))
    assert equal(plain, failed)


class Broken(Convs):
    """A model in two graphs, with statistics and dropout in the first."""

    def forward(self, x):
        x = self.drop(self.norm(self.conv1(x)))
        torch._dynamo.graph_break()
        return self.head(self.conv2(x).mean((2, 3)))


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_forward_that_was_cut_off_half_way_leaves_no_trace(after):
    fits = []
    for cbs in ([], [Compile(backend=failing(after))]):
        torch.manual_seed(0)
        learn = silent(Learner(images(), Broken(0.3), seed=2, lr=0.01))
        if cbs:
            with pytest.warns(UserWarning, match="could not be compiled"):
                learn.fit(2, cbs=cbs)
        else:
            learn.fit(2)
        fits.append(learn)
    assert equal(*fits)


def test_an_error_of_the_model_itself_comes_out_as_it_is():
    learn = convs()
    learn.model.head = nn.Linear(7, 4)
    learn.create_opt()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        learn.fit(1, cbs=Compile(backend="eager"))
    assert type(caught.value) is RuntimeError


def test_unknown_modes_and_backends_are_refused_before_training():
    for cb, text in (
        (Compile(backend="inducter"), "no backend 'inducter'; did you mean `inductor`"),
        (Compile("max-autotun"), "no mode 'max-autotun'; did you mean `max-autotune`"),
    ):
        learn = convs(cb)
        with pytest.raises(ValueError, match=text):
            learn.fit(1)
    with pytest.raises(ValueError, match="give `mode` or `options`, not both"):
        Compile("max-autotune", options={"max_autotune": True})


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is dep:DeprecationWarning"
)  # torch 2.10
def test_a_missing_compiler_is_told_and_training_goes_on(monkeypatch):
    from torch._inductor import config

    plain, failed = convs(), convs()
    plain.fit(1)
    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    with pytest.warns(UserWarning, match="InvalidCxxCompiler: No working C\\+\\+ compiler found"):
        failed.fit(1, cbs=Compile())
    assert equal(plain, failed)


def test_a_model_that_the_user_has_compiled_is_left_to_him():
    graphs = []
    learn = convs()
    learn.model.compile(backend=counting(graphs))
    theirs = learn.model._compiled_call_impl
    learn.fit(1, cbs=Compile(backend="eager"))
    assert learn.model._compiled_call_impl is theirs and graphs


def test_it_goes_with_accumulation_dicts_and_channels_last():
    x, y = images().train.dataset.tensors
    dicts = [{"x": x[i : i + 8], "labels": y[i : i + 8]} for i in (0, 8, 16)]
    dls = DataLoaders(dicts, dicts, device="cpu")
    plain, compiled = convs(dls=dls), convs(dls=dls)
    plain.fit(2, cbs=[GradientAccumulation(16)])
    compiled.fit(2, cbs=[GradientAccumulation(16), ChannelsLast(), Compile(backend="aot_eager")])
    assert close(plain, compiled)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is dep:DeprecationWarning"
)  # torch 2.10
def test_inductor_trains_to_the_same_weights_and_goes_on_exactly():
    states = []

    def keep(learn):
        if learn.training and learn.train_iter == 7:  # the second batch of the second epoch
            states.append(learn.state_dict())

    plain, whole, fresh = convs(), convs(), convs(seed=9)
    plain.fit(2)
    whole.fit(2, cbs=[Compile(), on(after_batch=keep, order=99)])
    torch._dynamo.reset()  # as in another process
    fresh.fit(2, cbs=Compile(), resume=states[0])
    assert close(plain, whole)
    assert equal(whole, fresh) and whole.recorder.losses == fresh.recorder.losses
