"""Named settings of methods and attacks, and how a command line changes them."""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, runtime_checkable

from mechunlearn.errors import unknown
from mechunlearn.types import HookedModel

Size = Literal["organism", "chat", "small", "large"]
"""Of a model: up to a width of 128, of 256, of 1,024, and above. The first two are named after the
shipped models, on which their settings were found."""
C = TypeVar("C")


@runtime_checkable
class HasPresets(Protocol):
    """A method or an attack with settings."""

    @property
    def presets(self) -> Mapping[str, Any]:
        """Named settings: ``paper``, ``small`` (100M parameters), ``organism``, and others."""
        ...


def size_of(d_model: int) -> Size:
    """Which settings suit a model of this width."""
    if d_model <= 256:
        return "organism" if d_model <= 128 else "chat"
    return "small" if d_model <= 1024 else "large"


def preset_of_size(method: HasPresets, size: Size) -> str:
    """The preset of an unlearning method: large models get the published one.

    Where nothing was found for the chat organisms, what suits the others suits them.
    """
    if size == "chat" and size not in method.presets:
        return "organism"
    return "paper" if size == "large" else size


def preset_for(method: HasPresets, model: HookedModel) -> str:
    """The preset of an unlearning method that suits a model."""
    return preset_of_size(method, size_of(model.cfg.d_model))


def configured(entry: HasPresets, preset: str, changes: Sequence[str] = ()) -> Any:
    """A preset with some settings changed.

    Args:
        changes: ``key=value`` or ``optimizer.key=value``; ``preset=name`` takes another preset.

    Raises:
        ValueError: For an unknown preset or setting, or a value of the wrong type.
    """
    for change in changes:
        if change.startswith("preset="):
            preset = change.removeprefix("preset=")
    if preset not in entry.presets:
        raise unknown("preset", preset, entry.presets)
    return changed(entry.presets[preset], [c for c in changes if not c.startswith("preset=")])


def reseeded(config: C, by: int) -> C:
    """Settings whose seeds are moved by so much; several seeds make room for each other.

    Example:
        >>> from mechunlearn.attacks.relearning_settings import RelearningConfig
        >>> reseeded(RelearningConfig(rates=(1e-3,), steps=1, seeds=(0, 1)), 2).seeds
        (4, 5)
    """
    if not by or not dataclasses.is_dataclass(config):
        return config
    moved: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "seed":
            moved[field.name] = value + by
        elif field.name == "seeds":
            moved[field.name] = tuple(seed + by * len(value) for seed in value)
        elif dataclasses.is_dataclass(value):
            moved[field.name] = reseeded(value, by)
    return dataclasses.replace(config, **moved)  # type: ignore[type-var]


def owner_of(change: str) -> str:
    """The method or attack whose setting ``NAME.key=value`` changes, or ``task``.

    Raises:
        ValueError: If it is no such text.
    """
    owner, dot, rest = change.partition(".")
    key, sign, _ = rest.partition("=")
    if not (dot and sign and key.strip() and owner.isidentifier()):
        raise ValueError(f"--set {change!r} is no NAME.key=value, such as rmu.alpha=3")
    return owner


def check_each_once(changes: Sequence[str]) -> None:
    """Refuse a setting that is given twice, as only one of the values would count.

    Raises:
        ValueError: If one is; names it.
    """
    keys = [change.partition("=")[0].strip() for change in changes]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f"--set names {twice!r} twice; leave one out")


def changed(config: C, changes: Sequence[str]) -> C:
    """Settings with some of them changed by ``key=value``.

    Raises:
        ValueError: For an unknown setting, or a value of the wrong type.
    """
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign:
            raise ValueError(f"--set takes key=value, not {change!r}")
        config = _changed(config, key.split("."), text)
    return config


def _changed(config: C, path: Sequence[str], text: str) -> C:
    types = {f.name: f.type for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    if path[0] not in types:
        raise unknown("setting", path[0], types)
    before = getattr(config, path[0])
    if len(path) > 1 and dataclasses.is_dataclass(before):
        after: Any = _changed(before, path[1:], text)
    else:
        after = _like(before, _value(text), text)
        if get_origin(types[path[0]]) is Literal and after not in get_args(types[path[0]]):
            raise unknown(path[0], text, get_args(types[path[0]]))
        if after is None:
            raise ValueError(f"{path[0]} is {before!r}; {text!r} is not of the same type")
    return dataclasses.replace(config, **{path[0]: after})  # type: ignore[type-var]


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _like(before: Any, after: Any, text: str) -> Any:
    """A value of the same type as ``before``; ``None`` where it is of another.

    A whole number may stand for a real one, and ``q,v`` or a single value for a tuple.
    """
    if isinstance(before, tuple):
        given = text.split(",") if isinstance(after, str) else after
        given = given if isinstance(given, tuple | list) else (given,)
        parts = [_like(before[0], x, str(x)) if before else x for x in given]
        return None if None in parts else tuple(parts)
    if isinstance(before, float) and type(after) is int:
        return float(after)
    return after if type(after) is type(before) else None
