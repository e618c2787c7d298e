"""Tables on standard output: as wide as the terminal allows, tab-separated in a pipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mechunlearn.progress import results

GAP = 2
"""Spaces between columns."""
LONGEST = 26
"""Characters of a first column; longer names go over several lines."""
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Head:
    """A column of a table."""

    title: str
    rank: int = 0
    """What a narrow terminal leaves out first has the highest; 0 always stays."""
    words: bool = False
    """Whether it holds words, which stand on the left."""


def print_table(title: str, heads: Sequence[Head], rows: Rows, piped: Rows | None = None) -> None:
    """Print a table; an empty row makes room between groups.

    In a pipe there are only a line of column names and a line for each row, with tabs between.

    Args:
        piped: What a pipe gets instead, its first row the names of the columns.
    """
    console = results()
    if not console.is_terminal:
        lines = piped or [[h.title for h in heads], *(row for row in rows if row)]
        for line in lines:
            console.file.write("\t".join(_bare(cell) for cell in line) + "\n")
        return
    shown = fitting(heads, rows, console.width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for i in shown:
        justify: Literal["left", "right"] = "left" if heads[i].words else "right"
        table.add_column(Text(heads[i].title), justify=justify, overflow="fold",
                         no_wrap=not heads[i].words)  # fmt: skip
    for row in rows:
        table.add_row(*(Text(row[i]) for i in shown) if row else ())
    console.print(f"\n{title}", style="bold", highlight=False, markup=False)
    console.print(table)
    if hidden := [h.title for i, h in enumerate(heads) if i not in shown]:
        note = f"no room for: {', '.join(hidden)}; a wider terminal, a pipe or --json shows them"
        console.print(note, style="dim", highlight=False, markup=False)


def fitting(heads: Sequence[Head], rows: Rows, width: int) -> tuple[int, ...]:
    """Places of the columns that fit next to each other, the highest ranks left out first.

    Example:
        >>> fitting([Head("a", words=True), Head("b", 1), Head("c", 2)], [["xx", "12", "56"]], 9)
        (0, 1)
    """

    def wide(i: int) -> int:
        cells = [heads[i].title, *(row[i] for row in rows if row)]
        return min(max(map(cell_len, cells)), LONGEST if heads[i].words else width)

    shown = list(range(len(heads)))
    while sum(map(wide, shown)) + GAP * (len(shown) - 1) > width:
        last = max(shown, key=lambda i: (heads[i].rank, i))
        if not heads[last].rank:
            break
        shown.remove(last)
    return tuple(shown)


def print_lines(lines: Sequence[str], *, style: str = "") -> None:
    """Sentences, wrapped to the terminal or one a line."""
    console: Console = results()
    for line in lines:
        console.print(line, style=style, highlight=False, markup=False)


def _bare(cell: str) -> str:
    """A cell without what a tab-separated file uses for itself."""
    return " ".join(cell.split())
