"""The commands that say what there is: task, list, doctor."""

import sys
from typing import Annotated

import typer

from mechunlearn.cli.options import (
    JsonOpt,
    ModelOpt,
    TaskSetOpt,
    TrustOpt,
    answer,
    print_json,
    say,
    settings,
)


def task(
    name: Annotated[str, typer.Argument(help="A name (mechunlearn list) or a file.")],
    model: ModelOpt = "organism:original",
    change: TaskSetOpt = None,
    trust_remote_code: TrustOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """What a task asks, and what of its reported questions stands elsewhere in it."""
    from mechunlearn.models import locate
    from mechunlearn.tasks import load_task, task_config
    from mechunlearn.tasks.folds import contradictions, leaks

    if odd := [c for c in change or () if not c.startswith("task.")]:
        raise ValueError(f"--set {odd[0]!r}: task takes only settings of the task (task.shots)")
    locate(model)
    config = task_config(settings(change))
    asked = load_task(name, model, config, trust_remote_code=trust_remote_code)
    sizes = {
        f"{role}, {fold}": len(asked.questions(role, fold))
        for role in ("forget", "retain")
        for fold in ("select", "confirm")
    }
    overlaps = {
        text: {"n": o.n, "eight_words": len(o.ngrams), "whole_facts": len(o.answers)}
        for text, o in leaks(asked).items()
    }
    twice = contradictions(asked)
    if as_json:
        about = {"questions": sizes, "overlap": overlaps, "scoring": asked.scoring}
        print_json(about | {"contradictions": twice})
        return
    for what, n in sizes.items():
        answer(f"{what}: {n} questions")
    for text, o in overlaps.items():
        answer(
            f"of the forget questions that are reported, {o['eight_words']} share eight words in a "
            f"row with the {text}, and {o['whole_facts']} stand there whole"
        )
    if twice:
        answer(
            f"asked more than once, with another right answer each time: {len(twice)}, such as "
            f"{twice[0]!r}"
        )
    prompt = asked.prompt.text(asked.questions("forget", "select")[0], asked.scoring)
    sys.stdout.write(f"asked as:\n{prompt}\n")


def list_(
    as_json: JsonOpt = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The guide's table.")] = False,
) -> None:
    """Unlearning methods, attacks and tasks."""
    from mechunlearn.registry import markdown
    from mechunlearn.tasks.names import TASKS

    known = {"methods": _ideas("method"), "attacks": _ideas("attack"), "tasks": TASKS}
    if as_json:
        print_json(known)
    elif as_markdown:
        sys.stdout.write(markdown() + "\n")
    else:
        for kind, names in known.items():
            sys.stdout.write(f"{kind}\n")
            for name, what in names.items():
                sys.stdout.write(f"  {name:22}{what}\n")


def _ideas(kind: str) -> dict[str, str]:
    """What each entry does, or which package brings it."""
    from mechunlearn.plugins import installed, package_of
    from mechunlearn.registry import entries

    ideas = {e.name: e.idea for e in entries(kind)}
    for name, entry in installed(kind).items():
        if name in ideas:
            say(f"{kind} {name!r} of {package_of(entry)} is not used: mechunlearn has its own")
        else:
            ideas[name] = f"from {package_of(entry)}"
    return ideas


def doctor(as_json: JsonOpt = False) -> None:
    """What this machine has: Python, devices, memory, browser, models."""
    from mechunlearn.cli.doctor import examine

    parts = examine()
    if as_json:
        print_json(parts)
    else:
        for name, value in parts.items():
            answer(f"{name}: {value}")
