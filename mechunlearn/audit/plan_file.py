"""Plans as TOML: what an audit will do, to read, keep, change and repeat."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.errors import unknown

HEADER = "# An audit's plan; run it with: mechunlearn audit --plan FILE --out FOLDER\n"


def plan_toml(plan: AuditPlan) -> str:
    """The plan as TOML, which ``plan_from_toml`` reads back to an equal plan.

    Example:
        >>> plan = AuditPlan(methods=("rmu", "npo"), changes=("rmu.alpha=3.0",))
        >>> plan_from_toml(plan_toml(plan)) == plan
        True
    """
    # JSON's strings, numbers, lists of strings and booleans are TOML's.
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plan.to_dict().items()
    ]
    return HEADER + "\n".join(lines) + "\n"


def plan_from_toml(text: str, where: str = "the plan") -> AuditPlan:
    """A plan from TOML.

    Args:
        where: What a message calls the text.

    Raises:
        ValueError: If it is no TOML, a key is unknown, or a value is of the wrong kind.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ValueError(f"{where} is not valid TOML ({err})") from err
    return plan_from_data(data)


def plan_from_data(data: Mapping[str, Any]) -> AuditPlan:
    """A plan from plain data, such as a RunCard's settings.

    Raises:
        ValueError: If a key is unknown, or a value is of the wrong kind.
    """
    fields = {f.name: f for f in dataclasses.fields(AuditPlan)}
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in fields:
            raise unknown("plan key", key, fields)
        values[key] = _typed(key, value, fields[key].default)
    return AuditPlan(**values)


def _typed(key: str, value: Any, default: Any) -> Any:
    """A value of the default's type."""
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        raise ValueError(f"{key} in a plan is a list of texts, not {value!r}")
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        kind = {str: "a text", int: "a whole number", float: "a number"}[type(default)]
        raise ValueError(f"{key} in a plan is {kind}, not {value!r}")
    return value


def read_plan(file: Path) -> AuditPlan:
    """A plan from a file.

    Raises:
        ValueError: If there is no such file, or no plan in it.
    """
    if not file.is_file():
        raise ValueError(f"there is no plan file {file}; write one with: mechunlearn plan > {file}")
    return plan_from_toml(file.read_text(encoding="utf-8"), str(file))
