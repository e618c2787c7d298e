"""What a run would refuse once its models are there, said before they are loaded."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mechunlearn.attacks import Seen
from mechunlearn.audit.cells import Setup
from mechunlearn.audit.select import Deciding
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.bench.rotation import context_of
from mechunlearn.bench.rows import tokens_needed
from mechunlearn.hooks import foreign_hooks
from mechunlearn.models import checksum, configuration
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.registry import find
from mechunlearn.types import HookedModel, Question, Task
from mechunlearn.unlearn import Settings


@contextmanager
def untouched(model: HookedModel, attack: str) -> Iterator[None]:
    """Make sure that an attack leaves a model as it found it, since others come after it.

    Raises:
        ValueError: If weights differ afterwards, or a hook stayed.
    """
    weights, hooks = checksum(model), foreign_hooks(model, changes=True)
    yield
    left = []
    if checksum(model) != weights:
        left.append("other weights")
    if foreign_hooks(model, changes=True) and not hooks:
        left.append("hooks")
    if left:
        raise ValueError(
            f"{attack} left {' and '.join(left)} in the model that it looked at, so that whatever "
            "comes after it would be wrong: let it put them back (changes of weights belong into a "
            "Change's edits, hooks into a with block); what it found was not kept"
        )


def refuse(setup: Setup) -> None:
    """Let methods and attacks look at their settings, the task and the number of blocks.

    Every question has to fit the context as the task asks it.

    Raises:
        ValueError: As the first of them says, with its name.
    """
    resolved, task = setup.resolved, setup.task
    tokenizer = load_tokenizer(setup.plan.original, trust_remote_code=setup.plan.trust_remote_code)
    for name, config in resolved.methods.items():
        if isinstance(config, Settings):
            with told(name):
                config.check(setup.layers)
    _refuse_too_long(setup, tokenizer)
    generates = find("measure", task.scoring).generates
    for name in setup.attacks:
        config, attack = resolved.attacks[name], find("attack", name)
        if generates and not attack.generates:
            raise ValueError(
                f"{name} reads inside the model, and {task.scoring} judges generated text; leave "
                "it out of --attacks, or choose what is read token by token with --set "
                "task.scoring=probability, extraction_strength or cloze"
            )
        if setup.experts and setup.by_name(name):
            adapters = any(f.name == "lora" for f in dataclasses.fields(config))
            others = (
                f", or let its adapters be of attention only: --set {name}.lora.targets=q,k,v,o"
            )
            raise ValueError(
                f"{name} changes weight matrices by their names, and this model is a mixture of "
                f"{setup.experts} experts a block, which have none; leave it out of --attacks"
                f"{others if adapters else ''}"
            )
        seen = Seen.of(task, attack, name=name, config=config, tokenizer=tokenizer)
        with told(name):
            Deciding.of(task, name, attack.splits(config))
            attack.check(config, seen, setup.layers)


def _refuse_too_long(setup: Setup, tokenizer: Any) -> None:
    """Measure every question that is asked, also those behind the stem of another one."""
    original, trust, task = setup.plan.original, setup.plan.trust_remote_code, setup.task
    if not (context := context_of(configuration(original, trust_remote_code=trust))):
        return
    twins = {q: None for entry in setup.entries for q in setup.twins(entry.label)}
    asked = [*_asked(task), *twins]
    for scoring in (task.scoring, *task.also):
        needed = tokens_needed(tokenizer, asked, task.prompt, scoring)
        longest = max(range(len(asked)), key=needed.__getitem__)
        if needed[longest] > context:
            raise ValueError(
                f"the question that begins {asked[longest].stem[:60]!r} takes {needed[longest]} "
                f"tokens as {scoring} asks it, with its answer, but the context of {original} is "
                f"{context}; shorten the question or what the prompt has around it, or leave the "
                "question out of the task"
            )


@contextmanager
def told(name: str) -> Iterator[None]:
    """Errors say whose they are: a method's, or those of an attack on a model."""
    try:
        yield
    except ValueError as err:
        raise ValueError(f"{name}: {str(err).removeprefix(f'{name}: ')}") from err
    except Exception as err:
        err.add_note(name)
        raise


def _asked(task: Task) -> list[Question]:
    """Every question that an audit asks but for twins, also behind the stem of another one."""
    sets = [q for questions in task.sets.values() for q in questions]
    return [*sets, *with_other_stems(task.questions("forget", "confirm"))]
