"""Images: from files on a disk to augmented batches, and models for them."""

from learnlite.vision.affine import (
    Dihedral,
    Flip,
    RandomResizedCropGPU,
    ResizeBatch,
    Rotate,
    Warp,
    Zoom,
)
from learnlite.vision.aug import RandomErasing, aug_transforms
from learnlite.vision.batch_tfms import (
    BatchTfms,
    IntToFloatTensor,
    Normalize,
    cifar_stats,
    imagenet_stats,
    mnist_stats,
)
from learnlite.vision.blocks import (
    BBoxBlock,
    BBoxLblBlock,
    Block,
    CategoryBlock,
    ImageBlock,
    MaskBlock,
    MultiCategoryBlock,
    PointBlock,
    RegressionBlock,
    TransformBlock,
)
from learnlite.vision.cache import clear_cache
from learnlite.vision.datablock import DataBlock
from learnlite.vision.decode import ImageError
from learnlite.vision.image import (
    LazyImage,
    PILImage,
    PILImageBW,
    PILMask,
    load_mask,
    open_image,
    read_image,
    to_thumb,
)
from learnlite.vision.image_loaders import ImageDataLoaders, SegmentationDataLoaders
from learnlite.vision.item_tfms import (
    CropPad,
    DihedralItem,
    FlipItem,
    PadMode,
    RandomCrop,
    RandomResizedCrop,
    RatioResize,
    Resize,
    ResizeMethod,
    ToTensor,
)
from learnlite.vision.lighting import Brightness, Contrast, Hue, Saturation
from learnlite.vision.loaders import BlockLoaders
from learnlite.vision.show import show_image, show_images
from learnlite.vision.verify import image_faults, verify_images

__all__ = [
    "BBoxBlock",
    "BBoxLblBlock",
    "BatchTfms",
    "Block",
    "BlockLoaders",
    "Brightness",
    "CategoryBlock",
    "Contrast",
    "CropPad",
    "DataBlock",
    "Dihedral",
    "DihedralItem",
    "Flip",
    "FlipItem",
    "Hue",
    "ImageBlock",
    "ImageDataLoaders",
    "ImageError",
    "IntToFloatTensor",
    "LazyImage",
    "MaskBlock",
    "MultiCategoryBlock",
    "Normalize",
    "PILImage",
    "PILImageBW",
    "PILMask",
    "PadMode",
    "PointBlock",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "RandomResizedCropGPU",
    "RatioResize",
    "RegressionBlock",
    "Resize",
    "ResizeBatch",
    "ResizeMethod",
    "Rotate",
    "Saturation",
    "SegmentationDataLoaders",
    "ToTensor",
    "TransformBlock",
    "Warp",
    "Zoom",
    "aug_transforms",
    "cifar_stats",
    "clear_cache",
    "image_faults",
    "imagenet_stats",
    "load_mask",
    "mnist_stats",
    "open_image",
    "read_image",
    "show_image",
    "show_images",
    "to_thumb",
    "verify_images",
]
