"""Averages of the weights: as the loop written out, in the model when it counts."""

import copy
import pickle

import pytest
import torch
from tiny import digits_loaders, net, silent
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from learnlite import (
    BnFreeze,
    CancelFitException,
    Compile,
    Learner,
    ShortEpoch,
    TerminateOnNaN,
    accuracy,
    on,
)
from learnlite.callbacks.average import EMA, SWA


def learner(model=None, **kwargs):
    torch.manual_seed(0)
    model = net(0.2) if model is None else model
    return silent(Learner(digits_loaders(seed=2), model, metrics=accuracy, seed=1, **kwargs))


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def raw_weights_of(learn, n_epoch=2, **fit):
    """The weights after every step."""
    found = [weights(learn.model)]
    learn.fit(n_epoch, 0.02, cbs=on(after_step=lambda learn: found.append(weights(learn.model))))
    return found


@pytest.mark.parametrize("warmup", [False, True])
def test_ema_is_the_loop_written_out(warmup):
    steps = raw_weights_of(learner())
    average = [w.double() for w in steps[0]]
    for t, now in enumerate(steps[1:]):
        decay = min(0.9, (1 + t) / (10 + t)) if warmup else 0.9
        average = [decay * a + (1 - decay) * w.double() for a, w in zip(average, now, strict=True)]
    learn = learner(cbs=EMA(0.9, warmup=warmup))
    learn.fit(2, 0.02)
    for ours, theirs in zip(learn.model.parameters(), average, strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-6)


def test_ema_without_warmup_is_torchs_averaged_model():
    learn = learner()
    averaged = AveragedModel(learn.model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(learn.model)  # torch's first average is the first weights
    learn.fit(1, 0.02, cbs=on(after_step=lambda learn: averaged.update_parameters(learn.model)))
    ours = learner(cbs=EMA(0.9, warmup=False))
    ours.fit(1, 0.02)
    assert same(ours.model.parameters(), averaged.module.parameters())


def test_validation_sees_the_average_and_training_does_not():
    plain, raw = learner(), []
    plain.fit(2, 0.02, cbs=on(before_batch=lambda learn: raw.append(weights(learn.model))))
    learn, seen = learner(), {True: [], False: []}

    def look(learn):
        seen[learn.training].append(weights(learn.model))

    learn.fit(2, 0.02, cbs=[EMA(0.9), on(before_batch=look)])
    raw_train = raw[:6] + raw[8:14]
    assert all(same(a, b) for a, b in zip(seen[True], raw_train, strict=True))
    assert not same(seen[False][0], raw[6])
    assert same(seen[False][-1], learn.model.parameters()), "the fit ends with the average"


def test_what_is_saved_in_a_fit_is_the_average(tmp_path):
    learn = learner(path=tmp_path)
    validated = []

    def look(learn):
        if not learn.training:
            validated[:] = weights(learn.model)

    def save(learn):
        before = weights(learn.model)
        learn.save(f"epoch{learn.epoch}")
        assert same(before, learn.model.parameters()), "saving leaves the weights of training"
        other = learner(net(0.2), path=tmp_path).load(f"epoch{learn.epoch}")
        assert same(other.model.parameters(), validated)

    learn.fit(2, 0.02, cbs=[EMA(0.9), on(before_batch=look, after_epoch=save)])


def test_a_fit_that_was_cancelled_ends_with_the_average_and_one_that_failed_does_not():
    def cancel(learn):
        raise CancelFitException

    def fail(learn):
        raise RuntimeError

    learn, plain = learner(), learner()
    for each, cbs in ((learn, [EMA(0.9)]), (plain, [])):
        each.fit(2, 0.02, cbs=[*cbs, on(after_train=cancel)])
    assert not same(learn.model.parameters(), plain.model.parameters())
    learn = learner()
    with pytest.raises(RuntimeError):
        learn.fit(2, 0.02, cbs=[EMA(0.9), on(after_train=fail)])
    assert same(learn.model.parameters(), plain.model.parameters())


def test_validate_in_a_fit_and_after_it_measures_the_average():
    learn, measured = learner(), []
    learn.fit(
        2, 0.02, cbs=[EMA(0.9), on(after_epoch=lambda learn: measured.append(learn.validate()))]
    )
    assert measured == [row[1:] for row in learn.recorder.values]
    assert learn.validate() == measured[-1]


def test_buffers_stay_the_models_own():
    plain, learn = learner(), learner(cbs=EMA(0.5))
    plain.fit(2, 0.02)
    learn.fit(2, 0.02)
    assert same(plain.model.buffers(), learn.model.buffers())


def test_integer_and_shared_parameters_are_no_trouble():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
            self.b.weight = self.a.weight
            self.head = nn.Linear(8, 4)
            self.count = nn.Parameter(torch.tensor([3]), requires_grad=False)

        def forward(self, x):
            return self.head(self.b(self.a(x).relu()).relu())

    learn = learner(Tied(), cbs=EMA(0.9))
    learn.fit(2, 0.02)
    assert learn.model.a.weight is learn.model.b.weight
    assert learn.model.count.item() == 3


def test_a_second_fit_begins_its_average_with_the_first_ones_result():
    learn = learner(cbs=EMA(0.9))
    learn.fit(1, 0.02)
    between = weights(learn.model)
    learn.fit(
        1,
        0.02,
        cbs=on(before_train=lambda learn: between.append(learn.model[0].weight[0, 0].item())),
    )
    assert between[-1] == between[0][0, 0].item()


def test_the_finder_leaves_no_trace_with_an_average():
    found, plain = learner(cbs=EMA(0.9)), learner(cbs=EMA(0.9))
    found.lr_find(show_plot=False)
    found.fit(1, 0.02)
    plain.fit(1, 0.02)
    assert same(found.model.parameters(), plain.model.parameters())


def test_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match="`decay` is the share of the average that stays"):
        EMA(1.0)


def test_two_averages_are_refused():
    with pytest.raises(ValueError, match="both drive `average`"):
        learner().fit(2, cbs=[EMA, SWA])


# --- SWA


@pytest.mark.parametrize(("start", "first"), [(0.5, 2), (3, 3), (0, 0)])
def test_swa_is_the_mean_over_the_ends_of_the_last_epochs(start, first):
    ends, plain = [], learner()
    plain.fit(4, 0.02, cbs=on(after_train=lambda learn: ends.append(weights(learn.model))))
    learn = learner(cbs=SWA(start))
    learn.fit(4, 0.02)
    for i, ours in enumerate(learn.model.parameters()):
        mean = torch.stack([end[i].double() for end in ends[first:]]).mean(0)
        assert torch.allclose(ours.double(), mean, atol=1e-6)


def test_swa_measures_batchnorm_anew_on_all_training_batches():
    learn = learner(cbs=SWA(0.5))
    learn.fit(4, 0.02)
    norm, momentum = learn.model[1], learn.model[1].momentum
    reference = copy.deepcopy(learn.model)
    batches = [reference[0](x) for x, _ in learn.dls.train.batches(0)]
    means = torch.stack([b.mean(0) for b in batches]).mean(0)
    variances = torch.stack([b.var(0) for b in batches]).mean(0)
    # The order of an epoch decides which rows share a batch, so variances agree only about.
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert torch.allclose(norm.running_var, variances, rtol=0.05)
    assert momentum == 0.1


def test_swa_says_what_it_did_and_a_fit_without_batchnorm_needs_no_pass(capsys):
    passes = []
    learn = learner(nn.Linear(8, 4), cbs=SWA(0.5))
    learn.fit(4, 0.02, cbs=on(before_validate=lambda learn: passes.append(learn.epoch)))
    assert passes == [0, 1, 2, 3]
    assert "SWA: the model has the mean of the weights of 2 epochs" in capsys.readouterr().out


def test_swa_that_would_never_begin_is_refused_before_training():
    learn = learner(cbs=SWA(5))
    before = weights(learn.model)
    with pytest.raises(
        ValueError, match=r"would begin with epoch 5, but this fit has 3 \(0 to 2\)"
    ):
        learn.fit(3, 0.02)
    assert same(before, learn.model.parameters())


def test_swa_of_a_fit_cancelled_before_its_start_changes_nothing():
    def cancel(learn):
        raise CancelFitException

    plain, learn = learner(), learner(cbs=SWA(0.5))
    for each in (plain, learn):
        each.fit(4, 0.02, cbs=on(after_epoch=cancel))
    assert same(plain.model.parameters(), learn.model.parameters())
    assert same(plain.model.buffers(), learn.model.buffers())


@pytest.mark.parametrize("start", [-1, 1.5])
def test_swa_start_must_be_an_epoch_or_a_part(start):
    with pytest.raises(ValueError, match="`start` is an epoch"):
        SWA(start)


def test_averages_and_a_watch_for_nan_go_together():
    learner(cbs=[EMA, TerminateOnNaN]).fit(1, 0.02)


def test_swa_leaves_statistics_alone_that_were_frozen():
    learn = learner(cbs=[BnFreeze(), SWA(0.5)])
    norm = learn.model[1].requires_grad_(False)
    norm.running_mean.fill_(3.0)
    learn.fit(2, 0.02)
    assert norm.running_mean.eq(3.0).all()


def test_swa_measures_no_more_than_a_short_epoch():
    seen = []
    learn = learner(cbs=[ShortEpoch(2), SWA(0.5)])
    learn.fit(2, 0.02, cbs=on(before_batch=lambda learn: seen.append(learn.training)))
    assert sum(seen) == 4 and len(seen) == 4 + 4 + 2


def test_swa_of_a_compiled_model_compiles_it_for_training_and_validation_alone():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    for cbs in ([], [SWA(0.5)]):
        graphs.append("|")
        torch.compiler.reset()
        learner(cbs=[*cbs, Compile(backend=backend)]).fit(2, 0.02)
    plain, swa = "".join("|" if g == "|" else "g" for g in graphs).split("|")[1:]
    assert plain == swa


def test_averages_stand_aside_in_the_finder_and_in_a_check(capsys):
    for cbs in (EMA(0.9), SWA(start=3)):
        learn = learner(cbs=cbs)
        learn.lr_find(show_plot=False)
        learn.check()
    assert "SWA" not in capsys.readouterr().out


def test_a_learner_with_averages_can_be_pickled_after_a_fit():
    for cbs in (EMA(0.9), SWA(0.5)):
        learn = learner(cbs=cbs)
        learn.fit(1, 0.02)
        assert type(pickle.loads(pickle.dumps(learn)).cbs[-1]) is type(learn.cbs[-1])


def test_complex_parameters_are_averaged_too():
    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 4, dtype=torch.complex64))

        def forward(self, x):
            return (x.to(torch.complex64) @ self.w).abs()

    raw, learn = [], learner(Complex(), cbs=EMA(0.5, warmup=False))
    first = learn.model.w.detach().clone()
    learn.fit(1, 0.02, cbs=on(after_step=lambda learn: raw.append(learn.model.w.detach().clone())))
    for now in raw:
        first = 0.5 * first + 0.5 * now
    assert torch.allclose(learn.model.w, first, atol=1e-6)


def test_lazy_layers_get_their_sizes_before_they_are_averaged():
    model = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(4))
    learn = learner(model, cbs=EMA(0.9))
    with pytest.raises(ValueError, match="parameters without a size yet"):
        learn.lr_find(show_plot=False)
    learn.fit(1, 0.02)
    learn.lr_find(show_plot=False)
