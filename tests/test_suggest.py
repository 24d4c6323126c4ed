"""What the finder's curve suggests, on curves whose answer is known."""

import numpy as np
import pytest

from learnlite.suggest import SuggestionMethod, minimum, slide, steep, trimmed, valley

FUNCTIONS = [valley, slide, minimum, steep]
LRS = 1e-7 * 1e8 ** (np.arange(100) / 99)


def curve(bottom=1e-2):
    """Flat at 2.3, down to 0.5 at `bottom`, then up steeply."""
    x = np.log10(LRS / bottom)
    return np.where(x < 0, 2.3 - 1.8 * np.exp(-(x**2) / 2), 0.5 + 4 * x**2)


def longest_fall(losses):
    """The end and the length of the longest falling subsequence, by its definition."""
    lengths = [1] * len(losses)
    for i in range(len(losses)):
        for j in range(i):
            if losses[j] > losses[i]:
                lengths[i] = max(lengths[i], lengths[j] + 1)
    end = lengths.index(max(lengths))
    return end, lengths[end]


@pytest.mark.parametrize("seed", range(5))
def test_valley_lies_half_way_down_the_longest_fall(seed):
    losses = curve() + np.random.default_rng(seed).normal(0, 0.1, 100)
    end, length = longest_fall(losses)
    third = length / 3
    i = end - length + int(third) + int(third / 2)
    assert valley(LRS, losses, 100) == (LRS[i], (LRS[i], losses[i]))


def test_minimum_is_a_tenth_of_the_lowest_rate():
    i = int(curve().argmin())
    lr, point = minimum(LRS, curve(), 100)
    assert lr == LRS[i] / 10
    assert point == (LRS[i], curve()[i])


def test_steep_is_where_the_slope_over_log_lr_is_most_negative():
    losses = curve()
    slopes = [(losses[i + 1] - losses[i]) / np.log(LRS[i + 1] / LRS[i]) for i in range(99)]
    assert steep(LRS, losses, 100)[0] == LRS[int(np.argmin(slopes))]


def test_slide_slides_while_the_slopes_differ():
    losses = curve()
    slopes = np.gradient(losses)
    left = 84
    while abs(slopes[left + 15] - slopes[left]) > 0.005:
        left -= 1
    assert slide(LRS, losses, 100)[0] == LRS[left + 1]
    assert slide(LRS, losses, 100, adjust_value=0.1)[0] == pytest.approx(LRS[left + 1] / 10)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_suggestion_is_a_rate_of_the_curve_and_a_plain_point(function):
    lr, (x, y) = function(LRS.tolist(), curve().tolist(), 100)
    assert all(type(value) is float for value in (lr, x, y))
    assert LRS[0] <= lr <= LRS[-1]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_follows_a_broken_loss_does_not_count(function, broken):
    losses = curve()
    losses[80], losses[81:] = broken, -9.0
    assert function(LRS, losses, 100) == function(LRS[:80], losses[:80], 100)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("n", [3, 4, 7, 16, 17])
def test_few_points_are_enough(function, n):
    lrs = np.logspace(-4, -1, n)
    lr, _ = function(lrs, np.linspace(2, 1, n), n)
    assert lrs[0] / 10 <= lr <= lrs[-1]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_too_few_points_are_refused(function):
    with pytest.raises(ValueError, match="2 points are too few to judge, at least 3 are needed"):
        function(LRS[:2], [2.0, 1.0], 100)
    with pytest.raises(ValueError, match="0 points are too few"):
        function(LRS, np.full(100, np.nan), 100)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("losses", [np.full(100, 2.3), np.linspace(2.3, 9, 100)])
def test_a_loss_that_never_fell_is_refused(function, losses):
    with pytest.raises(ValueError, match=r"the loss never fell: it began at 2\.3 and 2\.3 was its"):
        function(LRS, losses, 100)


def test_noise_is_no_fall():
    noisy = 2.3 + np.random.default_rng(0).normal(0, 0.003, 100)
    with pytest.raises(ValueError, match="the loss never fell"):
        valley(LRS, noisy, 100)


def test_rates_and_losses_belong_together():
    with pytest.raises(ValueError, match="each rate needs its loss"):
        valley(LRS, [1.0], 100)


def test_the_ends_of_the_curve_are_trimmed():
    lrs, losses = trimmed(LRS, curve(), 100)
    np.testing.assert_array_equal(lrs, LRS[10:-5])
    np.testing.assert_array_equal(losses, curve()[10:-5])
    broken = curve()
    broken[50] = np.nan
    assert len(trimmed(LRS, broken, 100)[0]) == 40
    assert len(trimmed(LRS[:30], curve()[:30], 30)[0]) == 30 - 3 - 3  # of a short run a tenth
    assert len(trimmed([], [], 100)[0]) == 0


def test_the_methods_go_by_the_names_of_fastai():
    names = ["Valley", "Slide", "Minimum", "Steep"]
    assert [getattr(SuggestionMethod, name) for name in names] == FUNCTIONS
