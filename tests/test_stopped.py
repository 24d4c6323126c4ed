"""Signals that ask a fit to stop: its state is saved, and it goes on to the same bits."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import stopped
import torch
from going_on import learner, result, same

from learnlite import EMA, SWA, Checkpoint, DataLoaders, GradientAccumulation, MixUp, RollBack, on
from learnlite.callbacks import checkpoint
from learnlite.data import Loader
from learnlite.interrupt import Stopped
from learnlite.state_folder import StateFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")

HERE = Path(__file__).parent
ENVIRON = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
HANDLERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def handlers_are_put_back():
    before = [signal.getsignal(each) for each in HANDLERS]
    yield
    assert [signal.getsignal(each) for each in HANDLERS] == before


def send(signum, n, *, training=True, event="after_pred"):
    """Sends this process a signal in the n-th batch of training or validation."""
    seen = []

    def act(learn):
        if learn.training == training:
            seen.append(1)
            if len(seen) == n:
                signal.raise_signal(signum)

    return on(**{event: act})


def nothing():
    return on(after_pred=lambda learn: None)


def train(learn, *cbs):
    ours = [MixUp(), EMA(0.9), GradientAccumulation(64), Checkpoint("run"), *cbs]
    learn.fit_one_cycle(2, 0.02, cbs=ours, resume=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    learn = learner(tmp_path_factory.mktemp("whole"))
    train(learn, nothing())
    return result(learn)


# --- the first signal


@pytest.mark.parametrize("n", [1, 4, 6, 12])
@pytest.mark.parametrize(
    ("signum", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Stopped), (signal.SIGUSR1, Stopped)],
)
def test_a_batch_ends_its_state_is_saved_and_it_goes_on_to_the_same_bits(
    signum, error, n, whole, tmp_path
):
    learn = learner(tmp_path)
    learn.say = (said := []).append
    with pytest.raises(error) as caught:
        train(learn, send(signum, n))
    assert error is KeyboardInterrupt or caught.value.code == 128 + signum
    newest = StateFolder(tmp_path / "run").kept()[-1]
    assert 6 * newest.head["epochs"] + newest.head["batches"] == n
    assert f"stopped by {signum.name}: epoch {(n - 1) // 6} of 2, batch" in said[-1]
    assert newest.path.name in said[-1]
    again = learner(tmp_path, seed=9)
    train(again, nothing())
    assert same(result(again), whole)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_so_it_is_in_validation_whose_end_is_waited_for_if_it_is_short(
    n, short, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoint, "_SHORT", 60.0 if short else 0.0)
    learn = learner(tmp_path)
    learn.say = (said := []).append
    with pytest.raises(Stopped):
        train(learn, send(signal.SIGTERM, n, training=False))
    epoch = (n - 1) // 2
    ended = short and epoch  # how long it takes is known from the second epoch on
    told = f"epoch {epoch + 1} of 2" if ended else f"epoch {epoch} of 2, batch 6 of 6"
    assert f"stopped by SIGTERM: {told} is saved" in said[-1]
    again = learner(tmp_path, seed=9)
    train(again, nothing())
    assert same(result(again), whole)


@pytest.mark.parametrize("changes", [SWA, RollBack])
def test_what_changes_after_the_training_pass_is_waited_for_too(changes, tmp_path):
    def run(learn, *cbs):
        cb = SWA(0) if changes is SWA else RollBack(0.5)
        learn.fit(2, 0.02, cbs=[cb, Checkpoint("run"), *cbs], resume=True)

    whole = learner(tmp_path / "whole")
    run(whole, nothing())
    with pytest.raises(Stopped):
        run(learner(tmp_path / "run"), send(signal.SIGTERM, 1, training=False))
    again = learner(tmp_path / "run", seed=9)
    run(again, nothing())
    assert same(result(again), result(whole))


def test_the_last_batch_of_all_is_followed_by_the_end_of_the_fit(tmp_path):
    def at_the_end(learn):
        signal.raise_signal(signal.SIGTERM)

    learn = learner(tmp_path)
    with pytest.raises(Stopped):
        learn.fit(1, cbs=[Checkpoint("run"), on(after_fit=at_the_end)])
    assert StateFolder(tmp_path / "run").kept()[-1].head["over"]
    assert len(learn.recorder.values) == 1


def test_an_interrupt_as_a_notebook_sends_it_leaves_everything_usable(whole, tmp_path):
    """The kernel interrupts its main thread, wherever that is."""
    begun = threading.Event()

    def stop():
        begun.wait()
        _thread.interrupt_main()

    def linger(learn):
        begun.set()
        time.sleep(0.01)

    thread = threading.Thread(target=stop)
    thread.start()
    learn = learner(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(learn, on(after_pred=linger))
    thread.join()
    assert learn.validate()[0] > 0
    assert learn.get_preds()[0].shape == (64, 4)
    learn.fit(1)
    assert len(learn.recorder.values) == 1
    again = learner(tmp_path, seed=9)
    train(again, nothing())
    assert same({**result(again), "shown": ""}, {**whole, "shown": ""}), (
        "from what was saved when it was stopped"
    )


def test_the_learner_that_was_stopped_goes_on_from_its_own_state_too(tmp_path):
    def run(learn, *cbs, resume=None):
        learn.fit(2, 0.02, cbs=[EMA(0.9), Checkpoint("run"), *cbs], resume=resume)

    whole = learner(tmp_path / "whole")
    run(whole, nothing())
    learn = learner(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run(learn, send(signal.SIGINT, 8))
    run(learn, nothing(), resume=True)
    assert same(result(learn), result(whole))


def test_two_checkpoints_both_save(tmp_path):
    learn = learner(tmp_path)
    cbs = [Checkpoint("a"), Checkpoint("b", background=True), send(signal.SIGTERM, 3)]
    with pytest.raises(Stopped):
        learn.fit(1, cbs=cbs)
    for name in "ab":
        assert StateFolder(tmp_path / name).kept()[-1].head["batches"] == 3


# --- what is left as it was


def test_without_a_checkpoint_and_in_trial_runs_no_handler_is_set(tmp_path):
    found = []
    look = on(before_batch=lambda learn: found.append(signal.getsignal(signal.SIGTERM)))
    learner(tmp_path).fit(1, cbs=look)
    learner(tmp_path).check(cbs=[Checkpoint(), look])
    assert set(found) == {signal.SIG_DFL}


def test_a_handler_of_the_users_own_stays(tmp_path):
    came = []
    signal.signal(signal.SIGUSR1, lambda signum, frame: came.append(signum))
    try:
        learner(tmp_path).fit(1, cbs=[Checkpoint("run"), send(signal.SIGUSR1, 2)])
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert came == [signal.SIGUSR1]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("cbs", [(), (Checkpoint("run"),)])
def test_a_handler_that_is_set_within_the_fit_stays_after_it(name, cbs, tmp_path):
    def own(signum, frame):
        pass

    signum = getattr(signal, name)
    before = signal.getsignal(signum)
    try:
        learner(tmp_path).fit(1, cbs=[on(before_fit=lambda _: signal.signal(signum, own)), *cbs])
        assert signal.getsignal(signum) is own
    finally:
        signal.signal(signum, before)


def test_a_signal_that_comes_with_the_end_of_the_fit_is_told_what_is_saved(tmp_path):
    learn = learner(tmp_path)
    learn.say = (said := []).append
    end = on(after_fit=lambda learn: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped):
        learn.fit(1, cbs=[Checkpoint("run"), end])
    assert "stopped by SIGTERM: the end after 1 of 1 epochs is saved in" in said[-1]


def test_a_fit_in_another_thread_sets_no_handler(tmp_path):
    learn, found = learner(tmp_path), []
    look = on(before_batch=lambda learn: found.append(signal.getsignal(signal.SIGTERM)))
    thread = threading.Thread(target=lambda: learn.fit(1, cbs=[Checkpoint("run"), look]))
    thread.start()
    thread.join()
    assert set(found) == {signal.SIG_DFL} and len(learn.recorder.values) == 1


def test_a_second_interrupt_goes_at_once(tmp_path):
    def twice(learn):
        if learn.train_iter == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    learn = learner(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=[Checkpoint("run"), on(after_pred=twice)])
    assert len(learn.recorder.losses) == 2
    assert len(StateFolder(tmp_path / "run").files()) == 1, "that of the begin"
    learn.fit(1)


class Signals:
    """Items whose reading is where a worker gets what is sent to the whole group."""

    def __len__(self):
        return 16

    def __getitem__(self, i):
        if i == 3 and torch.utils.data.get_worker_info() is not None:
            for each in HANDLERS:
                os.kill(os.getpid(), each)
        return torch.full((8,), float(i)), i % 4


def test_workers_leave_signals_to_the_process_that_trains(tmp_path):
    dls = DataLoaders(Loader(Signals(), 4, num_workers=1), device="cpu")
    learn = learner(tmp_path, dls=dls, metrics=None)
    learn.fit(1)
    assert len(learn.recorder.losses) == 4


def test_a_disk_that_is_full_when_the_signal_comes_is_told_of_and_the_fit_ends(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    learn = learner(tmp_path)
    learn.say = (said := []).append
    fill = on(after_loss=lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1])))
    try:
        with pytest.warns(UserWarning, match="no checkpoint of epoch 0"), pytest.raises(Stopped):
            learn.fit(1, cbs=[Checkpoint("run"), fill, send(signal.SIGTERM, 3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "epoch 0 of 1 is saved in" in said[-1] and "state-000001" in said[-1]


# --- from another process


def started(folder, where, n_workers=0):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(HERE / "stopped.py"), str(folder), str(n_workers), where]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=ENVIRON, start_new_session=True
    )


def wait_for(process, word):
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"it ended with {process.wait()} before it said {word!r}")


def ended(process):
    with process:
        said = process.stdout.read()
        return process.wait(60), said


def weights_of(folder):
    return torch.load(folder / "result.pth", weights_only=True)


def test_a_parent_that_stops_its_child_finds_everything_saved(tmp_path):
    """All of its group gets the signal, as from Slurm; its workers leave it alone."""
    folder = tmp_path / "run"
    for signum, where in ((signal.SIGTERM, "train"), (signal.SIGUSR1, "valid")):
        child = started(folder, where, n_workers=2)
        wait_for(child, "now")
        os.killpg(child.pid, signum)
        status, said = ended(child)
        assert status == 128 + signum
        assert f"stopped by {signum.name}" in said
    (tmp_path / "whole").mkdir()
    for each in (folder, tmp_path / "whole"):
        stopped.main(each, 0, "nowhere")
    assert same(weights_of(folder), weights_of(tmp_path / "whole"))


def test_a_second_sigterm_ends_the_process_as_it_does_without_us(tmp_path):
    child = started(tmp_path / "run", "twice")
    wait_for(child, "now")
    os.kill(child.pid, signal.SIGTERM)
    wait_for(child, "again")
    began = time.monotonic()
    os.kill(child.pid, signal.SIGTERM)
    assert ended(child)[0] == -signal.SIGTERM
    assert time.monotonic() - began < 5
