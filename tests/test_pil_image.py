"""Images of our own classes: PIL images that tell their shape and draw themselves."""

import io
import pickle

import numpy as np
from PIL import Image

from learnlite.plots import pyplot
from learnlite.vision.image import PILImage, PILMask, open_image


def jpeg(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def test_an_image_of_a_class_is_one_and_has_what_fastai_gives_it(tmp_path):
    data = jpeg(160, 96)
    image = PILImage.create(data)
    assert isinstance(image, PILImage) and image.shape == (96, 160) and image.size == (160, 96)
    assert np.array_equal(np.asarray(image), np.asarray(open_image(data)))
    thumb = image.to_thumb(40)
    assert isinstance(thumb, PILImage) and thumb.shape == (24, 40)
    grey = image.convert("L")
    assert grey.mode == "L" and type(grey) is Image.Image
    image.putalpha(7)
    assert image.mode == "RGBA" and PILImage.mode == "RGB"
    copied = pickle.loads(pickle.dumps(thumb))
    assert isinstance(copied, PILImage) and copied.tobytes() == thumb.tobytes()


def test_a_copy_of_a_pil_image_is_its_own():
    given = Image.new("RGB", (4, 3))
    made = PILImage.create(given)
    made.putpixel((0, 0), (255, 0, 0))
    assert given.getpixel((0, 0)) == (0, 0, 0) and made.getpixel((0, 0)) == (255, 0, 0)


def test_an_image_draws_itself_on_axes():
    _, ax = pyplot().subplots()
    assert PILImage.create(np.zeros((4, 6), np.uint8)).show(ctx=ax, title="black") is ax
    assert ax.get_title() == "black" and ax.images[0].get_array().shape == (4, 6, 3)
    mask = PILMask.create(np.full((4, 6), 300, np.int64))
    shown = mask.show(figsize=(2, 3))
    assert mask.mode == "I" and mask.getpixel((0, 0)) == 300
    assert shown.images[0].get_cmap().name == "tab20"
    assert tuple(shown.figure.get_size_inches()) == (2, 3)
    pyplot().close("all")
