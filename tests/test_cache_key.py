"""What makes another cache on disk: every setting of a transform, and the code of others'."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from pictures import folder_of_pictures

from learnlite.vision.all import (
    DataBlock,
    ImageBlock,
    PILImage,
    RandomSplitter,
    Resize,
    get_image_files,
)
from learnlite.vision.cache_key import described
from learnlite.vision.item_tfms import ItemTransform
from learnlite.vision.steps import Cut

HEAD = """
import numpy as np
from learnlite.vision.image import PILImage
from learnlite.vision.item_tfms import ItemTransform
from learnlite.vision.steps import Cut, Turn
SIDE = 5
def flipped(size):
    return [Turn(flip_x=True)]
"""
CLASS = """
class Own(ItemTransform):
    def __init__(self, side=4):
        super().__init__()
        self.side = side
        self._more = 0
        self.table = np.zeros(5000)
    def steps(self, size, draw):
        return [Cut(0, 0, self.side, SIDE), *flipped(size)]
"""


def made(code):
    """What a program, as it would stand in a file, leaves as `tfm`."""
    names = {"__name__": "program"}
    exec(HEAD + CLASS + code, names)
    return names["tfm"]


@pytest.mark.parametrize(
    "code",
    [
        "tfm = Own(side=6)",
        "tfm = Own(); tfm._more = 1",
        "tfm = Own(); tfm.table[2500] = 1",
        "tfm = Own(); tfm.table = tfm.table.astype(int)",
        "SIDE = 6; tfm = Own()",
        "class Other(Own):\n    pass\ntfm = Other()",
        "def flipped(size):\n    return [Turn(flip_y=True)]\ntfm = Own()",
        "Own.steps = lambda self, size, draw: [Cut(0, 0, 4, 4)]\ntfm = Own()",
        "tfm = Own(); tfm.choose = lambda x: x + 1",
    ],
)
def test_another_setting_or_other_code_makes_another_cache(code):
    same = "tfm = Own()"
    assert described(made(same)) == described(made(same))
    assert described(made(code)) == described(made(code)) != described(made(same))


def test_the_function_around_a_function_is_looked_at():
    def by(n):
        return lambda size: size[0] + n

    assert described(by(1)) == described(by(1)) != described(by(2))
    assert described([{"a", "b"}, torch.ones(3)]) == described([{"b", "a"}, torch.ones(3)])


def test_a_value_that_holds_itself_is_described():
    first, second = ["a"], ["b"]
    first.append(first)
    second.append(second)
    assert described(first) == described(first) != described(second)


def test_another_process_describes_alike():
    # Text is hashed in another way in each process, so sets come in another order.
    code = CLASS + "tfm = Own(); tfm.names = {'a', 'b', 'c', 'dd'}; tfm.size = (1, 2.5)"
    program = f"""
from learnlite.vision.cache_key import described
names = {{"__name__": "program"}}
exec({HEAD + code!r}, names)
print(described(names["tfm"]))
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert told.strip() == described(made(code.removeprefix(CLASS)))


def test_what_cannot_be_described_is_refused():
    tfm = Resize(8)
    tfm.lock = threading.Lock()
    with pytest.raises(TypeError, match='cannot tell one `Resize` from .* `cache="memory"`'):
        described(tfm)


def test_edited_classes_give_their_own_pixels(tmp_path):
    files = get_image_files(folder_of_pictures(tmp_path / "pictures", 3, 1))

    def pixels(mode, side):
        image = type("Mine", (PILImage,), {"mode": mode})
        steps = {"steps": lambda self, size, draw: [Cut(0, 0, self._side, 16)]}
        tfm = type("Own", (ItemTransform,), steps)()
        tfm._side = side
        block = DataBlock(
            ImageBlock(image),
            splitter=RandomSplitter(seed=0),
            item_tfms=tfm,
        )
        dls = block.dataloaders(files, bs=4, cache="disk", shuffle=False, device="cpu")
        return next(iter(dls.train))[0]

    assert pixels("RGB", 16).shape[1:] == (3, 16, 16)
    assert pixels("L", 16).shape[1:] == (1, 16, 16)
    assert pixels("L", 20).shape[1:] == (1, 20, 16)
    assert np.array_equal(pixels("RGB", 16), pixels("RGB", 16))
