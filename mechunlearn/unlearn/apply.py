"""Unlearn a model that is in memory, for notebooks; commands use ``mechunlearn.unlearn.run``."""

from typing import Any

from mechunlearn.models import copied
from mechunlearn.presets import configured, preset_for
from mechunlearn.registry import find
from mechunlearn.types import HookedModel, Task


def unlearn(
    model: HookedModel, task: Task, method: str = "rmu", *, config: Any = None, preset: str = ""
) -> HookedModel:
    """A copy of a model that was made to forget a task's forget set; the model stays as it is.

    Args:
        method: See ``mechunlearn list``.
        config: Settings of the method; default: its preset for a model of this size.
        preset: Another preset, by name.

    Raises:
        ValueError: For an unknown method or preset, or both settings and a preset.

    Example:
        >>> from mechunlearn import load, load_task
        >>> from mechunlearn.train import Optimizer
        >>> from mechunlearn.unlearn.rmu import RMU
        >>> from dataclasses import replace
        >>> short = replace(RMU.presets["organism"], optimizer=Optimizer(steps=1, lr=1e-4))
        >>> unlearn(load("organism:original"), load_task("organism"), config=short).cfg.n_layers
        4
    """
    entry = find("method", method)
    if config is not None and preset:
        raise ValueError("config and preset both choose the settings; give one of them")
    if config is None:
        config = configured(entry, preset or preset_for(entry, model), [])
    forgotten = copied(model)
    entry.apply_(forgotten, task, config)
    return forgotten
