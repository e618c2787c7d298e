"""What the commands share: the options of a plan, a few of their own, and how they speak."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mechunlearn.audit.plan import DEFAULTS, Option, options

if TYPE_CHECKING:
    from mechunlearn.analysis.report import Report
    from mechunlearn.audit.plan import AuditPlan
    from mechunlearn.models.sets import ModelSet

ModelOpt = Annotated[str, typer.Option("--model", help="Name, folder, .gguf file or Hub id.")]
ModelsOpt = Annotated[
    str, typer.Option("--models", help="A published set instead of --original, --unlearned: zephyr")
]
TaskOpt = Annotated[str, typer.Option(options()["task"].flag, help=options()["task"].help)]
TrustOpt = Annotated[
    bool,
    typer.Option(options()["trust_remote_code"].flag, help=options()["trust_remote_code"].help),
]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, help=options()["seed"].help)]
PresetOpt = Annotated[str, typer.Option("--preset", help="Settings; default: by model size.")]
SetOpt = Annotated[list[str] | None, typer.Option("--set", help="key=value; repeatable.")]
TaskSetOpt = Annotated[
    list[str] | None, typer.Option("--set", help="task.shots=5 and the like; repeatable.")
]
OutOpt = Annotated[Path | None, typer.Option("--out", help="Folder for the results.")]
ForceOpt = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
FailOpt = Annotated[
    str,
    typer.Option(
        "--fail-if", help="Exit code 1 for such a verdict: hidden, open, intact; comma-separated."
    ),
]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print only machine-readable results.")]

AUDIT_ONLY = tuple(name for name, about in options().items() if about.audit_only)
"""Fields of a plan that are not kept in its file."""
Fields = dict[str, Any]
"""Fields of a plan as a command line gave them."""


def plan_options(
    *, only: Collection[str] = (), without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that a plan's fields declare, before its own.

    The command is called with the values of the fields as its first argument.

    Args:
        only: Fields that it takes; default: all.
        without: Fields that it does not take.
    """
    fields = {
        name: about
        for name, about in options().items()
        if (not only or name in only) and name not in without
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            *(_parameter(name, about) for name, about in fields.items()),
            *(p.replace(kind=keyword) for p in own),
        ]

        @functools.wraps(command)
        def call(**values: Any) -> None:
            given = {name: _value(about, values.pop(name)) for name, about in fields.items()}
            command(given, **values)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate


def _parameter(name: str, about: Option) -> inspect.Parameter:
    default = DEFAULTS[name]
    several = isinstance(default, tuple)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if several else default,
        annotation=Annotated[
            list[str] | None if several else type(default),  # type: ignore[misc]
            typer.Option(about.flag, help=about.help),
        ],
    )


def _value(about: Option, value: Any) -> Any:
    """A field's value; several are a tuple."""
    if value is None or isinstance(value, (list, tuple)):
        if about.commas:
            return names_of(about.flag, value or ())
        return settings(value) if about.flag == "--set" else tuple(value or ())
    return value


def parts(values: Iterable[str]) -> tuple[str, ...]:
    """What stands between commas.

    Example:
        >>> parts(["rmu,npo", " dpo"])
        ('rmu', 'npo', 'dpo')
    """
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def names_of(flag: str, values: Iterable[str]) -> tuple[str, ...]:
    """What an option with commas names; nothing where it was not given.

    Raises:
        ValueError: If it was given and names nothing.
    """
    given = list(values)
    found = parts(given)
    if given and not found:
        raise ValueError(f"{flag} {','.join(given)!r} names nothing; leave it out, or name some")
    return found


def settings(changes: Iterable[str] | None) -> tuple[str, ...]:
    """What ``--set`` gives, each setting once.

    Raises:
        ValueError: If a setting is given twice, as only one of the values would count.
    """
    from mechunlearn.presets import check_each_once

    given = tuple(changes or ())
    check_each_once(given)
    return given


def plan_of(fields: Fields, file: Path | None = None, models: str = "") -> "AuditPlan":
    """The plan of a command line, or of a file.

    Args:
        file: As ``plan`` writes it; the command line may add what is not kept in such files.
        models: Name of a published set, instead of original and unlearned models.

    Raises:
        ValueError: If two of them say the same, or the plan is not possible.
    """
    import dataclasses

    from mechunlearn.audit.labels import split_label
    from mechunlearn.audit.plan import AuditPlan
    from mechunlearn.audit.plan_file import read_plan
    from mechunlearn.models.sets import SETS, model_set, set_of

    if named := next((c for c in fields["changes"] if c in SETS), None):
        raise ValueError(f"--set takes NAME.key=value; for the models of {named}: --models {named}")
    given = {k: v for k, v in fields.items() if v != DEFAULTS[k]}
    if models and (file or {"original", "unlearned"} & set(given)):
        raise ValueError("--models says which models; leave out --original, --unlearned and --plan")
    if models:
        chosen = model_set(models)
        about = chosen.about(fields["task"])
        fields = _completed({**fields, "unlearned": about}, chosen)
    elif file is None and "original" not in given and not given.get("methods"):
        unlearned = [split_label(model)[1] for model in fields["unlearned"]]
        if (known := set_of(unlearned)) is not None:
            fields = _completed(fields, known)
    if file is None:
        return AuditPlan(**fields)
    extra = {k: v for k, v in given.items() if k in AUDIT_ONLY}
    if twice := [options()[k].flag for k in given if k not in extra]:
        raise ValueError(f"--plan says everything; leave out {', '.join(twice)}")
    return dataclasses.replace(read_plan(file), **extra)


def _completed(fields: Fields, chosen: "ModelSet") -> Fields:
    """What a published set knows and the command line does not say."""
    task = fields["task"] or chosen.task(fields["unlearned"])
    own = {c.partition("=")[0] for c in fields["changes"]}
    settings = () if own & {c.partition("=")[0] for c in chosen.settings} else chosen.settings
    control = fields["control"]
    return {
        **fields,
        "original": chosen.original,
        "task": task,
        "control": chosen.control(task) or control if control == DEFAULTS["control"] else control,
        "changes": (*fields["changes"], *settings),
    }


FAILURES: Mapping[str, Collection[str]] = {
    "hidden": ("hidden, shallow", "hidden at the output", "hidden, sparse", "hidden, deep"),
    "open": ("openly answered", "partly open"),
    "intact": ("intact", "intact, disguised"),
    "inconclusive": ("inconclusive",),
    "no-evidence": ("no evidence",),
    "not-judged": ("not judged",),
}
"""Verdicts by the words of ``--fail-if``."""


def failures(words: str) -> frozenset[str]:
    """The verdicts that ``--fail-if`` names.

    Raises:
        ValueError: For a word that names none.
    """
    from mechunlearn.errors import unknown

    given = names_of("--fail-if", [words] if words else ())
    if wrong := next((word for word in given if word not in FAILURES), ""):
        raise unknown("verdict of --fail-if", wrong, FAILURES)
    return frozenset(category for word in given for category in FAILURES[word])


def fail_for(report: "Report", categories: Collection[str]) -> None:
    """End with exit code 1 if an unlearned model has one of these verdicts."""
    found = [
        f"{m.label} is {m.verdict.category}"
        for m in report.unlearned
        if m.verdict and m.verdict.category in categories
    ]
    if found:
        alarm(f"--fail-if: {', '.join(found)}")
        raise typer.Exit(1)


@dataclass(slots=True)
class Kept:
    """Where the command that runs keeps what it has finished."""

    folder: Path | None = None


kept = Kept()


def say(text: str) -> None:
    """A note to the person at the terminal, in one line; --quiet leaves it out."""
    from mechunlearn.progress import console

    if not console.quiet:
        alarm(text)


def alarm(text: str) -> None:
    """One line that --quiet does not leave out."""
    sys.stderr.write(" ".join(text.split()) + "\n")


def answer(text: str) -> None:
    """One line of what was asked for, to standard output."""
    sys.stdout.write(" ".join(text.split()) + "\n")


def print_json(data: Any) -> None:
    """A result to standard output; records and dataclasses are objects."""
    from mechunlearn.records import plain

    sys.stdout.write(json.dumps(plain(data), indent=1) + "\n")
