"""Reports as one HTML file each, pictures inside. In: figures. Out: text of a page. No PyTorch."""

from vigil_export.evaluation.report.history import History, read_history
from vigil_export.evaluation.report.page import comparison_page, evaluation_page
from vigil_export.evaluation.report.samples import Sample, read_samples
from vigil_export.evaluation.report.sheet import sheet_page

__all__ = [
    "History",
    "Sample",
    "comparison_page",
    "evaluation_page",
    "read_history",
    "read_samples",
    "sheet_page",
]
