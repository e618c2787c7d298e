"""One progress bar for everything that takes long; silent where nobody watches."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
console = Console(stderr=True)
if not console.is_terminal:
    console = Console(stderr=True, width=100)
"""Everything a person reads goes here; stdout is for machine-readable results."""


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """Iterate with a progress bar on standard error, where that is a terminal or a notebook."""
    if not (console.is_terminal or console.is_jupyter or "ipykernel" in sys.modules):
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        total = len(items) if isinstance(items, Sized) else None
        yield from bar.track(items, total=total, description=label)
