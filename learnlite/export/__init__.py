"""One file of tensors and plain values for what was trained: no code in it, none run by it."""

from learnlite.export.table import ExportError, register_transform

__all__ = ["ExportError", "register_transform"]
