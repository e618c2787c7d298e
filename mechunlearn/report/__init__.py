"""The report page: one self-contained HTML file, a pure function of the report."""

from mechunlearn.report.page import (
    render,
    render_board,
    render_comparison,
    write_board,
    write_comparison,
    write_page,
)

__all__ = [
    "render",
    "render_board",
    "render_comparison",
    "write_board",
    "write_comparison",
    "write_page",
]
