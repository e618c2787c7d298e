"""Unlearning and safety-training methods: what the attacks are tried on."""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, runtime_checkable

from mechunlearn.errors import unknown
from mechunlearn.lora import LoRA
from mechunlearn.train import Loss, Optimizer, TrainLog, Watch, fit, trained
from mechunlearn.types import HookedModel, Task

C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every method has to be told.

    Raises:
        ValueError: If a count is not positive.
    """

    optimizer: Optimizer
    batch: int = 4
    """Forget examples, and retain examples, per step."""
    max_tokens: int = 512
    """Longest example."""
    lora: LoRA = LoRA()
    """Rank 0 trains the weights themselves."""
    seed: int = 42

    def __post_init__(self) -> None:
        if self.batch < 1 or self.max_tokens < 2:
            raise ValueError(f"batch and max_tokens must be at least 1 and 2, not {self}")


@runtime_checkable
class Method(Protocol):
    """An unlearning method: one file, one paper."""

    presets: Mapping[str, Any]
    """Named settings, each with its source."""
    stronger: str
    """Settings that make it forget more, for the message when nothing was forgotten."""
    gentler: str
    """Settings that keep more, for the message when the retain set collapses."""

    @staticmethod
    def apply_(model: HookedModel, task: Task, config: Any, watch: Watch | None = None) -> TrainLog:
        """Unlearn the task's forget set in place."""
        ...


def train_(
    model: HookedModel,
    loss: Loss,
    config: Settings,
    *,
    label: str,
    watch: Watch | None,
) -> TrainLog:
    """Minimise ``loss`` over the weights, or over adapters that are merged at the end."""
    with trained(model, config.lora, seed=config.seed) as (parameters, adapter):
        log = fit(
            parameters,
            loss,
            config.optimizer,
            label=label,
            watch=watch,
            model=model,
            seed=config.seed,
        )
    return log.having(adapter)


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
    types = {f.name: f.type for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    if path[0] not in types:
        raise unknown("setting", path[0], types)
    before = getattr(config, path[0])
    if len(path) > 1 and dataclasses.is_dataclass(before):
        after: Any = _changed(before, path[1:], text)
    else:
        try:
            after = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            after = text
        if isinstance(before, float) and type(after) is int:
            after = float(after)
        if get_origin(types[path[0]]) is Literal and after not in get_args(types[path[0]]):
            raise unknown(path[0], text, get_args(types[path[0]]))
        if type(after) is not type(before):
            raise ValueError(f"{path[0]} is {before!r}; {text!r} is not of the same type")
    return dataclasses.replace(config, **{path[0]: after})  # type: ignore[type-var]
