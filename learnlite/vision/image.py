"""Opening images: from a path, bytes, an array or a tensor to pixels, no larger than needed."""

from io import BytesIO
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torchvision import tv_tensors

from learnlite.vision.decode import (
    MAX_PIXELS,
    MODES,
    check_pixels,
    converted,
    eight_bits,
    faults_named,
    name_of,
    open_header,
    orientation,
    plain_jpeg,
    read_bytes,
    turned,
)
from learnlite.vision.decode import ImageError as ImageError
from learnlite.vision.show import show_image

_READ_MODES = {"L": 1, "RGB": 3}  # as torchvision's decoder counts them
_OF_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class LazyImage:
    """An image of which only the header was read: its size is known, its pixels wait.

    `source` is a path, the bytes of a file, a binary file, a PIL image, an array (height, width,
    channels) or a tensor (channels, height, width). `size` is (height, width), upright as EXIF
    says.

    >>> photo = LazyImage(np.zeros((4, 6, 3), np.uint8))
    >>> photo.size, photo.read().shape
    ((4, 6), torch.Size([3, 4, 6]))
    """

    def __init__(self, source: Any, mode: str = "RGB", *, max_pixels: int = MAX_PIXELS) -> None:
        if mode not in MODES:
            raise ValueError(f"`mode` is one of {MODES}, got {mode!r}")
        self.mode = mode
        self._name = "image"
        self._data: bytes | None = None
        self._max_pixels = max_pixels
        self._image: Image.Image | None = None
        self._turn = 1
        self._channels = 0  # of a JPEG; else 0
        is_opened = isinstance(source, Image.Image)
        data = _file_of(source, max_pixels) if is_opened else None
        if isinstance(source, Tensor | np.ndarray):
            self._image = image_of_array(cast(Any, source))
        elif is_opened and data is None:
            self._image, self._name = source, name_of(source)
        else:
            named = None if data is None else (data, name_of(source))
            self._data, self._name = named or read_bytes(source)
            header = plain_jpeg(self._data)
            if header is not None:  # Pillow may never be needed
                height, width, self._channels = header
                check_pixels(width, height, self._name, max_pixels)
                self.size = (height, width)
                return
            self._image = open_header(self._data, self._name, max_pixels)
            if isinstance(self._image, JpegImageFile):
                self._channels = len(self._image.getbands())
        self._turn = orientation(self._image)
        width, height = self._image.size
        self.size = (width, height) if self._turn >= 5 else (height, width)

    def read(self, at_least: tuple[int, int] | None = None) -> tv_tensors.Image:
        """The pixels, as bytes (channels, height, width), as `open` would give them."""
        return tv_tensors.Image(self.read_scaled(at_least)[0])

    def read_scaled(self, at_least: tuple[int, int] | None = None) -> tuple[Tensor, int]:
        """The pixels, and how many of the original's one of them covers in each direction."""
        scale = self._scale(at_least)
        if scale == 1 and self._turn == 1 and self._channels and self._data:
            pixels = _whole_jpeg(self._data, self._channels, self.mode)
            if pixels is not None:
                return pixels, scale
        return _pixels(self.open(at_least)), scale

    def open(self, at_least: tuple[int, int] | None = None) -> Image.Image:
        """The image with its pixels, in `mode`, upright.

        With `at_least` (height, width) a JPEG is decoded at a half, a quarter or an eighth, where
        that is still as large: only its larger blocks of frequencies are put together.
        """
        image, self._image = self._image, None
        if self._data is None:
            self._image = given = cast(Image.Image, image)
            with faults_named(self._name):  # of one that the user opened no pixel may be read yet
                given.load()
                return converted(turned(given, self._turn), self.mode)
        if image is None:  # or was opened before: Pillow's image knows one scale
            image = open_header(self._data, self._name, self._max_pixels)
        with faults_named(self._name, len(self._data)):
            if isinstance(image, JpegImageFile):
                scale = self._scale(at_least)
                size = (image.width // scale, image.height // scale) if scale > 1 else None
                image.draft("L" if self.mode == "L" else None, size)
            image.load()
            return converted(turned(image, self._turn), self.mode)

    def _scale(self, at_least: tuple[int, int] | None) -> int:
        if at_least is None or not self._channels:
            return 1
        for scale in (8, 4, 2):
            large_enough = all(
                side >= scale and -(-side // scale) >= least
                for side, least in zip(self.size, at_least, strict=True)
            )
            # Turned, an incomplete last pixel would come first, and shift all others.
            whole = self._turn == 1 or all(side % scale == 0 for side in self.size)
            if large_enough and whole:
                return scale
        return 1

    def __repr__(self) -> str:
        height, width = self.size
        return f"LazyImage({self._name}, {height} x {width}, {self.mode})"


def open_image(
    source: Any,
    mode: str = "RGB",
    *,
    at_least: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """An image as PIL's, whatever `source` it comes from: see `LazyImage`.

    >>> open_image(np.zeros((4, 6), np.uint8)).mode
    'RGB'
    """
    return LazyImage(source, mode, max_pixels=max_pixels).open(at_least)


def read_image(
    source: Any,
    mode: str = "RGB",
    *,
    at_least: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tv_tensors.Image:
    """An image as bytes (channels, height, width), for transforms; quicker than by `open_image`.

    >>> read_image(np.zeros((4, 6), np.uint8), mode="L").shape
    torch.Size([1, 4, 6])
    """
    return LazyImage(source, mode, max_pixels=max_pixels).read(at_least)


def to_element(image: Image.Image) -> tv_tensors.Image:
    """The pixels of a PIL image as bytes (channels, height, width), lying pixel by pixel.

    >>> to_element(Image.new("L", (6, 4), 7)).unique().tolist()
    [7]
    """
    if image.mode not in MODES:
        is_grey = image.mode in ("1", "I", "F", "La") or image.mode.startswith("I;16")
        image = converted(image, "L" if is_grey else "RGB")
    return tv_tensors.Image(_pixels(image))


def load_mask(source: Any, *, max_pixels: int = MAX_PIXELS) -> tv_tensors.Mask:
    """A mask (height, width) of class numbers as the file holds them: palette indices, greys, bits.

    Not by way of colours, by which other libraries turn palette index 1 into some grey.

    >>> mask = Image.new("P", (2, 1), 3)
    >>> mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    >>> load_mask(mask)
    Mask([[3, 3]], dtype=torch.uint8)
    """
    return tv_tensors.Mask(torch.from_numpy(_codes(source, max_pixels)))


def image_of_array(array: Tensor | NDArray[Any]) -> Image.Image:
    """The PIL image of an array (height, width, channels) or a tensor (channels, height, width).

    >>> image_of_array(torch.ones(3, 4, 6)).getpixel((0, 0))
    (255, 255, 255)
    """
    given = array
    if isinstance(array, Tensor):
        array = array.detach().cpu().as_subclass(Tensor)
        array = (array.permute(1, 2, 0) if array.ndim == 3 else array).numpy()
    channels = 1 if array.ndim == 2 else array.shape[-1]
    if array.ndim not in (2, 3) or channels not in _OF_CHANNELS or 0 in array.shape:
        form = (
            "(channels, height, width)"
            if isinstance(given, Tensor)
            else "(height, width, channels)"
        )
        raise ValueError(
            f"an image is {form} with 1 to 4 channels, or (height, width), got {tuple(given.shape)}"
        )
    pixels = eight_bits(array)
    return Image.fromarray(pixels[..., 0] if array.ndim == 3 and channels == 1 else pixels)


def to_thumb(image: Image.Image, height: int, width: int | None = None) -> Image.Image:
    """A copy that fits into `width` x `height`, never larger than the image.

    >>> to_thumb(Image.new("RGB", (200, 100)), 50).size
    (50, 25)
    """
    thumb = image.copy()
    thumb.thumbnail((width or height, height))
    return thumb


class _Mode:
    """The mode in which a class opens images; of an image, the mode that it has."""

    def __init__(self, mode: str) -> None:
        self._opens = mode

    def __get__(self, image: Any, owner: Any = None) -> str:
        return self._opens if image is None else image._mode


class PILImage(Image.Image):
    """A PIL image in colour that matplotlib draws; it also names how an `ImageBlock` opens images.

    >>> image = PILImage.create(np.zeros((4, 6), np.uint8))
    >>> image.mode, image.shape, image.size, image.to_thumb(3).size
    ('RGB', (4, 6), (6, 4), (3, 2))
    """

    mode: Any = _Mode("RGB")

    def __init_subclass__(cls) -> None:
        if isinstance(cls.__dict__.get("mode"), str):
            cls.mode = _Mode(cls.mode)

    @classmethod
    def create(cls, source: Any, **settings: Any) -> Self:
        """What `open_image` opens, in this class's mode."""
        image = open_image(source, cls.mode, **settings)
        return cls._of(image if image is not source else image.copy())

    @classmethod
    def _of(cls, image: Image.Image) -> Self:
        """The same pixels as an image of this class."""
        plain = image if type(image) is Image.Image else image.copy()  # one of a file's class
        made = cls()
        made.__dict__.update(plain.__dict__)
        return made

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width); Pillow's `size` is (width, height)."""
        return self.height, self.width

    def to_thumb(self, height: int, width: int | None = None) -> Self:
        """A copy that fits into `width` x `height`, never larger than the image."""
        return self._of(to_thumb(self, height, width))

    def show(
        self,
        title: str | None = None,
        ctx: Any = None,
        figsize: tuple[float, float] | None = None,
        **settings: Any,
    ) -> Any:
        """Draw it by `show_image`, on the axes `ctx` if given; gives the axes."""
        return show_image(self, settings.pop("ax", ctx), figsize, title, **settings)


class PILImageBW(PILImage):
    """A PIL image in grey; it also names how an `ImageBlock` opens images."""

    mode = "L"


class PILMask(PILImage):
    """A PIL image of class numbers, which `create` keeps as `load_mask` does."""

    mode = "L"

    @classmethod
    def create(cls, source: Any, **settings: Any) -> Self:
        """The class numbers as a grey image; above 255 as one of 32 bits."""
        codes = _codes(source, settings.get("max_pixels", MAX_PIXELS))
        image = Image.fromarray(codes if codes.dtype == np.uint8 else codes.astype(np.int32))
        return cls._of(image)

    def show(
        self,
        title: str | None = None,
        ctx: Any = None,
        figsize: tuple[float, float] | None = None,
        **settings: Any,
    ) -> Any:
        """Draw it by `show_image`, each class in its colour; gives the axes."""
        settings = {"cmap": "tab20", "interpolation": "nearest"} | settings
        return super().show(title, ctx, figsize, **settings)


def _whole_jpeg(data: bytes, channels: int, mode: str) -> Tensor | None:
    """All pixels of a JPEG by torchvision's decoder, or None if that cannot be.

    With the bits of Pillow's, as both are libjpeg-turbo, and 15 to 20 % faster: it spares a copy.
    torchvision means to give its decoders up some day; then, as for broken files, Pillow does it.
    """
    number = _READ_MODES.get(mode)
    if number is None or channels not in (1, 3):
        return None
    try:
        decode = cast(Any, torch.ops).image.decode_jpeg
        return decode(torch.frombuffer(bytearray(data), dtype=torch.uint8), number, False)
    except (AttributeError, RuntimeError, TypeError):
        return None


def _file_of(image: Image.Image, max_pixels: int) -> bytes | None:
    """The bytes of a JPEG that PIL has opened and not read: it is decoded as its file would be."""
    if not isinstance(image, JpegImageFile) or not image.tile or image.fp is None:
        return None
    if image.width * image.height > max_pixels:  # whoever opened it trusts it
        return None
    try:
        at = image.fp.tell()
        image.fp.seek(0)
        data = image.fp.read()
        image.fp.seek(at)
        with Image.open(BytesIO(data), formats=["JPEG"]) as file:
            same = file.size == image.size and file.mode == image.mode  # no `draft` was asked for
        if same and image.filename:
            image.load()  # only that closes the file which PIL has opened
    except (OSError, ValueError):
        return None
    return data if same else None


def _pixels(image: Image.Image) -> Tensor:
    # Quicker than by an array, which copies the bytes with less hurry.
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)


def _codes(source: Any, max_pixels: int) -> NDArray[Any]:
    """The numbers of a mask, as uint8 or int64."""
    name = "mask"
    if isinstance(source, Tensor | np.ndarray):
        codes = np.asarray(source)
    else:
        if isinstance(source, Image.Image):
            image, name = source, name_of(source)
            with faults_named(name):
                image = turned(image, orientation(image))
                image.load()
        else:
            data, name = read_bytes(source)
            image = open_header(data, name, max_pixels)
            with faults_named(name, len(data)):
                image.load()
                image = turned(image, orientation(image))
        codes = np.array(image)
    if codes.ndim == 3 and (codes == codes[..., :1]).all():  # greys saved as colours
        codes = codes[..., 0]
    if codes.ndim != 2 or codes.dtype.kind == "f":
        held = f"{codes.shape[-1]} channels" if codes.ndim == 3 else f"{codes.dtype} values"
        raise ImageError(
            name,
            f"is no mask of class numbers: it has {held}",
            "save the class of each pixel as a grey or palette image, or give a function that does",
        )
    is_small = codes.dtype.itemsize == 1 and not (codes.dtype.kind == "i" and (codes < 0).any())
    return codes.astype(np.uint8 if is_small else np.int64)
