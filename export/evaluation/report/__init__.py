"""Reports as one HTML file each, pictures inside. Goes in: figures. Goes out: text of a page. No PyTorch, no files."""

from export.evaluation.report.page import comparison_page, evaluation_page
from export.evaluation.report.samples import Sample, read_samples

__all__ = ["Sample", "comparison_page", "evaluation_page", "read_samples"]
