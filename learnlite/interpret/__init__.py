"""What a trained model gets right and wrong, and why."""

from learnlite.interpret.base import Interpretation
from learnlite.interpret.calibration import Calibration, calibration
from learnlite.interpret.classes import ClassificationInterpretation
from learnlite.interpret.gradcam import GradCAM
from learnlite.interpret.segmentation import SegmentationInterpretation

__all__ = [
    "Calibration",
    "ClassificationInterpretation",
    "GradCAM",
    "Interpretation",
    "SegmentationInterpretation",
    "calibration",
]
