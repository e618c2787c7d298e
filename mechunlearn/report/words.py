"""Numbers and names as the page, the notebooks and the terminal show them."""

from collections.abc import Mapping, Sequence
from typing import Any

DASH = "–"


def percent(value: float | None, ci: Sequence[float] | None = None) -> str:
    """``0.253`` as ``25.3``, with its interval where there is one; a dash for nothing."""
    if value is None:
        return DASH
    return f"{100 * value:.1f}" + (f" [{100 * ci[0]:.0f}, {100 * ci[1]:.0f}]" if ci else "")


def p_value(value: float | None) -> str:
    """A probability at one digit; below 0.001 only that."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_is(value: float) -> str:
    """``p = 0.03``, or ``p < 0.001``."""
    shown = p_value(value)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def operations(flops: float | int) -> str:
    """Arithmetic at two digits: ``500 GFLOP``."""
    units = ["", "k", "M", "G", "T", "P", "E"]
    while flops >= 1000 and len(units) > 1:
        flops, units = flops / 1000, units[1:]
    return f"{flops:.0f} {units[0]}FLOP" if flops >= 10 else f"{flops:.1f} {units[0]}FLOP"


def words(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""

    def value(v: Any) -> str:
        if isinstance(v, list) and len(v) > 3 and v == list(range(v[0], v[-1] + 1)):
            return f"{v[0]} to {v[-1]}"
        return ", ".join(map(str, v)) if isinstance(v, list) else str(v).replace("_", " ")

    return "; ".join(f"{k.replace('_', ' ')} {value(v)}" for k, v in settings.items())


def name(key: str) -> str:
    """A key of the report as words."""
    return key.replace("never_knew", "never-knew").replace("_", " ")


def without(settings: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Settings less what was measured with them."""
    return {k: v for k, v in settings.items() if k not in keys}
