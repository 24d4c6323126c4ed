"""Checkpoints on disks that fail, in files that are damaged, in folders of others."""

import re
import shutil
import warnings

import pytest
import torch
from going_on import AFTER_ALL, KilledError, at_batch, learner, result, same
from tiny import digits_loaders, silent

from learnlite import Checkpoint, Learner, on, state_file
from learnlite.nested import put_together, take_apart
from learnlite.state_folder import StateFolder
from learnlite.tensor_file import FileError


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    """The bytes of two checkpoints, the older first, and their states."""
    path = tmp_path_factory.mktemp("two")
    torch.manual_seed(0)
    dls = digits_loaders(n=32, bs=8, seed=2)
    learn = silent(Learner(dls, torch.nn.Linear(8, 4), path=path, lr=0.1, seed=1))
    learn.fit(2, cbs=Checkpoint(every=2, keep=2))
    files = StateFolder(path / "checkpoints").files()
    return [file.read_bytes() for file in files], [state_file.read(file) for file in files]


def newest_of(path, older, newer):
    (path / "state-000001.safetensors").write_bytes(older)
    (path / "state-000002.safetensors").write_bytes(newer)
    return StateFolder(path).newest()


def test_a_file_cut_at_every_tenth_byte_is_known_and_the_one_before_it_taken(two_files, tmp_path):
    (older, newer), states = two_files
    for end in range(0, len(newer), 10):
        state, path, damaged = newest_of(tmp_path, older, newer[:end])
        assert path is not None and path.name == "state-000001.safetensors"
        assert same(state, states[0]) and len(damaged) == 1


def test_no_flipped_bit_gives_a_wrong_state(two_files, tmp_path):
    (older, newer), states = two_files
    for bit in range(0, 8 * len(newer), 100):
        flipped = bytearray(newer)
        flipped[bit // 8] ^= 1 << bit % 8
        state, _, damaged = newest_of(tmp_path, older, bytes(flipped))
        right = states[0] if damaged else states[1]
        assert same(state, right), f"bit {bit}"


def test_a_torn_newest_file_is_told_and_the_one_before_it_gone_on_from(tmp_path):
    def train(learn, *cbs, resume=False):
        learn.fit(2, cbs=[Checkpoint("run", every=2), *cbs], resume=resume)

    whole = learner(tmp_path / "whole")
    train(whole)
    with pytest.raises(KilledError):
        train(learner(tmp_path), at_batch(9))
    older, newest = StateFolder(tmp_path / "run").files()
    newest.write_bytes(newest.read_bytes()[:-100])
    other = learner(tmp_path, seed=5)
    with pytest.warns(UserWarning, match=f"{newest.name}.*Going on from .*{older.name}"):
        train(other, resume=True)
    assert same(result(other), result(whole))


def test_a_torn_end_of_an_earlier_fit_is_told_and_the_later_one_not_taken_for_it(tmp_path):
    def run(n_fits, seed=0, *cbs):
        learn = learner(tmp_path / "a", seed=seed)
        for _ in range(n_fits):
            learn.fit(1, cbs=[Checkpoint("run", every=2), *cbs], resume=True)
        return learn

    with pytest.raises(KilledError):
        run(2, 0, at_batch(9))
    end = next(
        kept.path for kept in StateFolder(tmp_path / "a" / "run").kept() if kept.head["over"]
    )
    torn = bytearray(end.read_bytes())
    torn[-1] ^= 1
    end.write_bytes(torn)
    with pytest.raises(
        ValueError, match="what this fit ended with is lost, .* its checksum differs"
    ):
        run(2, 5)
    end.unlink()
    whole = learner(tmp_path / "b")
    whole.fit(1)
    whole.fit(1)
    assert same(result(run(1, 5)), result(whole)), "the later fit, called alone"


def test_where_none_is_whole_nothing_begins(tmp_path):
    learner(tmp_path).fit(1, cbs=Checkpoint("run"))
    for path in StateFolder(tmp_path / "run").files():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint in .* is whole"):
        learner(tmp_path).fit(1, cbs=Checkpoint("run"), resume=True)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".state-000003.safetensors.abc.part").write_bytes(b"half")
    learner(tmp_path).fit(1, cbs=Checkpoint("run"))
    assert not list(folder.glob(".*"))


# --- disks and folders


def test_a_full_disk_is_warned_of_once_and_training_goes_on(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = learner(tmp_path / "whole")
    whole.fit(3)

    def fill(learn):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))

    learn = learner(tmp_path)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learn.fit(3, cbs=[Checkpoint("run"), on(after_epoch=fill, order=AFTER_ALL)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = [str(warning.message) for warning in caught]
    assert len(told) == 1
    assert re.search(
        "no checkpoint of epoch 2 of 3 in .*run: .*; it needs .* MB and .* MB is free", told[0]
    )
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["state-000001.safetensors", "state-000002.safetensors"]
    assert same(learn.model.state_dict(), whole.model.state_dict())


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "run").write_text("a file")
    learn = learner(tmp_path)
    with pytest.raises(OSError, match="`Checkpoint` cannot write to .*run"):
        learn.fit(1, cbs=Checkpoint("run"))
    assert not learn.recorder.losses


def test_a_folder_that_is_removed_in_the_midst_is_made_anew(tmp_path):
    def remove(learn):
        if learn.epoch == 1:
            shutil.rmtree(tmp_path / "run")

    learn = learner(tmp_path)
    learn.fit(3, cbs=[Checkpoint("run"), on(before_epoch=remove)])
    again = learner(tmp_path, seed=9)
    again.fit(3, cbs=[Checkpoint("run"), on(before_epoch=remove)], resume=True)
    assert same(result(again), result(learn))


def test_a_process_that_changes_its_folder_writes_to_the_same_as_before(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    leave = on(after_epoch=lambda learn: monkeypatch.chdir(tmp_path / "elsewhere"))
    learner(".").fit(2, cbs=[Checkpoint("run"), leave])
    assert not list((tmp_path / "elsewhere").iterdir())
    head = StateFolder(tmp_path / "run").kept()[-1].head
    assert head["over"] and head["epochs"] == 2


def test_a_second_fit_on_the_folder_is_refused(tmp_path, monkeypatch):
    def second(learn):
        learner(tmp_path).fit(1, cbs=Checkpoint("run"))

    with pytest.raises(BlockingIOError, match="another fit writes its checkpoints to .*run"):
        learner(tmp_path).fit(1, cbs=[Checkpoint("run"), on(before_train=second)])


# --- what a state is made of


def test_all_that_a_state_may_hold_comes_back_with_its_types(tmp_path):
    channels_last = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    value = {
        "plain": [None, True, 3, -0.0, 1e-300, 2**70, 'text \u00e9 "quoted"'],
        "odd": [float("inf"), float("-inf"), float("nan")],
        "long": [[0.1 * i for i in range(99)], list(range(99)), [True] * 99, [2**63] * 99],
        "rows": [
            [[0.1, 0.2]] * 20,
            [[1, 2]] * 20,
            [[1, 0.5]] * 20,
            [[1.0], [1.0, 2.0]] * 9,
            [[]] * 20,
        ],
        "nested": {"tuple": (1, (2.5, ())), 3: {"$dict": 1}, "": {}},
        "tensors": [torch.tensor(3), torch.empty(0, 2), channels_last, torch.randn(4, 4).t()],
        "kinds": [torch.ones(3, dtype=kind) for kind in (torch.bool, torch.bfloat16, torch.uint8)],
        "a.b": torch.ones(1),
        "a": {"b": torch.zeros(1)},
    }
    state_file.write(tmp_path / "file", value, {})
    found = state_file.read(tmp_path / "file")
    assert same(found, value)
    assert [type(each) for each in found["plain"]] == [type(each) for each in value["plain"]]
    assert str(found["plain"][3]) == "-0.0"
    assert found["tensors"][2].stride() == channels_last.stride()


def test_a_history_of_very_many_epochs_can_be_read_again(tmp_path):
    learn = learner(tmp_path)
    learn.fit(1)
    learn.recorder.values, learn.recorder.iters = [[0.1, 0.2, 0.3]] * 210_000, [1] * 210_000
    state_file.write(tmp_path / "file", learn.state_dict(), {})
    found = dict(state_file.read(tmp_path / "file")["callbacks"])
    assert found["Recorder"]["values"] == learn.recorder.values


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="more than 200,000 lists and dicts .* in a tensor"):
        state_file.write(tmp_path / "file", {"seen": [(i,) for i in range(200_000)]}, {})
    assert not list(tmp_path.iterdir())


def test_what_has_no_place_in_a_state_is_named_with_where_it_stands():
    with pytest.raises(TypeError, match="`cbs.1.seen` is a `set`, which cannot be saved"):
        take_apart({"cbs": [0, {"seen": {1}}]})


@pytest.mark.parametrize(
    "text",
    ['{"$what": 1}', '{"$tensor": ["no", "cpu"]}', '{"$float": "1"}', '{"$dict": [[[], 1]]}'],
)
def test_a_text_that_tells_of_no_state_is_a_fault_of_the_file(text, tmp_path):
    with pytest.raises(FileError):
        put_together(text, {}, tmp_path)
