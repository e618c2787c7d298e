"""The package's own errors, and the sentences of two that are often needed."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class PrerequisiteError(RuntimeError):
    """A package, download or browser is missing; the text says how to get it."""


class BudgetError(ValueError):
    """The time that is allowed is too short for anything."""


def refuse_existing(paths: Iterable[Path], option: str = "--out") -> None:
    """Refuse to write where something is already.

    Args:
        option: That names the place.

    Raises:
        FileExistsError: With the first path that exists.
    """
    if there := next((path for path in paths if path.exists() or path.is_symlink()), None):
        raise FileExistsError(
            f"{there} exists; nothing was written: --force replaces it, or choose another {option}"
        )


def unknown(kind: str, given: str, known: Iterable[str], hint: str = "") -> ValueError:
    """The error for an unknown name: what was given, the nearest known name, and what is allowed.

    Example:
        >>> str(unknown("attack", "logit_lense", ["logit_lens", "gcg"]))
        "unknown attack 'logit_lense'; did you mean 'logit_lens'? Known: gcg, logit_lens."
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return ValueError(f"unknown {kind} {given!r}{guess} Known: {', '.join(names)}.{hint}")
