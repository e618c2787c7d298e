"""What a person sees: results on standard output, notes and one progress bar on standard error."""

import html
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

T = TypeVar("T")
NOTEBOOK = Console().is_jupyter
"""Whether this is a notebook's kernel."""
WIDE = 100_000
"""Columns of something that is no terminal: lines are not wrapped there."""


def _console(stderr: bool) -> Console:
    found = Console(stderr=stderr, force_jupyter=False)
    if NOTEBOOK or not found.is_terminal:  # A kernel's streams claim to be a terminal.
        width = 100 if NOTEBOOK else WIDE
        return Console(stderr=stderr, force_jupyter=False, force_terminal=False, width=width)
    return found


console = _console(stderr=True)
"""Notes, warnings and progress go here, in notebooks too."""
INTERVAL = 0.2
"""Seconds between redraws in a notebook."""


def results() -> Console:
    """What was asked for goes here: to standard output as it is now."""
    return _console(stderr=False)


def duration(seconds: float) -> str:
    """Time that is left, at the precision such a guess has.

    Example:
        >>> duration(40), duration(200), duration(9000)
        ('40 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def remaining(done: float, total: float, seconds: float) -> str:
    """``3 min left``, where ``done`` of ``total`` took ``seconds``; empty before anything is done.

    Example:
        >>> remaining(1, 3, 60)
        '2 min left'
    """
    return f"{duration(seconds / done * (total - done))} left" if done > 0 else ""


@dataclass(slots=True)
class _Live:
    """The one bar on the screen; whatever runs inside it adds a line and takes it away."""

    bar: Progress | None = None


_live = _Live()


@contextmanager
def _shown() -> Iterator[Progress]:
    """The bar that is there, or a new one that goes away at the end."""
    if _live.bar is not None:
        yield _live.bar
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        _live.bar = bar
        try:
            yield bar
        finally:
            _live.bar = None


Step = Callable[[str, float], None]
"""Says what was done, and how much work it was."""


@contextmanager
def work(label: str, total: float, n: int) -> Iterator[Step]:
    """A bar over work of known sizes; without a terminal one line for every step.

    Args:
        total: All of the work, in any unit.
        n: Number of steps.

    Yields:
        A function to call after each step.
    """
    start, done, count = time.monotonic(), 0.0, 0

    def note(text: str, size: float) -> str:
        nonlocal done, count
        done, count = done + size, count + 1
        left = remaining(done, total, time.monotonic() - start) if count < n else ""
        console.print(f"{count}/{n} {text}{left and f', {left}'}", style="dim", highlight=False)
        return left

    def line(text: str, size: float) -> None:
        note(text, size)

    if NOTEBOOK or console.quiet or not console.is_terminal:
        yield line
        return
    with _shown() as bar:
        task = bar.add_task(label, total=total, count=f"0/{n}", left="")

        def step(text: str, size: float) -> None:
            left = note(text, size)
            bar.update(task, completed=done, count=f"{count}/{n}", left=left)

        try:
            yield step
        finally:
            bar.remove_task(task)


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """Iterate with a progress bar, on standard error or in the notebook's cell.

    It goes away at the end. Without a terminal or a notebook there is none.
    """
    total = len(items) if isinstance(items, Sized) else None
    if NOTEBOOK:
        yield from _in_notebook(items, label, total)
        return
    if console.quiet or not console.is_terminal:
        yield from items
        return
    start = time.monotonic()
    with _shown() as bar:
        task = bar.add_task(label, total=total, count=f"0/{total or '?'}", left="")
        try:
            for done, item in enumerate(items, start=1):
                yield item
                left = remaining(done, total, time.monotonic() - start) if total else ""
                bar.update(task, completed=done, count=f"{done}/{total or '?'}", left=left)
        finally:
            bar.remove_task(task)


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
