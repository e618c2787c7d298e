"""What a run would refuse once its models are there, said before they are loaded."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from mechunlearn.attacks import Seen
from mechunlearn.audit.cells import Setup
from mechunlearn.audit.select import Deciding
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.registry import find
from mechunlearn.unlearn import Settings


def refuse(setup: Setup) -> None:
    """Let methods and attacks look at their settings, the task and the number of blocks.

    Raises:
        ValueError: As the first of them says, with its name.
    """
    resolved, task = setup.resolved, setup.task
    tokenizer = load_tokenizer(setup.plan.original, trust_remote_code=setup.plan.trust_remote_code)
    for name, config in resolved.methods.items():
        if isinstance(config, Settings):
            with _told(name):
                config.check(setup.layers)
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
        with _told(name):
            Deciding.of(task, name, attack.splits(config))
            attack.check(config, seen, setup.layers)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors say whose settings they are about."""
    try:
        yield
    except ValueError as err:
        raise ValueError(f"{name}: {str(err).removeprefix(f'{name}: ')}") from err
