"""One progress bar for everything that takes long; silent where nobody watches."""

import html
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
NOTEBOOK = Console().is_jupyter
"""Whether this is a notebook's kernel."""
console = Console(stderr=True, force_jupyter=False)
if NOTEBOOK or not console.is_terminal:  # A kernel's streams claim to be a terminal.
    console = Console(stderr=True, force_jupyter=False, force_terminal=False, width=100)
"""Everything a person reads goes here, in notebooks too; stdout is for machine-readable results."""
INTERVAL = 0.2
"""Seconds between redraws in a notebook."""


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """Iterate with a progress bar, on standard error or in the notebook's cell.

    It goes away at the end. Without a terminal or a notebook there is none.
    """
    total = len(items) if isinstance(items, Sized) else None
    if NOTEBOOK:
        yield from _in_notebook(items, label, total)
        return
    if not console.is_terminal:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield from bar.track(items, total=total, description=label)


def _in_notebook(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    """Plain HTML, not a widget: nothing to install, and saved notebooks hold no widget state."""
    from IPython.display import display

    shown, start = display({}, raw=True, display_id=True), time.monotonic()
    drawn = 0.0
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - drawn > INTERVAL:
                shown.update({"text/html": _bar(label, done, total, now - start)}, raw=True)
                drawn = now
            yield item
    finally:
        shown.update({}, raw=True)


def _bar(label: str, done: int, total: int | None, seconds: float) -> str:
    left = f", {seconds / done * (total - done):.0f} s left" if total and done else ""
    size = f'value="{done}" max="{total}"' if total else ""
    count = f"{done}/{total}" if total else str(done)
    return f"{html.escape(label)} <progress {size}></progress> {count}{left}"
