"""Unlearning methods: what the attacks are tried on."""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from mechunlearn.errors import unknown
from mechunlearn.train import TrainLog
from mechunlearn.types import HookedModel, Task

C = TypeVar("C")


@runtime_checkable
class Method(Protocol):
    """An unlearning method: one file, one paper."""

    presets: Mapping[str, Any]
    """Named settings, each with its source."""

    @staticmethod
    def apply_(model: HookedModel, task: Task, config: Any) -> TrainLog:
        """Unlearn the task's forget set in place."""
        ...


def preset_for(model: HookedModel) -> str:
    """The preset that suits a model's size: ``organism``, ``small`` or ``paper``."""
    if model.cfg.d_model <= 256:
        return "organism"
    return "small" if model.cfg.d_model <= 1024 else "paper"


def configured(method: Method, preset: str, changes: Sequence[str] = ()) -> Any:
    """A preset with some settings changed.

    Args:
        changes: ``key=value`` or ``optimizer.key=value``.

    Raises:
        ValueError: For an unknown preset or setting, or a value of the wrong type.
    """
    if preset not in method.presets:
        raise unknown("preset", preset, method.presets)
    config = method.presets[preset]
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign:
            raise ValueError(f"--set takes key=value, not {change!r}")
        config = _changed(config, key.split("."), text)
    return config


def _changed(config: C, path: Sequence[str], text: str) -> C:
    names = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    if path[0] not in names:
        raise unknown("setting", path[0], names)
    before = getattr(config, path[0])
    if len(path) > 1 and dataclasses.is_dataclass(before):
        after: Any = _changed(before, path[1:], text)
    else:
        try:
            after = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            after = text
        if isinstance(before, float) and isinstance(after, int):
            after = float(after)
        if type(after) is not type(before):
            raise ValueError(f"{path[0]} is {before!r}; {text!r} is not of the same type")
    return dataclasses.replace(config, **{path[0]: after})  # type: ignore[type-var]
