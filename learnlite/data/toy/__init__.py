"""Data that is always there: made on the spot, the same on every run, without a network."""

from learnlite.data.toy.draw import draw_shape
from learnlite.data.toy.moons import two_moons
from learnlite.data.toy.shapes import SHAPE_CLASSES, ShapeSet, load_shapes, make_shapes

__all__ = ["SHAPE_CLASSES", "ShapeSet", "draw_shape", "load_shapes", "make_shapes", "two_moons"]
