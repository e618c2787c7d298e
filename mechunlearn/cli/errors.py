"""What a command says when it cannot go on: one line, whatever went wrong."""

import struct
import traceback
from typing import Any

import typer

from mechunlearn.errors import PrerequisiteError

LONGEST = 600
"""Characters of a message; libraries print whole kernels."""
ClickException: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Of the click that typer has inside, whichever that is."""
UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")
PLAIN = (ValueError, OSError, PrerequisiteError, ClickException)
"""Their text is a whole message."""
LESS_MEMORY = "take fewer questions, a shorter context, another --dtype or --device"
KNOWN: dict[str, str] = {
    "MemoryError": f"there is not enough memory; {LESS_MEMORY}",
    "OutOfMemoryError": f"the device's memory is full; {LESS_MEMORY}",
    "RecursionError": "something is nested too deeply; a file of the model or task may be damaged",
    "SafetensorError": "a .safetensors file is damaged; copy or fetch it again",
    "UnpicklingError": "a file of weights is damaged; copy or fetch it again",
    "BadZipFile": "a file of weights is damaged; copy or fetch it again",
    "AcceleratorError": "the device failed; look at it with: mechunlearn doctor",
    "ImportError": "a package is missing or broken; look with: mechunlearn doctor",
    "ConnectError": "the network cannot be reached; give local folders, or set HF_HUB_OFFLINE=1",
    "EOFError": "the input or a file ends too early; if a file is damaged, copy it again",
    "Abort": "the input ended before the command did",
}
"""By the name of the exception or of a class it is derived from; these need no heavy import."""
FULL = "No space left on device"
"""Whoever met it, and in whichever words beside."""
BUG = "this may be a bug in mechunlearn; the same command with --debug shows the traceback"


def explained(err: BaseException) -> str:
    """One line on what happened and what to do, without the word "error" in front.

    Errors that nobody raised on purpose say that they may be a bug, and how to see where.

    Example:
        >>> explained(ValueError("shots must be 0 or more, not -1"))
        'shots must be 0 or more, not -1'
        >>> explained(MemoryError()).startswith("there is not enough memory; take fewer")
        True
        >>> explained(KeyError("glow")).startswith("KeyError: 'glow'; this may be a bug")
        True
    """
    text = _shortened(err.format_message() if isinstance(err, ClickException) else str(err))  # type: ignore[attr-defined]
    if isinstance(err, UsageError) and err.ctx:  # type: ignore[attr-defined]
        text = f"{text.rstrip('.')}; see: {err.ctx.command_path} --help"  # type: ignore[attr-defined]
    names = [c.__name__ for c in type(err).__mro__]
    if isinstance(err, struct.error):  # Its class is called "error", as many are.
        return f"a file is damaged or cut short: {text}"
    if FULL in text:
        return f"the disk is full; make room, or choose another --out ({text})"
    if advice := next((KNOWN[name] for name in names if name in KNOWN), ""):
        return f"{advice} ({text})" if text else advice
    if isinstance(err, OSError) and err.errno and err.filename:
        return f"{text.partition('] ')[2] or text}; check the path, or choose another --out"
    if text and (isinstance(err, PLAIN) or _on_purpose(err)):
        return text
    where = "".join(f"{note}: " for note in getattr(err, "__notes__", ()))
    return f"{where}{names[0]}: {text}; {BUG}" if text else f"{where}{names[0]}; {BUG}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _on_purpose(err: BaseException) -> bool:
    """Whether a statement of this package raised it, and not something that failed inside it."""
    frames = traceback.extract_tb(err.__traceback__)
    if not frames:
        return False
    root = __file__.rpartition("cli")[0]
    return frames[-1].filename.startswith(root) and (frames[-1].line or "").startswith("raise ")
