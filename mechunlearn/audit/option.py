"""How a field of a plan is given on a command line, and how times are."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """How a field of the plan is given on a command line, and what depends on it."""

    flag: str
    help: str
    identity: bool = True
    """Whether the results of the unlearned model depend on it."""
    commas: bool = False
    """Whether several values may stand in one, between commas."""
    audit_only: bool = False
    """Whether ``plan`` does not take it."""


def option(default: Any, flag: str, help_: str, **about: bool) -> Any:
    """A field of the plan with its command-line option."""
    metadata = {"option": Option(flag, help_, **about)}
    return dataclasses.field(default=default, metadata=metadata)


def seconds(budget: str) -> float | None:
    """A budget in seconds; ``None`` without one.

    Raises:
        ValueError: If it is no positive number with a unit.

    Example:
        >>> seconds("30m"), seconds("1.5h"), seconds("")
        (1800.0, 5400.0, None)
    """
    if not budget:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if not match or float(match[1]) == 0:
        raise ValueError(f"a budget is a positive time such as 90s, 30m or 2h, not {budget!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
