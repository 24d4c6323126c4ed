"""Where data sets for vision are: addresses, what their archives weigh, and where they go here.

The names are those that fastai's users know, and so are the addresses. Sizes are those that fastai
checks; so are the MD5 sums, each of the first megabyte only. Where the SHA-256 of a whole archive
is public (TensorFlow Datasets lists some), that is checked as well.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from learnlite.data.wording import did_you_mean, quoted

_S3 = "https://s3.amazonaws.com/fast-ai-"
_SAMPLES, _CLASSES, _PLACES, _COCO = (
    f"{_S3}{bucket}/" for bucket in ("sample", "imageclas", "imagelocal", "coco")
)
_START = 1 << 20  # bytes that the MD5 sums are of
_FOLDERS = {"archive": "archive", "data": "data", "model": "models", "storage": "tmp"}


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a file before it is here: its size, and sums of all or of its first MiB.

    `sha256` may be the beginning of the sum, as torch writes it into the names of weights.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.bin")
    ...     n = file.write_bytes(b"abc")
    ...     Check(size=4).fault(file)
    'it has 3 bytes, and 4 were expected'
    """

    size: int | None = None
    sha256: str = ""
    md5_start: str = ""

    def fault(self, file: Path) -> str:
        """What is wrong with a file, in words; nothing if all is as it should be."""
        size = file.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes, and {self.size:,} were expected"
        with file.open("rb") as stream:
            if self.md5_start:
                start = hashlib.md5(stream.read(_START), usedforsecurity=False).hexdigest()
                if start != self.md5_start:
                    return f"the MD5 of its first MiB is {start}, and {self.md5_start} was expected"
            if self.sha256:
                stream.seek(0)
                found = hashlib.file_digest(stream, "sha256").hexdigest()
                if not found.startswith(self.sha256.lower()):
                    begins = "" if len(self.sha256) == len(found) else ", or how it begins,"
                    return f"its SHA-256 is {found}, and {self.sha256.lower()}{begins} was expected"
        return ""


class _Named(type):
    """Says which name was perhaps meant."""

    def __getattr__(cls, name: str) -> str:
        known = [known for known in vars(cls) if known.isupper()]
        raise AttributeError(f"`URLs` has no {quoted(name)}{did_you_mean(name, known)}")


class URLs(metaclass=_Named):
    """The addresses of data sets for vision, by fastai's names.

    >>> URLs.IMAGENETTE_160
    'https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz'
    """

    BIWI_SAMPLE = f"{_SAMPLES}biwi_sample.tgz"
    CAMVID_TINY = f"{_SAMPLES}camvid_tiny.tgz"
    CIFAR = f"{_SAMPLES}cifar10.tgz"
    DOGS = f"{_SAMPLES}dogscats.tgz"
    MNIST_SAMPLE = f"{_SAMPLES}mnist_sample.tgz"
    MNIST_TINY = f"{_SAMPLES}mnist_tiny.tgz"
    PLANET_SAMPLE = f"{_SAMPLES}planet_sample.tgz"
    PLANET_TINY = f"{_SAMPLES}planet_tiny.tgz"

    CALTECH_101 = f"{_CLASSES}caltech_101.tgz"
    CARS = f"{_CLASSES}stanford-cars.tgz"
    CIFAR_100 = f"{_CLASSES}cifar100.tgz"
    CUB_200_2011 = f"{_CLASSES}CUB_200_2011.tgz"
    FLOWERS = f"{_CLASSES}oxford-102-flowers.tgz"
    FOOD = f"{_CLASSES}food-101.tgz"
    IMAGENETTE = f"{_CLASSES}imagenette2.tgz"
    IMAGENETTE_160 = f"{_CLASSES}imagenette2-160.tgz"
    IMAGENETTE_320 = f"{_CLASSES}imagenette2-320.tgz"
    IMAGEWANG = f"{_CLASSES}imagewang.tgz"
    IMAGEWANG_160 = f"{_CLASSES}imagewang-160.tgz"
    IMAGEWANG_320 = f"{_CLASSES}imagewang-320.tgz"
    IMAGEWOOF = f"{_CLASSES}imagewoof2.tgz"
    IMAGEWOOF_160 = f"{_CLASSES}imagewoof2-160.tgz"
    IMAGEWOOF_320 = f"{_CLASSES}imagewoof2-320.tgz"
    LSUN_BEDROOMS = f"{_CLASSES}bedroom.tgz"
    MNIST = f"{_CLASSES}mnist_png.tgz"
    MNIST_VAR_SIZE_TINY = f"{_CLASSES}mnist_var_size_tiny.tgz"
    PETS = f"{_CLASSES}oxford-iiit-pet.tgz"

    BIWI_HEAD_POSE = f"{_PLACES}biwi_head_pose.tgz"
    CAMVID = f"{_PLACES}camvid.tgz"
    PASCAL_2007 = f"{_PLACES}pascal_2007.tgz"
    PASCAL_2012 = f"{_PLACES}pascal_2012.tgz"
    SIIM_SMALL = f"{_PLACES}siim_small.tgz"
    TCGA_SMALL = f"{_PLACES}tcga_small.tgz"

    COCO_SAMPLE = f"{_COCO}coco_sample.tgz"
    COCO_TINY = f"{_COCO}coco_tiny.tgz"

    @staticmethod
    def path(url: str, c_key: str = "archive") -> Path:
        """Where the archive of `url` goes on this machine.

        >>> URLs.path(URLs.MNIST_TINY).name
        'mnist_tiny.tgz'
        """
        return home_folder(c_key) / url.rpartition("/")[2]


def home() -> Path:
    """The folder for what is downloaded: `LEARNLITE_HOME`, or `.learnlite` at home."""
    return Path(os.environ.get("LEARNLITE_HOME") or "~/.learnlite").expanduser()


def home_folder(c_key: str, base: str | Path | None = None) -> Path:
    """The folder of `home()`, or of `base`, for "archive", "data", "model" or "storage".

    >>> home_folder("model", "here").as_posix()
    'here/models'
    """
    if c_key not in _FOLDERS:
        raise ValueError(f"`c_key` must be one of {', '.join(_FOLDERS)}, got {c_key!r}")
    return (home() if base is None else Path(base).expanduser()) / _FOLDERS[c_key]


CHECKS: dict[str, Check] = {
    URLs.BIWI_SAMPLE: Check(593774, "", "9179f4c1435f4b291f0d5b072d60c2c9"),
    URLs.CAMVID_TINY: Check(2314212, "", "2cf6daf91b7a2083ecfa3e9968e9d915"),
    URLs.CIFAR: Check(168168549, "", "a5f8c31371b63a406b23368042812d3c"),
    URLs.DOGS: Check(839285364, "", "3e483c8d6ef2175e9d395a6027eb92b7"),
    URLs.MNIST_SAMPLE: Check(3214948, "", "2dbc7ec6f9259b583af0072c55816a88"),
    URLs.MNIST_TINY: Check(342207, "", "56143e8f24db90d925d82a5a74141875"),
    URLs.PLANET_SAMPLE: Check(15523994, "", "8bfb174b3162f07fbde09b54555bdb00"),
    URLs.PLANET_TINY: Check(997569, "", "490873c5683454d4b2611fb1f00a68a9"),
    URLs.CALTECH_101: Check(131740031, "", "d673425306e98ee4619fcdeef8a0e876"),
    URLs.CARS: Check(1957803273, "", "9045d6673c9ced0889f41816f6bf2f9f"),
    URLs.CIFAR_100: Check(169168619, "", "e5e65dcb54b9d3913f7b8a9ad6607e62"),
    URLs.CUB_200_2011: Check(1150585339, "", "d2acaa99439dff0483c7bbac1bfe2a92"),
    URLs.FLOWERS: Check(345236087, "", "5666e01c1311b4c67fcf20d2b3850a88"),
    URLs.FOOD: Check(5686607260, "", "1a540ebf1fb40b2bf3f2294234ba7907"),
    URLs.IMAGENETTE: Check(
        1557161267,
        "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
        "2c774ecb40005b35d7937d50f5d42336",
    ),
    URLs.IMAGENETTE_160: Check(
        99003388,
        "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
        "c475f8f7617a200ba35b9facc48443c3",
    ),
    URLs.IMAGENETTE_320: Check(
        341663724,
        "569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c",
        "1f1f74f133caff120e575856659b87a2",
    ),
    URLs.IMAGEWANG: Check(
        2900347689,
        "7a5ee5a0e8bd91f26d6a22cad2e2e0fa8af0b299e0130aadf6bf8f772371ecfb",
        "2b7776bac0fc95db72ac8a3b091a3e30",
    ),
    URLs.IMAGEWANG_160: Check(
        191498213,
        "a0d360f9d8159055b3bf2b8926a51d19b2f1ff98a1eef6034e4b891c59ca3f1a",
        "dab9b1d97b95574ac64122a19bc74ca1",
    ),
    URLs.IMAGEWANG_320: Check(
        669826647,
        "fd53301c335aa46f0f4add68dd471cd0b8b66412382cc36f5f510d0a03fb4d9d",
        "fff8ac034d60e14fcf7789845e625263",
    ),
    URLs.IMAGEWOOF: Check(1343715595, "", "2cc1c1e36e20cb6fd24ffb978edcb487"),
    URLs.IMAGEWOOF_160: Check(92612825, "", "3559b194123981a540b87132dbda412f"),
    URLs.IMAGEWOOF_320: Check(328387740, "", "7a1fd92672a559a85de76e4810a20c21"),
    URLs.LSUN_BEDROOMS: Check(4579163978, "", "35d84f38f8a15fe47e66e460c8800d68"),
    URLs.MNIST: Check(15683414, "", "03639f83c4e3d19e0a3a53a8a997c487"),
    URLs.MNIST_VAR_SIZE_TINY: Check(565372, "", "b71a930f4eb744a4a143a6c7ff7ed67f"),
    URLs.PETS: Check(811706944, "", "e4db5c768afd933bb91f5f594d7417a4"),
    URLs.BIWI_HEAD_POSE: Check(452316199, "", "00f4ccf66e8cba184bc292fdc08fb237"),
    URLs.CAMVID: Check(598913237, "", "648371e4f3a833682afb39b08a3ce2aa"),
    URLs.PASCAL_2007: Check(1637796771, "", "433b4706eb7c42bd74e7f784e3fdf244"),
    URLs.PASCAL_2012: Check(2618908000, "", "d90e29e54a4c76c0c6fba8355dcbaca5"),
    URLs.SIIM_SMALL: Check(33276453, "", "2f88ac350dce1d971ecbb5ec722da75f"),
    URLs.TCGA_SMALL: Check(14744474, "", "3ceffe7cf522cb1c60e93dc555d8817f"),
    URLs.COCO_SAMPLE: Check(3245877008, "", "006cd55d633d94b36ecaf661467830ec"),
    URLs.COCO_TINY: Check(801038, "", "367467451ac4fba79a647753c2c66d3a"),
}
