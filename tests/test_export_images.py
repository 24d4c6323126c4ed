import io
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import ALIKE, PICTURES, net, note_of, of_images, parity, with_note
from PIL import Image
from told import told
from torch import Tensor, nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from learnlite import Learner, load_learner, register_transform
from learnlite.data.labels import parent_label
from learnlite.export import ExportError, data
from learnlite.tensor_file import FileError
from learnlite.vision import (
    Brightness,
    CategoryBlock,
    CropPad,
    DataBlock,
    Dihedral,
    DihedralItem,
    FlipItem,
    ImageBlock,
    MaskBlock,
    MultiCategoryBlock,
    Normalize,
    OnlyTraining,
    PILImageBW,
    PointBlock,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    RandomResizedCropGPU,
    RatioResize,
    RegressionBlock,
    Resize,
    ResizeBatch,
    Rotate,
    ToTensor,
    TransformBlock,
    aug_transforms,
    imagenet_stats,
)
from learnlite.vision.learner import unet_learner, vision_learner


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def batch_of(learn: Any, items: Any = PICTURES) -> tuple[Tensor, ...]:
    """The first batch of new items, as the model gets it."""
    dls = learn.dls
    raw = next(iter(dls.test_dl(items)))
    return dls.transformed(raw, training=False)


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) and a.dtype is b.dtype for a, b in zip(one, other, strict=True))


@register_transform("exported/darker")
class Darker:
    def __init__(self, by: float = 0.5) -> None:
        self.by = by

    def __call__(self, batch: Any, kinds: Any, training: bool) -> Any:
        return batch[0] * self.by, *batch[1:]


@register_transform("exported/upside_down")
def upside_down(item: Any) -> Any:
    return item[0].flip(-2), *item[1:]


def cut(item: Any) -> Any:
    return item[0][..., :8, :8], *item[1:]


ITEM_TFMS: list[Any] = [
    Resize(16),
    Resize((12, 18), "pad", "zeros"),
    Resize(16, "squish", resamples=("bicubic", "nearest")),
    RandomResizedCrop(16, min_scale=0.3),
    [CropPad(20, "reflection"), FlipItem(), DihedralItem()],
    [ToTensor, RandomCrop(14)],
    [RatioResize(24), CropPad(16)],
    [Resize(16), OnlyTraining(cut)],
    [Resize(16), upside_down],
    v2.Resize((16, 16)),
    v2.Resize(20, interpolation=v2.InterpolationMode.NEAREST, max_size=24),
    [v2.Compose([v2.CenterCrop(12), v2.Pad([1, 2], padding_mode="reflect")])],
    [Resize(16), v2.Grayscale(3), v2.ToDtype(torch.float32, scale=True)],
    [Resize(16), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.2] * 3)],
    [v2.ToImage(), v2.RGB(), v2.Identity(), Resize(16)],
    [v1.Resize((16, 16)), v1.CenterCrop(12), v1.Grayscale(3)],
]


@pytest.mark.parametrize("tfms", ITEM_TFMS, ids=told)
def test_items_are_changed_as_in_validation(tmp_path: Path, tfms: Any) -> None:
    learn = of_images(tmp_path, item_tfms=tfms, pictures=ALIKE)
    again = load_learner(learn.export())
    assert same(batch_of(again, ALIKE), batch_of(learn, ALIKE))


BATCH_TFMS: list[Any] = [
    [Normalize.from_stats(*imagenet_stats)],
    [Normalize()],
    aug_transforms(),
    [*aug_transforms(size=12), Normalize()],
    aug_transforms(size=(10, 14), min_scale=0.5),
    [Rotate(size=12, mode="nearest"), Dihedral(size=9, mode="nearest"), Brightness()],
    [RandomResizedCropGPU(12, valid_scale=0.8), RandomErasing()],
    [ResizeBatch(20, mode="bicubic", pad_mode="border")],
    [Darker(0.25)],
]


@pytest.mark.parametrize("tfms", BATCH_TFMS, ids=told)
def test_batches_are_changed_as_in_validation(tmp_path: Path, tfms: Any) -> None:
    learn = of_images(tmp_path, batch_tfms=tfms)
    again = load_learner(learn.export())
    assert same(batch_of(again), batch_of(learn))


def points(_: Any) -> list[list[int]]:
    return [[1, 2], [10, 12]]


def stripes(picture: Any) -> Any:
    return picture[..., 0] % 2


BLOCKS: list[tuple[Any, Any]] = [
    ((ImageBlock(PILImageBW), CategoryBlock), parity),
    ((ImageBlock, CategoryBlock(["odd", "even"], sort=False, add_na=True)), parity),
    ((ImageBlock, MultiCategoryBlock), lambda p: [parity(p), "all"]),
    ((ImageBlock, MultiCategoryBlock(encoded=True, vocab=["a", "b"])), lambda p: [0, 1]),
    ((ImageBlock, RegressionBlock), lambda p: len(p) / 10),
    ((ImageBlock, RegressionBlock(2)), lambda p: [1.0, 2.5]),
    ((ImageBlock, PointBlock), points),
    ((ImageBlock, MaskBlock(["sky", "sea"])), stripes),
    ((ImageBlock, TransformBlock), lambda p: 1.5),
    ((ImageBlock, ImageBlock), lambda p: p),
]


@pytest.mark.parametrize(("blocks", "get_y"), BLOCKS, ids=told)
def test_labels_of_every_block_are_encoded_and_decoded_alike(
    tmp_path: Path, blocks: Any, get_y: Any
) -> None:
    model, loss = nn.Flatten(), nn.MSELoss()
    learn = of_images(
        tmp_path, model, blocks=blocks, get_y=get_y, item_tfms=None, pictures=ALIKE, loss=loss
    )
    with learn.no_logging():
        again = load_learner(learn.export(), model=model)
    picture = ALIKE[2]
    ours = next(iter(learn.dls.test_dl([picture], with_labels=True)))
    theirs = next(iter(again.dls.test_dl([(picture, get_y(picture))], with_labels=True)))
    assert same(ours, theirs)
    ready = [dls.transformed(ours, training=False) for dls in (learn.dls, again.dls)]
    assert same(*ready)
    assert str(learn.dls.decode_batch(ready[0])) == str(again.dls.decode_batch(ready[0]))
    assert again.dls.vocab == learn.dls.vocab and again.dls.c == learn.dls.c
    assert again.dls.kinds == learn.dls.kinds


def test_paths_bytes_and_pillow_images_are_predicted_alike(tmp_path: Path) -> None:
    again = load_learner(of_images(tmp_path).export())
    image = Image.fromarray(PICTURES[0])
    image.save(tmp_path / "0.png")
    buffer = io.BytesIO()
    image.save(buffer, "png")
    items = [PICTURES[0], image, buffer.getvalue(), tmp_path / "0.png", str(tmp_path / "0.png")]
    found = [again.predict(item)[2] for item in items]
    assert all(torch.equal(one, found[0]) for one in found)
    assert len(again.predict_batch([PICTURES[0], PICTURES[1]])) == 2


def test_labels_by_folder_are_read_where_they_were_in_training(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(PICTURES[i]).save(tmp_path / name / f"{i}.png")
    files = sorted(tmp_path.glob("*/*.png"))
    block = DataBlock((ImageBlock, CategoryBlock), get_y=parent_label, item_tfms=Resize(16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dls = block.dataloaders(files, bs=4, device="cpu", seed=1)
    learn = Learner(dls, net(), path=tmp_path)
    again = load_learner(learn.export())
    dl = again.dls.test_dl(files, with_labels=True)
    assert torch.equal(again.get_preds(dl=dl)[1], torch.tensor([0] * 4 + [1] * 4))


def test_several_inputs_are_given_as_a_tuple(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), y.mean((1, 2, 3))], 1)

    learn = of_images(
        tmp_path,
        Two(),
        blocks=(ImageBlock, ImageBlock, CategoryBlock),
        get_y=parity,
        n_inp=2,
    )
    with learn.no_logging():
        again = load_learner(learn.export(), model=Two())
    raw = next(iter(again.dls.test_dl([(PICTURES[0], PICTURES[1])])))
    assert same(raw, (batch_raw(learn, PICTURES[0])[0], batch_raw(learn, PICTURES[1])[0]))


def batch_raw(learn: Any, picture: Any) -> tuple[Tensor, ...]:
    return next(iter(learn.dls.test_dl([picture])))


# --- what stands in the way


def own_batch(batch: Any, kinds: Any, training: bool) -> Any:
    return batch


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"item_tfms": [Resize(16), cut]}, "item transform `cut` is code of yours .*`OnlyTraining"),
        ({"item_tfms": [lambda item: item, Resize(16)]}, "the item transform `lambda` is code"),
        ({"item_tfms": [Resize(16), partial(cut)]}, "the item transform `cut` is code"),
        ({"item_tfms": [Resize(16), v2.Lambda(abs)]}, "the item transform `Lambda` is code"),
        (
            {"item_tfms": [Resize(16), v2.RandomHorizontalFlip()]},
            r"is random in predictions too; wrap it.*`OnlyTraining\(RandomHorizontalFlip\(…\)\)`",
        ),
        ({"batch_tfms": own_batch}, "batch transform `own_batch` is code .*@register_transform"),
        ({"batch_tfms": lambda b, k, t: b}, "batch transform `lambda` is code"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_code_of_yours_that_predictions_need_is_named_with_the_way_out(
    tmp_path: Path, changes: Any, says: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learn = of_images(tmp_path, **changes)
    with pytest.raises(ExportError, match=says):
        learn.export()
    assert list(tmp_path.iterdir()) == []


def test_lambdas_that_only_read_labels_or_train_do_not_stand_in_the_way(tmp_path: Path) -> None:
    learn = of_images(
        tmp_path,
        get_x=lambda picture: picture,
        get_y=lambda picture: parity(picture),
        item_tfms=[Resize(16), OnlyTraining(lambda item: item)],
        batch_tfms=[Rotate(draw=lambda x: torch.zeros(len(x)))],
    )
    assert load_learner(learn.export()).predict(PICTURES[0])[0] in ("even", "odd")


def test_a_block_of_yours_is_named(tmp_path: Path) -> None:
    class Slide(ImageBlock):
        pass

    learn = of_images(tmp_path, blocks=(Slide, CategoryBlock))
    with pytest.raises(ExportError, match="the block `Slide` is code of yours"):
        learn.export()


def test_a_transform_that_is_not_registered_where_it_is_loaded_is_named(tmp_path: Path) -> None:
    path = of_images(tmp_path, item_tfms=[Resize(16), upside_down]).export()
    note = note_of(path)
    note["data"]["item_tfms"][1]["name"] = "elsewhere"
    with pytest.raises(FileError, match="needs your item transform 'elsewhere': import the module"):
        load_learner(with_note(path, note))


def test_two_transforms_do_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="`exported/darker` is registered already, for"):
        register_transform("exported/darker")(cut)
    with pytest.raises(TypeError, match=r'`@register_transform\("my_crop"\)`'):
        register_transform(cut)


# --- what a file may not ask for


HOSTILE: list[tuple[list[Any], Any, str]] = [
    (["data", "kind"], "os.system", "of the kind `os.system`|of the kind 'os.system'"),
    (["data", "blocks"], [], "0 blocks"),
    (["data", "blocks", 0, "kind"], "eval", "names the block"),
    (["data", "blocks", 0, "mode"], "P", "`mode` is one of"),
    (["data", "blocks", 0, "mode"], ["RGB"], "`mode` is one of"),
    (["data", "blocks", 0, "max_pixels"], 10**12, "an argument `max_pixels`|an argument 'max_p"),
    (["data", "blocks", 1, "labels"], {"kind": "RegressionSetup", "c": 1}, "its labels are"),
    (["data", "blocks", 1, "labels", "vocab"], [["a"], ["b"]], "cannot be stored"),
    (["data", "blocks", 1, "labels", "vocab"], ["a", "a"], "more than once"),
    (["data", "n_block_inp"], 3, "of which"),
    (["data", "n_block_inp"], True, "of which"),
    (["data", "bs"], 10**15, "as `bs`"),
    (["data", "bs"], -1, "as `bs`"),
    (["data", "item_tfms"], {"kind": "Resize"}, "where a list of transforms"),
    (["data", "item_tfms", 0, "size"], [10**9, 10**9], "images that are too large"),
    (["data", "item_tfms", 0, "size"], 10**400, "does not read|too large|number"),
    (["data", "item_tfms", 0, "size"], "16", "is a number of pixels"),
    (["data", "item_tfms", 0, "method"], "__import__", "`method` is one of"),
    (["data", "item_tfms", 0, "kind"], "CategoryBlock", "names the item transform"),
    (["data", "batch_tfms", 0, "tfms", 0, "std"], [0.0], "cannot be made"),
    (["data", "batch_tfms", 0, "tfms", 0, "kind"], "RandomErasing", "names the batch transform"),
    (["loss", "kind"], "Resize", "names the loss"),
    (["loss", "weight"], "x", "cannot be made"),
    (["loss"], None, "tells nothing of its loss"),
    (["loss"], {"kind": "MissingLoss", "name": 3}, "cannot be made"),
    (["loss"], {"kind": "MissingLoss", "name": "x", "activation": {"kind": "eval"}}, "activation"),
    (["usual_loss"], {"kind": "os.system"}, "names the loss"),
    (["model", "same"], {"0.weight": "nothing"}, "which is not"),
    (["model", "name"], "torch.load", "is not registered here"),
    (["model", "args"], {"n_out": 10**10}, "shape differs"),
    (["model", "args"], {"n_out": 3}, "shape differs"),
    (["model", "args"], [], "as the arguments of its model"),
    (["format"], "1", "number of its format"),
    (["format"], 10**9, "update it"),
]


@pytest.mark.parametrize(("where", "value", "says"), HOSTILE, ids=str)
def test_what_a_file_may_not_ask_for_is_refused(
    tmp_path: Path, where: list[Any], value: Any, says: str
) -> None:
    path = of_images(tmp_path, batch_tfms=Normalize.from_stats(*imagenet_stats)).export()
    note = inner = note_of(path)
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    with pytest.raises(FileError, match=says) as caught:
        load_learner(with_note(path, note))
    assert len(str(caught.value)) < 700


def test_every_number_of_pixels_is_bounded(tmp_path: Path) -> None:
    sizes = {"size", "max_sz", "max_size", "padding", "val_xtra"}
    path = of_images(tmp_path).export()
    note = note_of(path)
    seen = 0
    for place, table in (("item_tfms", data.ITEM_TFMS), ("batch_tfms", data.BATCH_TFMS)):
        for kind, form in table._forms.items():
            for name in form.args & sizes:
                note["data"][place] = [{"kind": kind, name: 10**9}]
                with pytest.raises(FileError, match="too large|cannot be made"):
                    load_learner(with_note(path, note))
                seen += 1
    assert seen >= 14


@pytest.mark.parametrize("arch", ["xresnet18", "torchvision/squeezenet1_1"])
def test_learners_of_known_networks_come_back(tmp_path: Path, arch: str) -> None:
    dls = of_images(tmp_path, item_tfms=Resize(32)).dls
    learn = vision_learner(dls, arch, pretrained=False, path=tmp_path, y_range=(-1, 4))
    again = load_learner(learn.export())
    ours, theirs = (each.get_preds(dl=each.dls.test_dl(ALIKE[:2]))[0] for each in (learn, again))
    assert torch.equal(ours, theirs) and len(again.layer_groups) >= 1


def test_a_unet_comes_back(tmp_path: Path) -> None:
    blocks = (ImageBlock, MaskBlock(["sky", "sea"]))
    dls = of_images(
        tmp_path, net(), blocks=blocks, get_y=stripes, item_tfms=Resize(32), pictures=ALIKE
    ).dls
    learn = unet_learner(dls, "xresnet18", pretrained=False, path=tmp_path)
    again = load_learner(learn.export())
    ours, theirs = (each.predict(ALIKE[0])[2] for each in (learn, again))
    assert torch.equal(ours, theirs)


def test_a_head_of_yours_is_named_as_what_has_no_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dls = of_images(tmp_path, item_tfms=Resize(32)).dls
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2))
    learn = vision_learner(dls, "xresnet18", pretrained=False, path=tmp_path, custom_head=head)
    capsys.readouterr()
    learn.export()
    said = capsys.readouterr().out
    assert "was called with `custom_head=Sequential" in said and "load_learner(f, model=" in said
