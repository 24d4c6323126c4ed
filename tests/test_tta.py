"""Predictions averaged over augmentations: fastai's formula, and the same draws always."""

import pytest
import torch
from pictures import folder_of_pictures
from tiny import digits_loaders, linear_learner, net, silent
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learnlite import DataLoaders, Learner
from learnlite.vision.all import (
    ImageDataLoaders,
    RandomResizedCrop,
    Resize,
    aug_transforms,
)


def shifted(batch, kinds, training):
    """One more in training."""
    return (batch[0] + 1 if training else batch[0], *batch[1:])


def noisy(batch, kinds, training):
    return (batch[0] + torch.randn_like(batch[0]) if training else batch[0], *batch[1:])


def learner(tfm, seed=5, **settings):
    dls = digits_loaders(**settings)
    dls.batch_tfms = [tfm]
    torch.manual_seed(1)
    return silent(Learner(dls, net(), seed=seed))


def probabilities(learn, x):
    learn.model.eval()
    with torch.no_grad():
        return learn.model(x).softmax(1)


def test_plain_predictions_weigh_a_quarter_and_augmented_ones_the_rest():
    learn = learner(shifted)
    x, y = learn.dls.valid.dataset.tensors
    plain, moved = probabilities(learn, x), probabilities(learn, x + 1)
    preds, targs = learn.tta()
    torch.testing.assert_close(preds, 0.25 * plain + 0.75 * moved)
    assert torch.equal(targs, y)
    torch.testing.assert_close(learn.tta(n=2, beta=1.0)[0], plain)
    torch.testing.assert_close(learn.tta(beta=0.0)[0], moved)
    torch.testing.assert_close(learn.tta(use_max=True)[0], torch.maximum(plain, moved))
    (augmented, alone), _ = learn.tta(beta=None)
    torch.testing.assert_close((augmented, alone), (moved, plain))


def test_several_turns_differ_and_are_averaged():
    learn = learner(noisy)
    one, two = (learn.tta(n=n, beta=0.0)[0] for n in (1, 2))
    second = 2 * two - one
    assert not torch.allclose(one, second, atol=1e-3)
    torch.testing.assert_close(second.sum(1), torch.ones(len(second)))
    highest = learn.tta(n=2, use_max=True)[0]
    assert (highest >= torch.maximum(one, second) - 1e-6).all()


def test_the_draws_follow_from_the_seed_alone():
    first = learner(noisy, seed=5).tta()[0]
    torch.rand(7)
    again = learner(noisy, seed=5)
    assert torch.equal(again.tta()[0], first) and torch.equal(again.tta()[0], first)
    assert not torch.equal(learner(noisy, seed=6).tta()[0], first)


def test_the_draws_are_the_same_after_a_fit():
    dls = digits_loaders()
    dls.batch_tfms = [noisy]
    learn = silent(Learner(dls, nn.Linear(8, 4), seed=5))
    before = learn.tta()[0]
    learn.fit(1, 0.0)
    assert torch.equal(learn.tta()[0], before)


def test_the_training_set_comes_whole_and_in_its_order():
    learn = learner(shifted, bs=50, drop_last=True)
    x, y = learn.dls.train.dataset.tensors
    preds, targs = learn.tta(ds_idx=0, beta=0.0)
    assert torch.equal(targs, y)
    torch.testing.assert_close(preds, probabilities(learn, x + 1))


def test_a_loader_of_torch_and_batches_are_augmented_as_batches():
    learn = learner(shifted)
    x, y = learn.dls.valid.dataset.tensors
    expected = learn.tta()[0]
    loader = DataLoader(TensorDataset(x, y), batch_size=10, shuffle=True)
    for dl in (loader, [(x[:9], y[:9]), (x[9:], y[9:])]):
        preds, targs = learn.tta(dl=dl)
        assert torch.equal(targs, y)
        torch.testing.assert_close(preds, expected)


def test_it_leaves_no_trace():
    learn = learner(noisy)
    dls, tfms, state = learn.dls, list(learn.dls.batch_tfms), torch.get_rng_state()
    learn.tta()
    assert learn.dls is dls and dls.batch_tfms == tfms
    assert torch.equal(torch.get_rng_state(), state) and learn.model.training


def test_images_are_augmented_by_item_and_batch_with_any_number_of_workers(tmp_path):
    root = folder_of_pictures(tmp_path, n=4, n_valid=3)

    def image_learner(workers):
        dls = ImageDataLoaders.from_folder(
            root,
            valid="valid",
            item_tfms=RandomResizedCrop(24, min_scale=0.3),
            batch_tfms=aug_transforms(size=20),
            bs=4,
            num_workers=workers,
            device="cpu",
            seed=1,
        )
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return silent(Learner(dls, nn.Sequential(body, nn.Linear(4, 3)), seed=2))

    learn = image_learner(0)
    (augmented, plain), targs = learn.tta(n=2, beta=None)
    assert torch.equal(plain, learn.get_preds()[0]) and not torch.equal(augmented, plain)
    assert torch.equal(image_learner(2).tta(n=2, beta=None)[0][0], augmented)
    dls = learn.dls
    assert [dls.vocab[i] for i in targs] == [file.parent.name for file in dls.valid_ds.items]


def test_files_without_labels_are_augmented_too(tmp_path):
    root = folder_of_pictures(tmp_path, n=3, n_valid=2)
    dls = ImageDataLoaders.from_folder(
        root, valid="valid", item_tfms=Resize(20), batch_tfms=aug_transforms(), device="cpu"
    )
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
    learn = silent(Learner(dls, model, seed=3))
    files = dls.valid_ds.items
    preds, targs = learn.tta(dl=dls.test_dl(files))
    assert targs is None
    torch.testing.assert_close(preds, learn.tta()[0])


def test_where_nothing_is_augmented_it_says_so():
    learn = linear_learner()
    with pytest.raises(ValueError, match="`dls` has none: no `batch_tfms`"):
        learn.tta()


@pytest.mark.parametrize("n", [0, -1, True, 2.0, None, "2"])
def test_a_number_of_turns_that_is_none_is_refused(n):
    with pytest.raises(ValueError, match="`n` counts the augmented passes"):
        learner(shifted).tta(n=n)


@pytest.mark.parametrize("beta", [2, -0.1, float("nan"), float("inf"), True, "0.5"])
def test_a_weight_outside_of_0_to_1_is_refused(beta):
    with pytest.raises(ValueError, match="`beta` is the weight of the plain predictions, from 0"):
        learner(shifted).tta(beta=beta)


def test_batches_that_are_transformed_already_are_refused(tmp_path):
    root = folder_of_pictures(tmp_path, n=3, n_valid=2)
    dls = ImageDataLoaders.from_folder(
        root, valid="valid", item_tfms=Resize(20), batch_tfms=aug_transforms(), device="cpu"
    )
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
    learn = silent(Learner(dls, model))
    with pytest.raises(ValueError, match="transformed already"):
        learn.tta(dl=[dls.one_batch(1)])


def test_outputs_that_cannot_be_averaged_are_named():
    class Two(nn.Module):
        def forward(self, x):
            return x, x

    x = torch.zeros(4, 2)
    dls = DataLoaders([(x, x)], [(x, x)], device="cpu")
    dls.batch_tfms = [shifted]
    learn = Learner(dls, Two(), nn.MSELoss(), default_cbs=False)
    with pytest.raises(TypeError, match="averages predictions, and these are a `tuple`"):
        learn.tta()
