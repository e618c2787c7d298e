"""Plans as TOML: what an audit will do, to read, keep, change and repeat."""

import dataclasses
import json
import tomllib
from pathlib import Path

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.errors import unknown
from mechunlearn.records import Plain, typed

KINDS = {
    "`str`": "a text",
    "`int`": "a whole number",
    "`float`": "a number",
    "`array`": "a list of texts",
}
"""What messages call the kinds of values."""
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
    return plan_from_data(data, where)


def plan_from_data(data: Plain, where: str = "the plan") -> AuditPlan:
    """A plan from plain data, such as a RunCard's settings.

    Args:
        where: What a message calls the data.

    Raises:
        ValueError: If a key is unknown, or a value is of the wrong kind.
    """
    known = [f.name for f in dataclasses.fields(AuditPlan)]
    if strange := next((key for key in data if key not in known), None):
        raise unknown("plan key", strange, known)
    try:
        return typed(data, AuditPlan, where)
    except ValueError as err:
        text = str(err)
        for kind, words in KINDS.items():
            text = text.replace(kind, words)
        raise ValueError(text) from err


def read_plan(file: Path) -> AuditPlan:
    """A plan from a file.

    Raises:
        ValueError: If there is no such file, or no plan in it.
    """
    if not file.is_file():
        raise ValueError(f"there is no plan file {file}; write one with: mechunlearn plan > {file}")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise ValueError(f"{file} is not UTF-8 text, which a plan is") from err
    return plan_from_toml(text, str(file))
