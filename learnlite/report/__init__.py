"""One file that tells how a training went."""

from learnlite.report.page import Curves, write_report

__all__ = ["Curves", "write_report"]
