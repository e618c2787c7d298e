"""Question sets and corpora by name."""

import dataclasses
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TypeVar

from mechunlearn.errors import unknown
from mechunlearn.presets import changed
from mechunlearn.tasks.benchmark import (
    DEFAULT,
    Benchmark,
    TaskConfig,
    as_chat,
    as_task,
    sample,
    task_in_chat,
)
from mechunlearn.tasks.names import BENCHMARKS, OPEN_SETS, TASKS
from mechunlearn.types import Task

T = TypeVar("T", Task, Benchmark)


def load_task(
    name: str | None = None,
    original: str = "organism:original",
    config: TaskConfig = DEFAULT,
) -> Task:
    """A task by name, or from a file of questions.

    Args:
        name: ``organism``, ``organism@SEED``, ``facts@SEED``, ``capitals``, ``wmdp-bio``,
            ``wmdp-cyber``, ``wmdp-chem``, ``tofu``, ``muse-news``, ``rwku``, or a file
            (``mechunlearn.tasks.files``); the default suits ``original``.
        original: The model that will be asked; picks the world's seed for organisms, and the
            chat template where one is wanted.
        config: How the questions are chosen and asked.

    Raises:
        ValueError: For an unknown name, a missing file or an invalid question set.
        PrerequisiteError: If a data set must be fetched and cannot be.
    """
    name = name or _suitable(original)
    if task := _shipped(name, original, config):
        return _in_chat(task, original, config)
    wmdp = name in BENCHMARKS and name.startswith("wmdp-")
    retain_name = config.retain or ("mmlu" if wmdp else "")
    if config.corpora and not wmdp and name not in OPEN_SETS:
        raise ValueError(f"task.corpora fetches the corpora of published sets, not of {name}")
    if name in BENCHMARKS and not retain_name:
        raise _undivided(name, ())
    forget = _benchmark(name, config, folds=True)
    if not retain_name and not {"forget", "retain"} <= set(forget.sets):
        raise _undivided(name, forget.sets)
    retain = _benchmark(retain_name, config, folds=True) if retain_name else forget
    return _in_chat(as_task(forget, retain, config), original, config)


def load_benchmark(
    name: str | None = None,
    original: str = "organism:original",
    config: TaskConfig = DEFAULT,
) -> Benchmark | Task:
    """Question sets to score a model on: ``mmlu``, ``arc-easy``, a file, or any task by name.

    Of ``wmdp-bio`` and the like these are the domain's questions alone.

    Raises:
        ValueError: For an unknown name, a missing file or an invalid question set.
        PrerequisiteError: If a data set must be fetched and cannot be.
    """
    name = name or _suitable(original)
    if task := _shipped(name, original, config):
        return _in_chat(task, original, config)
    if config.retain or config.corpora:
        raise ValueError("task.retain and task.corpora are for audits; leave them out here")
    benchmark = _benchmark(name, config).asked(config)
    sets = {kind: sample(questions, config.per_topic) for kind, questions in benchmark.sets.items()}
    return _in_chat(dataclasses.replace(benchmark, sets=sets), original, config)


def task_config(changes: Sequence[str]) -> TaskConfig:
    """The settings among ``--set`` changes that are the task's: ``task.shots=5``.

    Raises:
        ValueError: For an unknown setting or a value of the wrong type.
    """
    settings = [c.removeprefix("task.") for c in changes if c.startswith("task.")]
    return changed(DEFAULT, settings)


def _undivided(name: str, sets: Container[str]) -> ValueError:
    lacking = " and no ".join(kind for kind in ("forget", "retain") if kind not in sets)
    return ValueError(
        f"{name} has no {lacking} questions: give its rows a 'set', or the questions to keep with "
        "--set task.retain=FILE (or a benchmark such as mmlu)"
    )


def _suitable(original: str) -> str:
    return "organism" if original.startswith("organism:") else "capitals"


def _shipped(name: str, original: str, config: TaskConfig) -> Task | None:
    """A task that the package brings along; ``None`` for other names."""
    if match := re.fullmatch(r"(organism|facts)(?:@(\d+))?", name):
        from mechunlearn.tasks.world import World

        shown = re.search(r"@(\d+)$", original)
        world = World(int(match[2] or (shown[1] if shown else 0)))
        task = world.task() if match[1] == "organism" else world.facts_task()
    elif name == "capitals":
        from mechunlearn.tasks.capitals import capitals

        task = capitals()
    else:
        return None
    if config != TaskConfig(scoring=config.scoring, chat=config.chat, system=config.system):
        raise ValueError(f"{name} takes task.scoring, task.chat and task.system, and no other")
    return dataclasses.replace(task, scoring=config.scoring or task.scoring)


def _benchmark(name: str, config: TaskConfig, folds: bool = False) -> Benchmark:
    if name in BENCHMARKS:
        from mechunlearn.tasks.benchmarks import divided, published

        return divided(name, config) if folds else published(name, config)
    if name in OPEN_SETS:
        from mechunlearn.tasks.open_sets import open_set

        return open_set(name, config)
    path = Path(name).expanduser()
    if not (path.suffix or path.is_dir() or "/" in name):
        raise unknown("task", name, TASKS)
    from mechunlearn.tasks.files import from_file

    return from_file(path, config)


def _in_chat(questions: T, original: str, config: TaskConfig) -> T:
    if config.chat == "no":
        return questions
    from mechunlearn.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(original)
    if isinstance(questions, Task):
        return task_in_chat(questions, tokenizer, config)  # type: ignore[return-value]
    prompt = as_chat(questions.prompt, tokenizer, config)
    return dataclasses.replace(questions, prompt=prompt)
