"""Every method by name; nothing is imported until it is asked for."""

from importlib import import_module
from typing import Any

from mechunlearn.errors import unknown

METHODS = {"rmu": "mechunlearn.unlearn.rmu:RMU"}
"""Unlearning methods."""
ATTACKS = {
    "direction_ablation": "mechunlearn.attacks.direction_ablation:DirectionAblation",
    "logit_lens": "mechunlearn.attacks.logit_lens:LogitLens",
}
"""Attacks."""


def find(kind: str, name: str) -> Any:
    """The registered object.

    Args:
        kind: ``method`` or ``attack``.

    Raises:
        ValueError: If the name is not registered, with the nearest one that is.
    """
    table = METHODS if kind == "method" else ATTACKS
    if name not in table:
        raise unknown(kind, name, table, " See: mechunlearn list")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)
