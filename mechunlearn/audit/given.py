"""What a plan must not be given: other types, one model twice, attacks on weights that hide."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from mechunlearn.audit.labels import split_label
from mechunlearn.registry import find, names

WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "True or False"}


def of_their_types(plan: Any) -> dict[str, Any]:
    """A plan's values by field, with tuples of texts for any lists of them.

    Raises:
        ValueError: If one has another type than its default.
    """
    values = {}
    for field in dataclasses.fields(plan):
        value, kind = getattr(plan, field.name), type(field.default)
        if kind is tuple and not (field.name == "control" and isinstance(value, str)):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise ValueError(f"{field.name} is a list of texts, not {value!r}")
            if odd := [x for x in value if not isinstance(x, str)]:
                raise ValueError(f"{field.name} is a list of texts, and {odd[0]!r} is none")
            value = tuple(value)
        elif kind is not tuple:
            truth = isinstance(value, bool)
            if kind is float and isinstance(value, int) and not truth:
                value = float(value)
            if not isinstance(value, kind) or truth != (kind is bool):
                raise ValueError(f"{field.name} is {WORDS[kind]}, not {value!r}")
        values[field.name] = value
    return values


def refuse_weights(dtype: str, attacks: Sequence[str], methods: Sequence[str]) -> None:
    """Quantised weights can be used, but not read or written.

    Raises:
        ValueError: If an attack or a method needs that.
    """
    able = [a for a in names("attack") if "weights" not in find("attack", a).access]
    refused = [a for a in attacks if a not in able]
    if refused or methods:
        raise ValueError(
            f"--dtype {dtype}: {', '.join([*refused, *methods])} must read or change weights, "
            "which quantised models hide; use another --dtype, or with --unlearned only --attacks "
            f"{','.join(able)}"
        )


def refuse_one_folder(models: Sequence[str], flag: str, labels: bool = False) -> None:
    """Two spellings of one folder, such as ``a/rmu`` and ``./a/rmu``, are one model.

    Args:
        flag: The option that messages name.
        labels: Whether models may be ``LABEL=MODEL``; those may be the same.

    Raises:
        ValueError: If two are one.
    """
    known: dict[str, str] = {}
    for model in models:
        if labels and split_label(model)[0] is not None:
            continue
        place = os.path.realpath(model)
        if known.get(place) == model:
            raise ValueError(f"{flag} names {model!r} twice; leave one out")
        if place in known:
            raise ValueError(f"{flag} {known[place]!r} and {model!r} are one folder; leave one out")
        known[place] = model
