"""One file that tells how a training went."""

from learnlite.report.charts import charts
from learnlite.report.curves import Curves
from learnlite.report.page import write_report

__all__ = ["Curves", "charts", "write_report"]
