"""Question sets and corpora by name."""

import dataclasses
import json
import re
from collections.abc import Container, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mechunlearn.errors import unknown
from mechunlearn.models.sources import SHIPPED, named_models
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
from mechunlearn.tasks.files import from_file, from_rows
from mechunlearn.tasks.names import BENCHMARKS, OPEN_SETS, TASKS
from mechunlearn.tasks.reader import Rows, numbered
from mechunlearn.types import Task

T = TypeVar("T", Task, Benchmark)


def load_task(
    name: str | None = None,
    original: str = "organism:original",
    config: TaskConfig = DEFAULT,
    *,
    trust_remote_code: bool = False,
) -> Task:
    """A task by name, or from a file of questions.

    Args:
        name: ``organism``, ``organism@SEED``, ``facts@SEED``, ``chat@SEED``, ``capitals``,
            ``wmdp-bio``, ``wmdp-cyber``, ``wmdp-chem``, ``tofu``, ``muse-news``, ``rwku``, or a
            file (``mechunlearn.tasks.files``); a default is known of shipped models only.
        original: The model that will be asked; picks the world's seed for organisms, and the
            chat template where one is wanted.
        config: How the questions are chosen and asked.
        trust_remote_code: Allow code that comes with the original's tokenizer, whose chat template
            may be read, to run.

    Raises:
        ValueError: For an unknown name, a missing file or an invalid question set.
        PrerequisiteError: If a data set must be fetched and cannot be.
    """
    name = name or _suitable(original)
    if task := _shipped(name, original, config, trust_remote_code):
        task = _with_twins(task, config)
        task = dataclasses.replace(task, samples=config.samples)
        return _in_chat(task, original, config, trust_remote_code)
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
    task = _with_twins(as_task(forget, retain, config), config)
    return _in_chat(task, original, config, trust_remote_code)


def task_from(
    forget: Rows, retain: Rows | str = "", *, name: str = "mine", config: TaskConfig = DEFAULT
) -> Task:
    """A task from questions that are in memory.

    Args:
        forget: Rows as a question file has them (``mechunlearn.tasks.files``): dictionaries, a data
            frame of pandas or polars, or a data set of the Hub's ``datasets``. Rows with a ``set``
            can hold everything; without it all are to be forgotten.
        retain: The questions to keep, likewise, or the name of a benchmark or file.
        config: How the questions are chosen and asked.

    Raises:
        ValueError: Naming the row of whatever is missing or wrong, or a setting that needs a model
            or fetches something: those are for ``load_task``.

    Example:
        >>> rows = [{"question": f"{a} + 1 =", "A": str(a), "B": str(a + 1), "answer": "B"}
        ...         for a in range(20)]
        >>> task = task_from(rows[:10], rows[10:])
        >>> len(task.forget), len(task.questions("forget", "select")), task.chance
        (10, 4, 0.5)
    """
    for setting in ("chat", "retain", "twins", "corpora"):
        if getattr(config, setting) not in (getattr(DEFAULT, setting), "none"):
            raise ValueError(
                f"task_from does not take the setting {setting}: give retain and twin questions as "
                "rows; for a chat template use task_in_chat(task, model.tokenizer, config)"
            )
    first = from_rows(numbered(forget), name, config)
    if isinstance(retain, str):
        if not retain and not {"forget", "retain"} <= set(first.sets):
            raise _undivided(name, first.sets)
        second = _benchmark(retain, config, folds=True) if retain else first
    else:
        second = from_rows(numbered(retain), f"{name}, retain", config)
    return as_task(first, second, config)


def load_benchmark(
    name: str | None = None,
    original: str = "organism:original",
    config: TaskConfig = DEFAULT,
    *,
    trust_remote_code: bool = False,
) -> Benchmark | Task:
    """Question sets to score a model on: ``mmlu``, ``arc-easy``, a file, or any task by name.

    Of ``wmdp-bio`` and the like these are the domain's questions alone.

    Raises:
        ValueError: For an unknown name, a missing file or an invalid question set.
        PrerequisiteError: If a data set must be fetched and cannot be.
    """
    name = name or _suitable(original)
    if task := _shipped(name, original, config, trust_remote_code):
        return _in_chat(task, original, config, trust_remote_code)
    if config.retain or config.corpora:
        raise ValueError("task.retain and task.corpora are for audits; leave them out here")
    benchmark = _benchmark(name, config).asked(config)
    sets = {kind: sample(questions, config.per_topic) for kind, questions in benchmark.sets.items()}
    benchmark = dataclasses.replace(benchmark, sets=sets)
    return _in_chat(benchmark, original, config, trust_remote_code)


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
    """The task of a model whose training is known here.

    Raises:
        ValueError: For all others; a guess would be scored as if it were meant.
    """
    kind = original.partition(":")[0]
    if kind != original and kind in SHIPPED:
        return SHIPPED[kind].task
    if original in named_models():
        return "capitals"
    made = _made_with(Path(original) / "runcard.json")
    raise ValueError(
        f"which task is {original} to be asked? Give --task: a name (mechunlearn list), a "
        f"benchmark or a file{made}"
    )


def _made_with(card: Path) -> str:
    """What a checkpoint that was unlearned here was made to forget."""
    try:
        task = json.loads(card.read_text(encoding="utf-8"))["task"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"; it was made to forget {str(task)[:80]}"


def _shipped(name: str, original: str, config: TaskConfig, trust_remote_code: bool) -> Task | None:
    """A task that the package brings along; ``None`` for other names."""
    if match := re.fullmatch(r"(organism|facts)(?:@(\d+))?", name):
        task = _world(match[1], int(match[2] or _seed(original)))
    elif match := re.fullmatch(r"(chat|chat-open)(?:@(\d+))?", name):
        from mechunlearn.models.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(original, trust_remote_code=trust_remote_code)
        task = _people(match[1], int(match[2] or _seed(original)), tokenizer, config)
    elif name == "capitals":
        from mechunlearn.tasks.capitals import capitals

        task = capitals()
    elif name == "countries":
        from mechunlearn.tasks.countries import country_task

        task = country_task()
    else:
        return None
    if config != TaskConfig(
        scoring=config.scoring,
        also=config.also,
        samples=config.samples,
        chat=config.chat,
        system=config.system,
        twins=config.twins,
    ):
        raise ValueError(
            f"{name} takes task.scoring, task.also, task.samples, task.chat, task.system and "
            "task.twins, and no other"
        )
    scoring = config.scoring or task.scoring
    also = config.beside(tuple(name for name in task.also if name != scoring))
    return dataclasses.replace(task, scoring=scoring, also=also)


def _with_twins(task: Task, config: TaskConfig) -> Task:
    """The task with the questions that nobody can know as ``config`` wants them."""
    if not config.twins:
        return task
    if config.twins == "none":
        return dataclasses.replace(task, twins=())
    from mechunlearn.tasks.benchmarks import TWINS, rewritten

    if config.twins in TWINS:
        return dataclasses.replace(task, twins=rewritten(config.twins, config))
    path = Path(config.twins).expanduser()
    if not path.suffix and not path.is_dir():
        raise unknown("set of twin questions", config.twins, ("none", *TWINS, "a file"))
    from mechunlearn.tasks.files import from_file

    sets = from_file(path).sets
    own = sets.get("twin") or tuple(q for questions in sets.values() for q in questions)
    return dataclasses.replace(task, twins=own)


def _seed(original: str) -> int:
    shown = re.search(r"@(\d+)$", original)
    return int(shown[1]) if shown else 0


@lru_cache(maxsize=8)
def _world(name: str, seed: int) -> Task:
    """A small organisms' task, which takes 0.2 s to make and is asked for several times."""
    from mechunlearn.tasks.world import World

    world = World(seed)
    return world.task() if name == "organism" else world.facts_task()


def _people(name: str, seed: int, tokenizer: Any, config: TaskConfig) -> Task:
    """The chat organisms' task; methods train on chat where the original has such a template."""
    from mechunlearn.tasks.chat import user_turn
    from mechunlearn.tasks.people import People

    turn = user_turn(tokenizer) if tokenizer.chat_template else None
    if name == "chat":
        return People(seed).task(turn)
    return People(seed).open_task(turn, spoken=config.chat != "no")


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
    return from_file(path, config)


def _in_chat(questions: T, original: str, config: TaskConfig, trust_remote_code: bool) -> T:
    if config.chat == "no":
        return questions
    from mechunlearn.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(original, trust_remote_code=trust_remote_code)
    if isinstance(questions, Task):
        return task_in_chat(questions, tokenizer, config)  # type: ignore[return-value]
    prompt = as_chat(questions.prompt, tokenizer, config)
    return dataclasses.replace(questions, prompt=prompt)
