"""What was measured is right, and measuring it never waits for the device."""

import csv

import pytest
import torch
from reads import Reads
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn

from learnlite import (
    CancelEpochException,
    CancelTrainException,
    CancelValidException,
    DataLoaders,
    Learner,
    Recorder,
    accuracy,
    error_rate,
    on,
)


def reads_of(n_batches, cbs=()):
    x, y = torch.randn(n_batches * 4, 8), torch.randint(4, (n_batches * 4,))
    batches = list(zip(x.split(4), y.split(4), strict=True))
    learn = silent(
        Learner(
            DataLoaders(batches, batches, device="cpu"),
            net(0.5),
            metrics=[accuracy, error_rate],
            cbs=cbs,
        )
    )
    learn.recorder.train_metrics = True
    with Reads() as reads:
        learn.fit_one_cycle(2, 0.01)
    return reads.count


def test_a_hundred_batches_read_the_device_as_often_as_ten():
    assert reads_of(10) == reads_of(100) > 0


def test_the_counter_counts():
    seen = []
    few, many = (
        reads_of(n, on(after_loss=lambda learn: seen.append(learn.loss.item()))) for n in (10, 100)
    )
    assert many - few == 2 * 2 * 90


def test_valid_loss_and_metrics_are_means_over_samples_not_over_batches():
    x, y = torch.randn(10, 3), torch.randn(10, 1)
    uneven = list(zip(x.split([7, 2, 1]), y.split([7, 2, 1]), strict=True))
    learn = linear_learner(Recorder)
    learn.metrics = Learner(
        DataLoaders(uneven, device="cpu"), nn.Linear(3, 1), nn.MSELoss(), metrics=_mae
    ).metrics
    learn.dls = DataLoaders(uneven, uneven, device="cpu")
    learn.fit(1)
    with torch.no_grad():
        pred = learn.model(x)
    assert learn.recorder.last("valid_loss") == pytest.approx(
        nn.functional.mse_loss(pred, y).item()
    )
    assert learn.recorder.last("_mae") == pytest.approx((pred - y).abs().mean().item())


def _mae(pred, targ):
    return (pred - targ).abs().mean()


def test_losses_are_smoothed_as_fastai_smooths_them():
    learn = linear_learner(Recorder, n_train=5)
    learn.fit(2)
    raw, mean = learn.recorder.raw_losses, 0.0
    for i, loss in enumerate(raw):
        mean = 0.98 * mean + 0.02 * loss
        assert learn.recorder.losses[i] == pytest.approx(mean / (1 - 0.98 ** (i + 1)))
    assert learn.recorder.last("train_loss") == pytest.approx(learn.recorder.losses[-1])
    assert len(raw) == 10 and learn.recorder.iters == [5, 10]


def test_raw_losses_are_the_losses_over_the_chunks():
    seen = []
    learn = linear_learner(
        [Recorder, on(after_loss=lambda learn: learn.training and seen.append(learn.loss.item()))],
        n_train=600,
        n_valid=0,
    )
    learn.fit(1)
    assert learn.recorder.raw_losses == seen


def test_columns_with_training_metrics():
    learn = silent(Learner(digits_loaders(), net(), metrics=[accuracy, error_rate]))
    learn.recorder.train_metrics = True
    learn.fit(3, 0.01)
    recorder = learn.recorder
    assert recorder.metric_names == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "train_error_rate",
        "valid_loss",
        "valid_accuracy",
        "valid_error_rate",
        "time",
    ]
    assert recorder.last("train_accuracy") + recorder.last("train_error_rate") == pytest.approx(1)
    assert recorder.last("accuracy") == recorder.last("valid_accuracy")
    assert learn.validate()[1] == pytest.approx(recorder.last("accuracy"))
    assert [len(column) for column in recorder.to_dict().values()] == [3] * 7


def test_last_of_an_unknown_name_lists_what_there_is():
    learn = linear_learner(Recorder)
    learn.fit(1)
    with pytest.raises(
        ValueError, match="`acuracy` is not recorded; there are `train_loss`, `valid_loss`"
    ):
        learn.recorder.last("acuracy")


def test_the_table_goes_to_a_csv_file(tmp_path):
    learn = silent(Learner(digits_loaders(), net(), metrics=accuracy))
    learn.fit(2)
    with learn.recorder.to_csv(tmp_path / "table.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["epoch", "train_loss", "valid_loss", "accuracy"]
    assert [float(v) for v in rows[2][1:]] == learn.recorder.values[1]


@pytest.mark.parametrize("n_valid", [0, 1])
def test_every_callback_finds_the_row_after_the_epoch(n_valid):
    seen = []
    early = on(after_epoch=lambda learn: seen.append(len(learn.recorder.values)), order=-100)
    linear_learner([early, Recorder], n_valid=n_valid).fit(2)
    assert seen == [1, 2]


def test_cancelled_epochs_have_a_row_too():
    def stop(learn):
        raise CancelEpochException

    learn = linear_learner([Recorder, on(after_train=stop)])
    learn.fit(2)
    assert [len(row) for row in learn.recorder.values] == [2, 2]
    assert all(row[1] != row[1] for row in learn.recorder.values)  # nan: there was no validation


def test_plots_show_what_was_recorded():
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    learn = silent(Learner(digits_loaders(), net(), metrics=accuracy))
    learn.recorder.train_metrics = True
    learn.fit_one_cycle(3, 0.01)
    ax = learn.recorder.plot_loss(skip_start=2)
    assert list(ax.lines[0].get_ydata()) == learn.recorder.losses[2:]
    assert list(ax.lines[1].get_ydata()) == learn.recorder.column("valid_loss")
    assert ax.get_xlabel() == "batch"
    learn.fit(1)
    assert learn.recorder.plot_loss().get_xlabel() == "batch (of the last of 2 fits)"
    panels = learn.recorder.plot_sched()
    assert repr(panels) == f"<{len(panels)} pictures>"  # in a notebook: no list of axes
    assert [p.get_ylabel() for p in panels] == ["lr", "mom"]
    assert list(panels[0].lines[0].get_ydata()) == learn.recorder.lrs
    loss, acc = learn.recorder.plot_metrics()
    assert [line.get_label() for line in acc.lines] == ["train", "valid"]
    assert loss.get_ylabel() == "loss"
    plt.close("all")


def test_a_pass_that_was_skipped_has_no_numbers_of_another():
    def skip(learn):
        if learn.epoch == 1:
            raise CancelValidException

    learn = silent(Learner(digits_loaders(), net(), metrics=accuracy, cbs=on(before_validate=skip)))
    learn.fit(3, 0.01)
    for name in ("valid_loss", "accuracy"):
        column = learn.recorder.column(name)
        assert [value == value for value in column] == [True, False, True]


def test_a_skipped_training_pass_does_not_take_the_validations_numbers():
    def skip(learn):
        if learn.epoch == 1:
            raise CancelTrainException

    learn = silent(Learner(digits_loaders(), net(), metrics=accuracy, cbs=on(before_train=skip)))
    learn.recorder.train_metrics = True
    learn.fit(2, 0.01)
    assert learn.recorder.last("train_accuracy") != learn.recorder.last("train_accuracy")


def test_plots_work_after_an_interrupt_in_validation():
    pytest.importorskip("matplotlib")

    def stop(learn):
        if not learn.training and learn.epoch == 1:
            raise KeyboardInterrupt

    learn = silent(Learner(digits_loaders(), net(), metrics=accuracy, cbs=on(after_pred=stop)))
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3)
    learn.recorder.plot_loss()
    learn.recorder.plot_metrics()
    assert len(learn.recorder.iters) == len(learn.recorder.values) == 1


def test_an_epoch_cancelled_at_its_start_has_a_row():
    def stop(learn):
        raise CancelEpochException

    learn = linear_learner([Recorder, on(before_epoch=stop)])
    learn.fit(2)
    assert len(learn.recorder.values) == 2


@pytest.mark.parametrize("name", ["loss", "valid_loss", "time"])
def test_a_metric_cannot_take_the_name_of_a_column(name):
    def measure(pred, targ):
        return pred.mean()

    measure.__name__ = name
    with pytest.raises(ValueError, match=f"a metric is named `{name}`"):
        Learner(digits_loaders(), net(), metrics=measure)
