"""The other libraries for `loop.py`, each as its users write it: its bar, its record, one metric.

Every function is given a case and a model and gives the `fit` that is timed.
"""

import logging
import tempfile
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from loop import Case, Fit
from timing import Batches
from torch import nn
from torch.utils.data import Dataset


def fastai(case: Case, model: nn.Module) -> Fit:
    from fastai.basics import DataLoaders, Learner, OptimWrapper, accuracy
    from fastai.callback.all import ProgressCallback  # noqa: F401  its import turns the bar on
    from fastai.callback.schedule import Learner as Scheduled  # noqa: F401  adds `fit_one_cycle`

    def opt_func(params: Any, **_: Any) -> Any:
        return OptimWrapper(params, opt=case.opt_func, lr=case.lr)

    dls = DataLoaders(case.train, case.valid, path=tempfile.gettempdir())
    learn = Learner(
        dls, model, F.cross_entropy, opt_func=opt_func, lr=case.lr, metrics=accuracy,
        wd_bn_bias=True, wd=0.0,
    )  # fmt: skip
    if case.one_cycle:
        return lambda: learn.fit_one_cycle(case.epochs, case.lr)
    return lambda: learn.fit(case.epochs, case.lr)


def lightning(case: Case, model: nn.Module) -> Fit:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import TQDMProgressBar
    from torchmetrics.classification import MulticlassAccuracy

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.accuracy = MulticlassAccuracy(10, average="micro")

        def training_step(self, batch: Any, i: int) -> Any:
            x, y = batch
            loss = F.cross_entropy(self.model(x), y)
            self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, i: int) -> None:
            x, y = batch
            pred = self.model(x)
            self.accuracy(pred, y)
            self.log("valid_loss", F.cross_entropy(pred, y), prog_bar=True)
            self.log("accuracy", self.accuracy, on_step=False, on_epoch=True, prog_bar=True)

        def configure_optimizers(self) -> Any:
            opt = case.opt_func(self.parameters(), lr=case.lr)
            scheduler = case.schedule(opt)
            if scheduler is None:
                return opt
            return {
                "optimizer": opt,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }

    trainer = Trainer(
        max_epochs=case.epochs,
        accelerator="cpu",
        default_root_dir=tempfile.mkdtemp(),
        callbacks=[TQDMProgressBar()],
    )
    module = Module()
    return lambda: trainer.fit(module, case.train, case.valid)


def ignite(case: Case, model: nn.Module) -> Fit:
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.handlers import ProgressBar
    from ignite.metrics import Accuracy, Average, Loss, RunningAverage

    opt = case.opt_func(model.parameters(), lr=case.lr)
    scheduler = case.schedule(opt)
    trainer = create_supervised_trainer(model, opt, F.cross_entropy, device="cpu")
    Average(output_transform=float).attach(trainer, "train_loss")
    RunningAverage(output_transform=float).attach(trainer, "loss")
    ProgressBar().attach(trainer, ["loss"])
    metrics = {"accuracy": Accuracy(), "valid_loss": Loss(F.cross_entropy)}
    evaluator = create_supervised_evaluator(model, metrics=metrics, device="cpu")
    ProgressBar(desc="valid").attach(evaluator)
    if scheduler is not None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: scheduler.step())

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(_: Any) -> None:
        evaluator.run(case.valid)
        print(trainer.state.epoch, trainer.state.metrics, evaluator.state.metrics)

    return lambda: trainer.run(case.train, max_epochs=case.epochs)


class Stub(Dataset[Any]):
    """Stands for the data where skorch asks for a data set; the batches come from the loader."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> Any:
        raise IndexError(i)


def skorch(case: Case, model: nn.Module) -> Fit:
    from skorch import NeuralNetClassifier
    from skorch.callbacks import LRScheduler
    from skorch.helper import predefined_split

    def batches_of(stub: Stub, **_: Any) -> Batches:
        return stub.batches

    cbs = []
    if case.one_cycle:

        class Policy:
            def __new__(cls, opt: Any, **_: Any) -> Any:
                return case.schedule(opt)

        cbs.append(("one_cycle", LRScheduler(policy=Policy, step_every="batch")))
    net = NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=case.opt_func,
        lr=case.lr,
        max_epochs=case.epochs,
        iterator_train=batches_of,
        iterator_valid=batches_of,
        train_split=predefined_split(Stub(case.valid)),
        classes=list(range(10)),
        callbacks=cbs,
        device="cpu",
    )
    net.initialize()
    assert torch.equal(next(net.module_.parameters()), next(model.parameters()))
    return lambda: net.partial_fit(Stub(case.train), None)
