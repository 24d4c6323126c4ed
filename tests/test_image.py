"""Opening images: every mode, every turn, every fault; and no pixel more than is needed."""

import io
import os
import pickle
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFile, ImageOps
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as V

from learnlite.vision.decode import MODES, ImageError, eight_bits
from learnlite.vision.image import (
    LazyImage,
    PILImage,
    PILImageBW,
    PILMask,
    load_mask,
    open_image,
    read_image,
    to_element,
    to_thumb,
)
from learnlite.vision.verify import image_faults, verify_images


def photo(height: int = 96, width: int = 160) -> Image.Image:
    """Soft colours, as a photo has, and nothing in it that is symmetric."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [40 + 150 * x / width, 220 - 180 * y / height, 128 + 100 * np.sin(x / 17 + y / 29)]
    image = Image.fromarray(np.stack(planes, -1).astype(np.uint8))
    ImageDraw.Draw(image).rectangle((4, 6, width // 3, height // 4), fill=(200, 30, 60))
    return image


def encoded(image: Image.Image, format: str = "JPEG", **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **settings)
    return file.getvalue()


def distance(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a).astype(float) - np.asarray(b).astype(float)).mean())


def grey16(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


IN_MODES = {
    "1": (photo().convert("1"), "PNG"),
    "L": (photo().convert("L"), "PNG"),
    "LA": (photo().convert("LA"), "PNG"),
    "P": (photo().quantize(200), "PNG"),
    "P gif": (photo().quantize(200), "GIF"),
    "RGB": (photo(), "PNG"),
    "RGB bmp": (photo(), "BMP"),
    "RGB webp": (photo(), "WEBP"),
    "RGBA": (photo().convert("RGBA"), "PNG"),
    "CMYK": (photo().convert("CMYK"), "TIFF"),
    "CMYK jpeg": (photo().convert("CMYK"), "JPEG"),
    "YCbCr": (photo().convert("YCbCr"), "JPEG"),
    "LAB": (photo().convert("LAB"), "TIFF"),
    "I;16": (grey16(photo()), "PNG"),
    "I;16 tiff": (grey16(photo()), "TIFF"),
    "I": (grey16(photo()).convert("I"), "TIFF"),
    "F": (Image.fromarray(np.asarray(photo().convert("L"), np.float32) / 255), "TIFF"),
}


@pytest.mark.parametrize("name", IN_MODES)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_file_of_every_mode_looks_the_same_in_the_mode_asked_for(name: str, mode: str) -> None:
    image, format = IN_MODES[name]
    opened = open_image(encoded(image, format), mode)
    is_grey = name.split()[0] in ("1", "L", "LA", "I;16", "I", "F")
    reference = (
        photo().convert("1") if name == "1" else photo().convert("L") if is_grey else photo()
    )
    assert opened.mode == mode and opened.size == image.size
    assert distance(opened.convert("RGB"), reference.convert(mode).convert("RGB")) < 6


@pytest.mark.parametrize("name", IN_MODES)
def test_the_element_has_the_pixels_of_the_opened_image(name: str) -> None:
    image, format = IN_MODES[name]
    data = encoded(image, format)
    for mode in ("RGB", "L"):
        element = read_image(data, mode)
        assert type(element) is tv_tensors.Image and element.dtype == torch.uint8
        assert torch.equal(element, to_element(open_image(data, mode)))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_that_may_be_asked_for_is_given(mode: str) -> None:
    image = open_image(photo(), mode)
    assert image.mode == mode
    assert to_element(image).shape[0] == len(image.getbands())


@pytest.mark.parametrize(
    "mode", ["1", "La", "RGBa", "PA", "RGBX", "I;16", "F", "P", "HSV", "YCbCr"]
)
def test_pil_images_that_no_file_holds_become_elements_too(mode: str) -> None:
    by_way_of = {"La": "LA", "RGBa": "RGBA", "PA": "P"}
    source = grey16(photo()) if mode == "I;16" else photo()
    if mode != "I;16":
        source = source.convert(by_way_of.get(mode, mode)).convert(mode)
    assert to_element(source).shape[1:] == (96, 160)
    assert open_image(source).mode == "RGB"


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB"])
def test_what_is_transparent_is_white_however_the_file_says_so(mode: str) -> None:
    settings: dict[str, Any] = {}
    if mode in ("LA", "RGBA"):
        image = photo().convert(mode)
        alpha = Image.linear_gradient("L").resize(image.size)
        image.putalpha(alpha.point(lambda value: max(value - 9, 0)))
    else:
        image = Image.new(mode, (8, 8), 0)
        settings = {"transparency": (0, 0, 0) if mode == "RGB" else 0}
    opened = open_image(encoded(image, "PNG", **settings))
    pixels, kept = np.asarray(opened), open_image(encoded(image, "PNG", **settings), "RGBA")
    colours, alpha = np.split(np.asarray(kept).astype(float), [3], axis=-1)
    assert np.abs(pixels - (colours * alpha / 255 + 255 - alpha)).max() <= 1
    assert alpha.min() == 0 and (pixels[alpha[..., 0] == 0] == 255).all()


def test_palettes_with_several_transparencies_open_without_a_warning() -> None:
    image = photo().quantize(4)
    opened = open_image(encoded(image, "PNG", transparency=bytes([0, 128, 255, 255])))
    assert opened.mode == "RGB"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_an_image_is_upright_however_the_camera_was_held(turn: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(photo(), format, exif=exif)
    reference = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    lazy = LazyImage(data)
    assert lazy.size == reference.size[::-1]
    assert np.array_equal(lazy.read().permute(1, 2, 0), np.asarray(reference))
    assert np.array_equal(open_image(data), reference)


def test_damaged_exif_does_not_make_an_image_unreadable() -> None:
    data = encoded(photo(), exif=b"Exif\0\0MM\0\x2a\0\0")
    assert LazyImage(data).size == (96, 160)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [(96, 160), (203, 187)])
def test_a_scaled_image_is_as_large_as_asked_and_shows_the_same(
    size: tuple[int, int], turn: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(photo(*size), quality=95, exif=exif)
    full = read_image(data)
    scales = set()
    for asked in (
        (1, 1),
        (24, 20),
        (25, 24),
        (47, 50),
        (48, 40),
        (48, 48),
        (90, 90),
        (97, 80),
        (500, 500),
    ):
        small, scale = LazyImage(data).read_scaled(asked)
        scales.add(scale)
        assert scale == 1 or all(
            new >= old for new, old in zip(small.shape[1:], asked, strict=True)
        )
        assert tuple(small.shape[1:]) == tuple(-(-side // scale) for side in full.shape[1:])
        means = V.resize(full, list(small.shape[1:]), antialias=True)
        assert distance(means, small) < 8
    assert scales == ({1, 2, 4, 8} if turn == 1 or size == (96, 160) else {1})


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("stored", ["RGB", "L", "CMYK"])
def test_a_whole_jpeg_has_the_bits_that_pillow_decodes(stored: str, mode: str) -> None:
    for settings in ({"subsampling": 2}, {"progressive": True}, {"quality": 98, "subsampling": 0}):
        data = encoded(photo(91, 133).convert(stored), **settings)
        reference = Image.open(io.BytesIO(data))
        if mode == "L":
            reference.draft("L", None)
        pixels = read_image(data, mode).permute(1, 2, 0).squeeze(-1)
        assert np.array_equal(pixels, np.asarray(reference.convert(mode)))


def test_a_jpeg_opened_in_grey_is_as_bright_as_its_colours_say() -> None:
    data = encoded(photo(), quality=95)  # its brightness is stored, so no colour is decoded
    opened = np.asarray(open_image(data, "L")).astype(int)
    assert np.abs(opened - np.asarray(open_image(data).convert("L"))).max() <= 2


def test_a_lazy_image_may_be_read_at_several_sizes() -> None:
    lazy = LazyImage(encoded(photo()))
    shapes = [lazy.read(size).shape[1:] for size in ((48, 80), None, (12, 20), None)]
    assert shapes == [(48, 80), (96, 160), (12, 20), (96, 160)]


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP", "TIFF", "PNG"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert distance(open_image(data), frames[0]) < 3, format


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "pil", "array", "tensor"])
def test_every_kind_of_source_gives_the_same_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a photo.png"
    photo().save(path)
    pixels = np.asarray(photo())
    sources = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "pil": photo(),
        "array": pixels,
        "tensor": torch.from_numpy(pixels.copy()).permute(2, 0, 1),
    }
    lazy = LazyImage(sources[kind])
    assert np.array_equal(lazy.read().permute(1, 2, 0), pixels)
    assert np.array_equal(lazy.open(), pixels)


@pytest.mark.parametrize("opened", ["from a path", "from bytes"])
def test_a_jpeg_that_pil_has_only_opened_is_decoded_as_its_file_is(
    opened: str, tmp_path: Path
) -> None:
    file = tmp_path / "large.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (200, 304, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    expected = LazyImage(file).read((40, 40))
    image = Image.open(file if opened == "from a path" else io.BytesIO(file.read_bytes()))
    assert torch.equal(LazyImage(image).read((40, 40)), expected)
    assert expected.shape == (3, 50, 76)
    assert np.array(image).shape == pixels.shape  # and it can still be read
    assert LazyImage(image).read((40, 40)).shape == (3, 200, 304)  # all pixels, as they are there
    drafted = Image.open(io.BytesIO(file.read_bytes()))
    drafted.draft("L", (152, 100))
    assert LazyImage(drafted).read((40, 40)).shape == (3, 100, 152)


@pytest.mark.parametrize(
    ("dtype", "white"),
    [("uint8", 255), ("uint16", 65535), ("bool", 1), ("float32", 1.0), ("int64", 255)],
)
def test_arrays_of_every_kind_become_bytes(dtype: str, white: float) -> None:
    array = np.zeros((2, 2, 3), dtype)
    array[0] = white
    assert np.asarray(open_image(array))[:, 0, 0].tolist() == [255, 0]


def test_sixteen_bits_keep_their_order_and_both_ends() -> None:
    bits = eight_bits(np.arange(65536, dtype=np.uint16))
    assert bits[0] == 0 and bits[-1] == 255 and (np.diff(bits.astype(int)) >= 0).all()
    assert np.array_equal(eight_bits(np.arange(256, dtype=np.uint16) * 257), np.arange(256))


def test_the_order_of_the_bytes_of_16_bits_changes_nothing(tmp_path: Path) -> None:
    values = np.array([[0, 1, 200], [255, 4000, 60000]], np.uint16)
    little, big = tmp_path / "little.tif", tmp_path / "big.tif"
    Image.fromarray(values).save(little)
    tags = [(256, 3), (257, 2), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, 2)]
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    entries += struct.pack(">HHII", 279, 4, 1, values.nbytes)
    head = b"MM" + struct.pack(">HIH", 42, 8, len(tags) + 1)
    big.write_bytes(head + entries + bytes(4) + values.astype(">u2").tobytes())
    dark = values.clip(0, 200)
    assert np.array_equal(eight_bits(dark.astype(">u2")), eight_bits(dark))
    assert torch.equal(read_image(big, "L"), read_image(little, "L"))
    assert torch.equal(read_image(values.astype(">u2"), "L"), read_image(little, "L"))


def test_the_transparent_value_of_16_bits_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[300, 301, 40000]], np.uint16)).save(
        tmp_path / "clear.png", transparency=300
    )
    assert read_image(tmp_path / "clear.png", "L").tolist() == [[[255, 1, 156]]]
    assert read_image(tmp_path / "clear.png", "RGBA")[3].tolist() == [[0, 255, 255]]


@pytest.mark.parametrize("source", [1, True, np.int64(1), None, float("nan"), ["a.jpg"]])
def test_what_is_no_source_is_refused_and_no_open_file_is_read_or_closed(source: Any) -> None:
    for read in (read_image, load_mask):
        with pytest.raises(TypeError, match="an image comes from a path, .* what the getter gives"):
            read(source)
    os.fstat(1)  # it would raise if 1 had been taken for the number of a file, and closed


@pytest.mark.parametrize("read", [read_image, load_mask])
def test_a_cut_off_image_that_the_user_opened_is_named(read: Any, tmp_path: Path) -> None:
    file = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 90).save(file)
    file.write_bytes(file.read_bytes()[:2000])
    with Image.open(file) as image, pytest.raises(ImageError, match="cut.png` is cut off: its da"):
        read(image)


def test_shapes_that_are_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"an image is \(height, width, channels\) .* \(3, 8, 8\)"):
        open_image(np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="an image is .channels, height, width. .* .5,."):
        open_image(torch.zeros(5))
    with pytest.raises(ValueError, match="`mode` is one of .*, got 'BGR'"):
        open_image(photo(), "BGR")


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it is large; its pixels would fail, were they decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = side.to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) * 2


FAULTS = {
    "empty": (b"", "is empty: it has 0 bytes"),
    "text": (b"I am not an image at all", "looks like text, beginning 'I am not an image at all'"),
    "page": (b"<!DOCTYPE html><html><body>404 not found", "looks like a web page"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "looks like a PostScript file"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "looks like an SVG"),
    "pdf": (b"%PDF-1.7\n%....", "looks like a PDF"),
    "zip": (b"PK\x03\x04" + bytes(60), "looks like a zip archive"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(60), "looks like an AVIF or HEIC image"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
    "ppm": (b"P6 2 2 255\n" + bytes(12), "looks like bytes of another kind"),
    "bomb": (bomb(12_000), "has 12,000 x 12,000 pixels, and at most 50,000,000 are decoded"),
    "large bomb": (bomb(20_000), "has 20,000 x 20,000 pixels"),
    "half a jpeg": (encoded(photo())[:1500], "is cut off: its 1,500 bytes end before the image"),
    "jpeg without end": (encoded(photo())[:-2], "is cut off"),
    "header of a jpeg": (encoded(photo())[:30], "is (cut off|damaged)"),
    "grey jpeg": (encoded(photo().convert("L"))[:900], "is cut off"),
    "half a png": (encoded(photo(), "PNG")[:3000], "is (cut off|damaged)"),
    "half a webp": (encoded(photo(), "WEBP")[:800], "is (cut off|damaged)"),
    "half a gif": (encoded(photo().quantize(99), "GIF")[:3000], "is (cut off|damaged)"),
    "half a bmp": (encoded(photo(), "BMP")[:3000], "is (cut off|damaged)"),
    "half a tiff": (encoded(photo(), "TIFF")[:3000], "is (cut off|damaged)"),
    "beginning of a jpeg": (b"\xff\xd8\xff", "is (cut off|damaged)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_whole_image_is_named_with_what_is_wrong(
    fault: str, tmp_path: Path
) -> None:
    data, reason = FAULTS[fault]
    path = tmp_path / "cat.jpg"
    path.write_bytes(data)
    for open_it in (open_image, read_image):
        with pytest.raises(ImageError, match=reason) as caught:
            open_it(path)
        assert str(path.name) in caught.value.source and ";" in str(caught.value)
    assert image_faults([path]) == {path: caught.value.reason}
    with pytest.raises(ImageError, match=reason.replace("cut off", "(cut off|damaged)")):
        load_mask(data)


def test_a_file_that_vanished_or_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="gone.jpg` does not exist; list the files anew"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder; name an image in it"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="is an address, and none is fetched; download it"):
        read_image(Path("http://nowhere/gone.jpg"))


def test_a_name_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a\x1b[2J\n.jpg")
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_limit_of_pixels_can_be_moved() -> None:
    data = encoded(photo())
    with pytest.raises(ImageError, match=r"160 x 96 pixels, and at most 1,000 .* `max_pixels`"):
        read_image(data, max_pixels=1000)
    assert read_image(data, max_pixels=160 * 96).shape == (3, 96, 160)
    with pytest.raises(ImageError, match=r"is (damaged|cut off)"):  # large, but now allowed
        read_image(bomb(15_000)[:60], max_pixels=10**9)


def test_errors_go_from_one_process_to_another() -> None:
    error = pickle.loads(pickle.dumps(ImageError("cat.jpg", "is empty", "get another")))
    assert str(error) == "`cat.jpg` is empty; get another"


def test_truncated_images_are_refused_by_default() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_a_mask_keeps_its_class_numbers(mode: str, tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 2 if mode == "1" else 21, (6, 9)).astype(np.uint8)
    image = Image.fromarray(codes).convert("L") if mode != "1" else Image.fromarray(codes > 0)
    if mode == "P":
        image = Image.fromarray(codes)
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768).tolist())
    image.save(tmp_path / "mask.png")
    mask = load_mask(tmp_path / "mask.png")
    assert type(mask) is tv_tensors.Mask and mask.dtype == torch.uint8
    assert np.array_equal(mask, codes)
    assert np.array_equal(np.asarray(PILMask.create(tmp_path / "mask.png")), codes)


def test_masks_of_more_than_256_classes_and_greys_saved_as_colours_are_read() -> None:
    codes = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    mask = load_mask(encoded(Image.fromarray(codes), "PNG"))
    assert mask.dtype == torch.int64 and np.array_equal(mask, codes)
    grey = Image.fromarray((codes % 21).astype(np.uint8)).convert("RGB")
    assert np.array_equal(load_mask(encoded(grey, "PNG")), codes % 21)
    with pytest.raises(ImageError, match="no mask of class numbers: it has 3 channels; save"):
        load_mask(encoded(photo(), "PNG"))


def test_fastai_names_give_plain_pil_images() -> None:
    data = encoded(photo())
    assert isinstance(PILImage.create(data), Image.Image)
    assert PILImage.create(data).size == (160, 96)
    assert (PILImage.mode, PILImageBW.mode) == ("RGB", "L")
    assert PILImageBW.create(data).mode == "L"
    thumb = to_thumb(PILImage.create(data), 40)
    assert thumb.size == (40, 24)


def test_the_users_own_pil_image_stays_as_it_is() -> None:
    image = Image.open(io.BytesIO(encoded(photo())))
    open_image(image, "L", at_least=(1, 1))
    assert image.mode == "RGB" and image.size == (160, 96)


@pytest.mark.parametrize("n_workers", [None, 0, 1, 4])
def test_verify_lists_the_files_that_do_not_open(n_workers: int | None, tmp_path: Path) -> None:
    paths = []
    for i, (name, (data, _)) in enumerate(FAULTS.items()):
        good, bad = tmp_path / f"{i}.jpg", tmp_path / f"{name}.jpg"
        good.write_bytes(encoded(photo(40 + i, 60)))
        bad.write_bytes(data)
        paths += [good, bad]
    paths.append(tmp_path / "gone.jpg")
    found = verify_images([str(path) for path in paths], n_workers)
    assert found == paths[1::2] + paths[-1:]


def test_what_verify_passes_opens_and_what_it_names_does_not() -> None:
    data = encoded(photo(64, 64), quality=90)
    ends = range(0, len(data), 97)
    for end in ends:  # wherever a download broke off
        with pytest.raises(ImageError):
            read_image(data[:end])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_whatever_bytes_are_damaged_an_image_opens_or_says_it_does_not(format: str) -> None:
    generator = np.random.default_rng(0)
    data = encoded(photo(40, 60), format)
    for _ in range(60):
        damaged = bytearray(data)
        for place in generator.integers(3, len(data), 4):
            damaged[place] = generator.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged notes in TIFF
            with suppress(ImageError):
                assert read_image(bytes(damaged), max_pixels=100_000).dtype == torch.uint8
