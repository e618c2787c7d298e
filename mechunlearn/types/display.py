"""How results show themselves in Jupyter: one small table of what they are."""

import html
from collections.abc import Mapping


def table(rows: Mapping[str, object], title: str = "") -> str:
    """An HTML table of names and values; everything is escaped.

    Args:
        title: Stands above the rows.

    Example:
        >>> table({"n": 3}, "<b>")
        '<table><caption>&lt;b&gt;</caption><tr><th>n</th><td>3</td></tr></table>'
    """
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    cells = (
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{caption}{''.join(cells)}</table>"
