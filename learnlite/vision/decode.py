"""Image files into pixels: which are opened, how far they are trusted, and what they become.

Six formats, told by their first bytes and not by their names; a limit of pixels that is checked
before any is decoded; every fault an `ImageError` that names the file.
"""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from struct import Struct
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from learnlite.data.members import shown
from learnlite.data.wording import short

MAX_PIXELS = 50_000_000
"""How many pixels an image may have, unless told otherwise: 150 MB as RGB."""

MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")
"""The modes that can be asked for: those with 8 bits a channel."""

_READERS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"GIF87a", GifImageFile),
    (b"GIF89a", GifImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"II+\0", TiffImageFile),  # with offsets of 64 bits
    (b"MM\0+", TiffImageFile),
)
_OTHERS = (
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\1\0", "an icon"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\x93NUMPY", "a numpy array: open it by `numpy.load`"),
    (b"version https://git-lfs", "a pointer of Git LFS: get the file itself by `git lfs pull`"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: each with Huffman's code
_JPEG_FRAME = Struct(">BHHB")  # bits, height, width, channels
_JPEG_TABLES = (0xDB, 0xC4, 0xDD, 0xFE)  # and comments
_ORIENTATION = 0x0112  # the EXIF tag
# A pipe would keep it waiting until somebody writes.
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_MOST_BYTES = 256 << 20  # of a file
_AGAIN = "get it anew, or leave it out: `verify_images` finds such files"


class ImageError(ValueError):
    """An image that could not be had: `source` names it, `reason` says what is wrong with it.

    >>> print(ImageError("cat.jpg", "is empty: it has 0 bytes", "download it again"))
    `cat.jpg` is empty: it has 0 bytes; download it again
    """

    def __init__(self, source: str, reason: str, way_out: str = _AGAIN) -> None:
        super().__init__(source, reason, way_out)  # so that it goes from process to process
        self.source = source
        self.reason = reason
        self.way_out = way_out

    def __str__(self) -> str:
        return f"`{self.source}` {self.reason}; {self.way_out}"


def read_bytes(source: Any) -> tuple[bytes, str]:
    """All bytes of a path, of bytes or of a binary file, and a name for messages.

    The rest of a file that begins like none of the formats is not read.

    >>> read_bytes(b"GIF89a...")
    (b'GIF89a...', 'bytes')
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(cast(bytes, source)), "bytes"
    if hasattr(source, "read"):
        data: Any = source.read()
        if not isinstance(data, bytes):
            raise TypeError("an image file must be opened in binary mode, `open(path, 'rb')`")
        return data, shown(str(getattr(source, "name", "file")))
    if not isinstance(source, str | os.PathLike):  # a number would be taken for an open file
        raise TypeError(
            "an image comes from a path, bytes, a binary file, an array, a tensor or an image of "
            f"PIL, got {short(source)}; look at what the getter gives, as `get_x`"
        )
    return _read_path(cast(Any, source), _MOST_BYTES)


def check_start(path: str | os.PathLike[str]) -> None:
    """Raise an `ImageError` unless the file begins as one of the formats does; no more is read.

    >>> check_start("no such file.jpg")
    Traceback (most recent call last):
    ...
    learnlite.vision.decode.ImageError: `no such file.jpg` does not exist; ...
    """
    _read_path(path, 0)


def _read_path(path: str | os.PathLike[str], n_bytes: int) -> tuple[bytes, str]:
    name = str(path)
    if len(name) > 100 or not name.isprintable():
        name = shown(name)
    try:
        return _read_file(path, name, n_bytes), name
    except IsADirectoryError as error:
        raise ImageError(name, "is a folder", "name an image in it") from error
    except FileNotFoundError as error:
        if name.startswith(("http:/", "https:/")):
            raise ImageError(name, "is an address, and none is fetched", "download it") from error
        way_out = "list the files anew if it has moved, or correct the path"
        raise ImageError(name, "does not exist", way_out) from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ImageError(name, reason, "see to it that it is a file that you may read") from error


def _read_file(path: Any, name: str, n_bytes: int) -> bytes:
    """All bytes of an image file; none, once its begin is looked at, if `n_bytes` is 0."""
    # Not by `open`, whose file objects cost as much as a small photo's bytes.
    fd = os.open(path, _FLAGS)
    try:
        found = os.fstat(fd)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise ImageError(name, "is no file, but a device or a pipe", "give a file's path")
        start = os.read(fd, 64)
        if _reader(start) is None:
            raise not_an_image(start, name)
        if not n_bytes:
            return b""
        size = found.st_size
        if size > n_bytes:
            raise ImageError(name, f"has {size:,} bytes, and at most {n_bytes:,} are read")
        os.lseek(fd, 0, os.SEEK_SET)
        data = os.read(fd, size)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
        return data
    finally:
        os.close(fd)


def open_header(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """What an image file tells about itself, and no pixel yet; too large a one is refused."""
    reader = _reader(data[:64])
    if reader is None:
        raise not_an_image(data, name)
    with faults_named(name, len(data)):
        # Not by `Image.open`, which only warns of a bomb, and knows formats that run programs.
        image = reader(BytesIO(data))
    check_pixels(*image.size, name, max_pixels)
    return image


def check_pixels(width: int, height: int, name: str, max_pixels: int) -> None:
    """Refuse to decode an image that is too large."""
    if width * height > max_pixels:
        raise ImageError(
            name,
            f"has {width:,} x {height:,} pixels, and at most {max_pixels:,} are decoded",
            "if you trust it, raise `max_pixels`; else leave it out",
        )


def plain_jpeg(data: bytes) -> tuple[int, int, int] | None:
    """The (height, width, channels) of a usual JPEG, a few times quicker than by `open_header`.

    None if anything is unusual: it is no JPEG, it is turned by EXIF, or has CMYK colours.

    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> Image.new("RGB", (6, 4)).save(file, "JPEG")
    >>> plain_jpeg(file.getvalue()), plain_jpeg(b"GIF89a")
    ((4, 6, 3), None)
    """
    at = 2 if data[:3] == b"\xff\xd8\xff" else len(data)
    while at + 10 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            bits, height, width, channels = _JPEG_FRAME.unpack_from(data, at + 4)
            is_usual = bits == 8 and height and width and channels in (1, 3)
            return (height, width, channels) if is_usual else None
        is_exif = marker == 0xE1 and data[at + 4 : at + 8] == b"Exif"
        if is_exif or not (marker in _JPEG_TABLES or 0xE0 <= marker <= 0xEF):
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def name_of(image: Image.Image) -> str:
    """What to call an image of PIL in messages: its file, if it has one."""
    return shown(str(getattr(image, "filename", "") or "image"))


@contextmanager
def faults_named(name: str, n_bytes: int | None = None) -> Generator[None]:
    """Whatever a decoder raises inside becomes an `ImageError` about the file `name`."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise a dozen kinds
        said = str(error).strip().splitlines() or [type(error).__name__]
        ends = ("truncat", "incomplete", "not enough", "eof", "end of")
        if any(word in str(error).lower() for word in ends):
            whole = "its data" if n_bytes is None else f"its {n_bytes:,} bytes"
            reason = f"is cut off: {whole} end before the image does"
        else:
            reason = f"is damaged ({said[-1]})"
        raise ImageError(name, reason) from error


def not_an_image(data: bytes, name: str) -> ImageError:
    """The error for bytes that begin like none of the formats, with what they look like.

    >>> print(not_an_image(b"<!DOCTYPE html><html>404", "cat.jpg").reason)
    is no image that is opened here, but looks like a web page
    """
    if not data:
        return ImageError(name, "is empty: it has 0 bytes")
    return ImageError(
        name,
        f"is no image that is opened here, but looks like {_looks_like(data[:64])}",
        "leave it out, or convert it to JPEG, PNG, WebP, BMP, GIF or TIFF",
    )


def _reader(start: bytes) -> type[ImageFile] | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WebPImageFile
    return next((reader for magic, reader in _READERS if start.startswith(magic)), None)


def _looks_like(start: bytes) -> str:
    for magic, what in _OTHERS:
        if start.startswith(magic):
            return what
    if start[4:8] == b"ftyp":
        brand = start[8:12].decode("latin-1")
        return "an AVIF or HEIC image" if brand[:3] in ("avi", "hei", "mif") else "a video"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:9].lower() == b"<!doctype" or text[:5].lower() == b"<html":
        return "a web page"
    if text[:4] == b"<svg" or text[:5] == b"<?xml":
        return "an SVG drawing or other XML"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return f"text, beginning {shown(start[:24].decode('utf-8', 'replace'))!r}"
    return f"bytes of another kind, beginning {start[:8].hex(' ')}"


def orientation(image: Image.Image) -> int:
    """How a camera was held, by EXIF: 1 is upright, 2 to 8 are the other turns and mirrorings."""
    if isinstance(image, TiffImageFile) or "exif" not in image.info:
        return 1  # Pillow turns TIFF itself
    try:
        found: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damage in a note about the image is none to its pixels
        return 1
    return int(found) if found in _TURNS else 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright; the same object if it was."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def converted(image: Image.Image, mode: str) -> Image.Image:
    """The image in `mode`: 16 bits scaled to 8, what is transparent laid over white.

    >>> clear = Image.new("RGBA", (1, 1), (200, 0, 0, 0))
    >>> converted(clear, "RGB").getpixel((0, 0)), converted(clear, "RGBA").getpixel((0, 0))
    ((255, 255, 255), (200, 0, 0, 0))
    """
    has_alpha = image.has_transparency_data
    if image.mode == mode and (not has_alpha or mode in ("LA", "RGBA")):
        return image
    if image.mode[0] in "IF":
        image = _eight_bit(image)
        has_alpha = image.mode == "LA"
    if has_alpha:
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        if mode not in ("LA", "RGBA"):
            image = _over_white(image)
    if image.mode in ("CMYK", "LAB", "HSV", "YCbCr", "P", "1"):  # not all pairs are direct
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _over_white(image: Image.Image) -> Image.Image:
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = Image.fromarray(eight_bits(values))
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # of 16 bits, as the values are
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Numbers as bytes: of 16 bits the upper 8; fractions of 1 are fractions of 255.

    What the type leaves open is told by the largest value: floats count as fractions if none is
    above 1, whole numbers of 32 bits as bytes if none is above 255.

    >>> eight_bits(np.array([0, 257, 65535], np.uint16)), eight_bits(np.array([0, 0.5, 1]))
    (array([  0,   1, 255], dtype=uint8), array([  0, 128, 255], dtype=uint8))
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        finite = np.nan_to_num(values, nan=0.0)
        factor = 255.0 if finite.size == 0 or finite.max() <= 1 else 1.0
        return (finite.clip(0, 255) * factor + 0.5).clip(0, 255).astype(np.uint8)
    is_16_bit = values.dtype.kind == "u" and values.dtype.itemsize == 2  # in either byte order
    if not is_16_bit and values.size and values.max() <= 255:
        return values.clip(0, 255).astype(np.uint8)
    return ((values.clip(0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)
