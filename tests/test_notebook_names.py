"""What `from learnlite.vision.all import *` brings beside our own: modules, tensors, boxes."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import folder_of_pictures
from PIL import Image

import learnlite.vision.all as everything
from learnlite.plots import pyplot
from learnlite.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    PILImage,
    Resize,
    first,
    get_annotations,
    get_image_files,
    image2tensor,
    matplotlib,
    pd,
    plt,
    show_image,
    subplots,
    tensor,
    to_cpu,
)

# What the lessons of the course use without importing it, as far as it has a sense here.
USED = (
    "np torch nn F Path partial plt pd Image tensor attrgetter itemgetter random re os json shutil "
    "math matplotlib subplots first to_cpu SimpleNamespace"
)


def test_what_notebooks_use_without_an_import_is_there():
    assert set(USED.split()) <= set(everything.__all__)


def test_every_name_of_the_star_import_stands_in_the_docs_and_they_are_not_too_many():
    page = (Path(__file__).parent.parent / "docs" / "reference" / "names.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| \S", page, re.MULTILINE)
    assert sorted(told) == sorted(set(everything.__all__)), "run docs/reference/names.py"
    assert len(told) < 350 and f" {len(told)} names" in page


def test_editors_find_the_modules_whose_names_the_star_import_takes_over():
    # Of `from package import module` type checkers take the names of the package instead.
    tree = ast.parse(Path(str(everything.__file__)).read_text())
    whole = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    taken = [
        node.value.value.id
        for node in tree.body
        if isinstance(node, ast.AugAssign)
        and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name)
    ]
    assert len(taken) == 3 and set(taken) <= whole


def test_plots_and_tables_load_when_they_are_used():
    code = (
        "import sys\n"
        "from learnlite.vision.all import *\n"
        "assert not {'matplotlib', 'pandas'} & set(sys.modules)\n"
        "plt.figure()\n"
        "assert 'matplotlib' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_later_module_has_what_the_module_has():
    assert plt.subplots is pyplot().subplots and "subplots" in dir(plt)
    pandas = pytest.importorskip("pandas")
    assert isinstance(pandas.DataFrame(), pd.DataFrame)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = plt.no_such_name


def test_numbers_arrays_and_images_become_tensors_of_their_own():
    array = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    made = tensor(Image.fromarray(array)), tensor(array), tensor(array.tolist())
    assert all(np.array_equal(one, array) for one in made)
    one = tensor(array)
    one += 1
    assert (
        array[0, 0, 0] == 0 and tensor(1.5).item() == 1.5 and tensor(1, 2, 3).tolist() == [1, 2, 3]
    )
    assert tensor([torch.ones(2), torch.zeros(2)]).shape == (2, 2)
    assert np.array_equal(image2tensor(PILImage.create(array)), array.transpose(2, 0, 1))


def test_the_first_of_a_loader_of_images_is_the_batch_as_the_model_gets_it(tmp_path):
    files = get_image_files(folder_of_pictures(tmp_path))
    dls = DataBlock((ImageBlock,), n_inp=1, splitter=IndexSplitter([0]), item_tfms=Resize(8))
    dls = dls.dataloaders(files, bs=2)
    (x,) = first(dls.valid)
    assert x.dtype == torch.float32 and torch.equal(x, dls.valid.one_batch()[0])
    assert first(n for n in range(3)) == 0 and next(iter(dls.valid))[0].dtype == torch.uint8


def test_a_batch_goes_to_the_cpu_however_it_is_nested():
    batch = {"x": torch.ones(2, device="meta"), "names": ["a", "b"]}
    with pytest.raises(NotImplementedError, match="meta"):  # there is nothing to move
        to_cpu(batch)
    assert torch.equal(to_cpu([(torch.ones(2),)])[0][0], torch.ones(2))


def test_axes_come_as_an_array_and_one_channel_in_the_chosen_colours():
    assert subplots()[1].shape == (1,) and subplots(2, 3)[1].shape == (2, 3)
    figure, (left, right) = subplots(1, 2)
    assert figure.get_size_inches().tolist() == [6, 3]
    show_image(torch.zeros(1, 4, 4), ctx=left)
    with matplotlib.rc_context({"image.cmap": "Greys"}):
        show_image(torch.zeros(1, 4, 4), ctx=right)
    assert [ax.images[0].get_cmap().name for ax in (left, right)] == ["gray", "Greys"]


def test_pixels_of_an_image_as_a_tensor_are_drawn_as_the_image_is():
    photo = Image.fromarray(np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3))
    drawn = [show_image(x).images[0].get_array() for x in (photo, tensor(photo))]
    assert np.array_equal(*drawn)
    halves = show_image(tensor(photo).float() / 255).images[0].get_array()
    assert np.allclose(halves * 255, drawn[0])


def coco(root, files):
    """Each image but the first has a dog, and the first two of them a cat as well."""
    notes = [
        {"image_id": i, "category_id": 18, "bbox": [1, 2, 10 + i, 12]} for i in range(1, len(files))
    ]
    notes += [{"image_id": i, "category_id": 17, "bbox": [0, 0, 4, 4]} for i in (1, 2)]
    kinds = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    images = [{"id": i, "file_name": file.name} for i, file in enumerate(files)]
    path = root / "train.json"
    path.write_text(json.dumps({"images": images, "categories": kinds, "annotations": notes}))
    return path


def test_annotations_of_coco_become_boxes_with_labels(tmp_path):
    files = get_image_files(folder_of_pictures(tmp_path))
    images, boxes = get_annotations(coco(tmp_path, files), prefix="a/")
    assert images == [f"a/{file.name}" for file in files[1:]]
    assert boxes[0] == ([[1, 2, 12, 14], [0, 0, 4, 4]], ["dog", "cat"])
    assert boxes[2] == ([[1, 2, 14, 14]], ["dog"])
    found = dict(zip(files[1:], boxes, strict=True))
    dls = DataBlock(
        (ImageBlock, BBoxBlock, BBoxLblBlock),
        n_inp=1,
        get_y=[lambda file: found[file][0], lambda file: found[file][1]],
        splitter=IndexSplitter([0]),
        item_tfms=Resize(32),
    ).dataloaders(list(found), bs=4)
    assert dls.vocab == ["#na#", "cat", "dog"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "there is no 'categories'"), ("[]", "COCO's form"), ("x", "COCO's form: Expecting")],
)
def test_a_file_that_is_no_annotation_is_told(tmp_path, text, message):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        get_annotations(tmp_path / "train.json")
    with pytest.raises(FileNotFoundError, match=r"there is `train.json`"):
        get_annotations(tmp_path / "trian.json")
