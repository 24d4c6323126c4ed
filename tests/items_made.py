"""Images in which a shift is seen, as bytes and as files."""

import io
from functools import cache

import torch
from PIL import Image
from torch import Tensor


def smooth(height: int, width: int) -> Tensor:
    """Bytes in which any place is told by its colour, so that a shift is seen."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = 127 + 60 * torch.sin(9 * x / width + 14 * y / height)
    planes = [240 * x / width, 240 * y / height, waves]
    return torch.stack(planes).to(torch.uint8)


@cache
def jpeg(height: int, width: int, turn: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    image = Image.fromarray(smooth(height, width).permute(1, 2, 0).numpy())
    image.save(file, "JPEG", quality=96, subsampling=0, exif=exif)
    return file.getvalue()
