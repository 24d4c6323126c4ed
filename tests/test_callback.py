"""The protocol: what a callback may be, who is called, and what is refused when."""

from contextlib import contextmanager

import pytest
from tiny import linear_learner

from learnlite import Callback, Learner, Order, ProgressBar, Recorder, on
from learnlite.dispatch import Callbacks


def test_a_misspelled_event_fails_when_the_class_is_defined():
    with pytest.raises(
        TypeError, match="`Bad.after_los` is not an event; did you mean `after_loss`?"
    ):

        class Bad(Callback):
            def after_los(self): ...


def test_a_misspelling_that_begins_differently_is_found_too():
    with pytest.raises(
        TypeError, match="`Bad.befor_fit` is not an event; did you mean `before_fit`"
    ):

        class Bad(Callback):
            def befor_fit(self): ...


def test_an_event_with_arguments_is_refused():
    with pytest.raises(TypeError, match="takes arguments, but an event has none"):

        class Bad(Callback):
            def after_loss(self, loss): ...


def test_fastais_cancel_events_are_told_their_new_way():
    with pytest.raises(TypeError, match=r"write `after_train` and look at `self.learn.cancelled`"):

        class Bad(Callback):
            def after_cancel_train(self): ...


def test_fastais_run_after_is_told_its_new_way():
    with pytest.raises(TypeError, match="give it a place by `order`"):

        class Bad(Callback):
            run_after = Callback


def test_a_generator_as_around_is_refused():
    with pytest.raises(TypeError, match="decorate it with `@contextmanager`"):

        class Bad(Callback):
            def around_fit(self):
                yield


def test_helpers_of_a_callback_may_be_named_freely():
    class Good(Callback):
        def plot(self): ...

        def _after_something(self): ...

        def batches(self): ...

    assert Good().name == "good"


def test_callbacks_come_as_instance_class_or_list():
    class One(Callback): ...

    class Two(Callback): ...

    learn = linear_learner([One, Two()])
    assert [cb.name for cb in learn.cbs] == ["one", "two"]
    assert [cb.name for cb in linear_learner(One).cbs] == ["one"]
    with pytest.raises(
        TypeError, match="a callback is an instance or a class of `Callback`, got 3"
    ):
        linear_learner(3)
    with pytest.raises(TypeError, match="use `on"):
        learn.add_cb(print)


def test_order_decides_and_ties_keep_the_order_given():
    heard = []

    def hear(name, order):
        return on(before_fit=lambda learn: heard.append(name), order=order)

    cbs = [
        hear("report", Order.REPORT),
        hear("a", Order.NORMAL),
        hear("b", Order.NORMAL),
        hear("late", Order.NORMAL + 1),
        hear("setup", Order.SETUP),
    ]
    linear_learner(cbs).fit(1)
    assert heard == ["setup", "a", "b", "late", "report"]


def test_an_event_that_nobody_overrides_has_an_empty_table():
    learn = linear_learner(on(after_step=lambda learn: None))
    for training in (True, False):
        table = learn.callbacks.listeners[training]
        assert len(table["after_step"]) == 1
        assert not any(calls for event, calls in table.items() if event != "after_step")


def test_run_valid_and_run_train_choose_the_batches():
    class TrainOnly(Callback):
        run_valid = False

        def __init__(self):
            self.seen = []

        def before_batch(self):
            self.seen.append(self.training)

        def after_validate(self):
            self.seen.append("validated")

    cb = TrainOnly()
    linear_learner(cb).fit(1)
    assert cb.seen == [True, True, "validated"]


def test_run_false_silences_until_the_end_of_the_fit():
    class Once(Callback):
        def __init__(self):
            self.batches = 0

        def after_batch(self):
            self.batches += 1
            self.run = False

    cb = Once()
    learn = linear_learner(cb)
    learn.fit(2)
    assert cb.batches == 1
    learn.fit(1)
    assert cb.batches == 2


def test_adding_and_removing_for_a_while_keeps_places():
    class A(Callback): ...

    class B(Callback): ...

    learn = linear_learner([A, B])
    with learn.removed_cbs(A):
        assert [cb.name for cb in learn.cbs] == ["b"]
    assert [cb.name for cb in learn.cbs] == ["a", "b"]
    with learn.added_cbs(on(after_fit=print)) as same:
        assert same is learn and len(learn.cbs) == 3
    assert len(learn.cbs) == 2
    with pytest.raises(ValueError, match="is not among the callbacks: `A\\(\\)`, `B\\(\\)`"):
        learn.remove_cb(Learner)
    with pytest.raises(ValueError, match="given twice"):
        learn.add_cb(learn.cbs[0])


def test_callbacks_of_a_fit_are_gone_after_it_even_after_an_error():
    def fail(learn):
        raise ZeroDivisionError

    learn = linear_learner()
    with pytest.raises(ZeroDivisionError):
        learn.fit(1, cbs=on(after_pred=fail))
    assert learn.cbs == []


def test_two_drivers_of_one_thing_are_refused_when_fit_starts():
    class Warm(Callback):
        controls = {"lr"}

    class Cool(Callback):
        controls = {"lr", "mom"}

    learn = linear_learner([Warm, Cool])
    with pytest.raises(ValueError, match=r"`Warm\(\)` and `Cool\(\)` both drive `lr`"):
        learn.fit(1)
    with learn.removed_cbs(Cool):
        learn.fit(1)


def test_find_gives_the_callback_of_a_type():
    class Mine(Callback): ...

    learn = linear_learner(Mine)
    assert learn.callbacks.find(Mine) is learn.cbs[0]
    assert learn.callbacks.find(Callbacks) is None


def test_repr_shows_the_arguments():
    class Mine(Callback):
        def __init__(self, alpha=0.4, *, name_="x"):
            self.alpha = alpha
            self.name_ = name_

    assert repr(Mine(0.1)) == "Mine(alpha=0.1, name_='x')"


def test_state_is_what_persist_names():
    class Mine(Callback):
        persist = ("best", "waited")

        def __init__(self):
            self.best, self.waited, self.other = 1.0, 2, object()

    cb, new = Mine(), Mine()
    assert cb.state_dict() == {"best": 1.0, "waited": 2}
    new.best = 7.0
    new.load_state_dict(cb.state_dict())
    assert new.best == 1.0


def test_show_training_loop_names_events_and_callbacks(capsys):
    class Mine(Callback):
        def after_loss(self): ...

        @contextmanager
        def around_fit(self):
            yield

    linear_learner([Mine, on(after_epoch=print)]).show_training_loop()
    printed = capsys.readouterr().out
    assert "  around_fit: Mine" in printed
    assert "        after_loss: Mine" in printed
    assert "    after_epoch: on(after_epoch)" in printed
    assert "before_step" not in printed


def test_a_function_for_an_unknown_event_is_refused():
    with pytest.raises(TypeError, match="`after_setp` is not an event; did you mean `after_step`"):
        on(after_setp=print)


def test_a_counter_of_ones_own_cannot_move_the_loop():
    class Mine(Callback):
        def before_fit(self):
            self.iter = 0

    with pytest.raises(AttributeError, match=r"`iter` is the loop's own count; give yours another"):
        linear_learner(Mine).fit(1)


def test_the_learners_state_before_there_is_a_learner():
    class Mine(Callback):
        def __init__(self, model):
            self.model = model

    with pytest.raises(AttributeError, match=r"`Mine.model` is the learner's, and this callback"):
        Mine(3)


@pytest.mark.parametrize("name", ["on_epoch_end", "begin_fit", "on_train_batch_start"])
def test_events_of_other_libraries_are_refused(name):
    with pytest.raises(TypeError, match=f"`Bad.{name}` is not an event"):
        type("Bad", (Callback,), {name: lambda self: None})


def test_what_fastais_callbacks_have_on_self_is_pointed_to():
    class Old(Callback):
        def before_batch(self):
            return self.x

    with pytest.raises(AttributeError, match=r"`Old` has no attribute `x`; write `self.xb\[0\]`"):
        linear_learner(Old).fit(1)
    with pytest.raises(AttributeError, match=r"`Old.xb` is the learner's, and this callback has"):
        _ = Old().xb


def test_a_learner_has_its_callbacks_by_name_and_points_to_the_nearest_name():
    learn = linear_learner([on(after_fit=print)], default_cbs=True)
    assert learn.progress_bar is learn.callbacks.find(ProgressBar)
    with pytest.raises(AttributeError, match="did you mean `lr_find`"):
        _ = learn.lr_finds
    with pytest.raises(AttributeError, match="this learner has no `Recorder`"):
        _ = linear_learner().recorder
    assert not hasattr(learn, "nothing_like_it")


def test_a_class_that_needs_arguments_says_so():
    class Needs(Callback):
        def __init__(self, start, end=3): ...

    with pytest.raises(TypeError, match=r"pass an instance: `Needs\(start\)`"):
        linear_learner(Needs)


def test_a_recorder_that_is_given_takes_the_place_of_the_default_one():
    learn = linear_learner([Recorder(train_metrics=True)], default_cbs=True)
    assert learn.recorder.train_metrics
    assert sum(isinstance(cb, Recorder) for cb in learn.cbs) == 1
    with pytest.raises(ValueError, match="both drive `the record`"):
        learn.fit(1, cbs=Recorder)


def test_a_schedule_that_the_user_did_not_write_goes_by_the_methods_name():
    class Mine(Callback):
        controls = ("lr",)

        def __init__(self, factor=0.1, patience=3):
            self.factor, self.patience = factor, patience

    learn = linear_learner()
    with pytest.raises(ValueError, match=r"`Mine\(patience=5\)` and `fit_one_cycle` both drive"):
        learn.fit_one_cycle(1, cbs=Mine(patience=5))
    with pytest.raises(ValueError, match=r"train by `learn.fit` instead of `fit_one_cycle`"):
        learn.fit_one_cycle(1, cbs=Mine())


def test_a_callback_refuses_what_another_drives_with_its_reason():
    class Drives(Callback):
        controls = ("the moon",)

    class Cannot(Callback):
        refuses = {"the moon": "it would be dark"}

    for order in ([Drives, Cannot], [Cannot, Drives]):
        with pytest.raises(
            ValueError, match=r"`Cannot\(\)` and `Drives\(\)` do not go together: it would be dark"
        ):
            linear_learner(order).fit(1)
    linear_learner(Cannot).fit(1)


def test_what_is_said_of_an_epoch_stands_below_its_row(capsys):
    learn = linear_learner(default_cbs=True)
    learn.fit(2, cbs=on(after_epoch=lambda learn: learn.say(f"said {learn.epoch}")))
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["epoch", "0", "said", "1", "said"]
    with learn.no_logging():
        learn.fit(1, cbs=on(after_epoch=lambda learn: learn.say("nothing")))
    assert capsys.readouterr().out == ""
    learn.say("after the fit")
    assert capsys.readouterr().out == "after the fit\n"


def test_what_an_error_left_unsaid_is_said(capsys):
    def fail(learn):
        learn.say("the last word")
        raise RuntimeError

    learn = linear_learner(default_cbs=True)
    with pytest.raises(RuntimeError):
        learn.fit(2, cbs=on(after_epoch=fail))
    assert "the last word" in capsys.readouterr().out
