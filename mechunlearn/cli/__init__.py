"""The command line: parse, call one library function, print, save. Heavy imports stay inside."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mechunlearn import __version__
from mechunlearn.cli import audit as cli_audit
from mechunlearn.cli import report as cli_report
from mechunlearn.cli.options import (
    ControlOpt,
    JsonOpt,
    ModelOpt,
    OriginalOpt,
    OutOpt,
    SeedOpt,
    TaskOpt,
)
from mechunlearn.cli.options import print_json as _print_json
from mechunlearn.cli.options import say as _say
from mechunlearn.errors import PrerequisiteError

app = typer.Typer(
    help='Is an LLM\'s "unlearned" knowledge gone, or only hidden?',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
organism_app = typer.Typer(help="Tiny models whose knowledge is known.", no_args_is_help=True)
app.add_typer(organism_app, name="organism")

app.command()(cli_audit.plan)
app.command()(cli_audit.audit)
app.command()(cli_audit.paper)
app.command()(cli_report.diff)
app.command()(cli_report.rerun)
app.command()(cli_audit.validate)
app.command()(cli_report.report)


def main() -> None:
    """Entry point: errors a user can mend are one line and exit code 2."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app()
    except (ValueError, TypeError, OSError, PrerequisiteError) as err:  # A full disk, too.
        _say(f"error: {err}")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("stopped; the same command (unlearn: with --resume) goes on where it can")
        sys.exit(130)


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"mechunlearn {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def attack(
    name: Annotated[str, typer.Argument(help="See: mechunlearn list.")],
    unlearned: Annotated[str, typer.Option("--unlearned", help="The model under test.")],
    original: OriginalOpt = "organism:original",
    control: ControlOpt = "auto",
    task: TaskOpt = "",
    preset: Annotated[str, typer.Option("--preset", help="Settings; default: by model size.")] = "",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="key=value; repeatable.")
    ] = None,
    seed: SeedOpt = 0,
    out: OutOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """One attack on one unlearned model, with its controls."""
    from mechunlearn.audit.plan import AuditPlan

    plan = AuditPlan(
        original=original,
        unlearned=(unlearned,),
        control=control,
        task=task,
        attacks=(name,),
        changes=tuple(
            f"{name}.{c}" for c in ([f"preset={preset}"] if preset else []) + (change or [])
        ),
        seed=seed,
    )
    cli_audit.run_audit(plan, out, as_json)


@app.command()
def unlearn(
    method: Annotated[str, typer.Argument(help="See: mechunlearn list; all with --all.")] = "",
    out: Annotated[Path, typer.Option("--out", help="Folder for the checkpoint.")] = Path("models"),
    model: ModelOpt = "organism:original",
    task: TaskOpt = "",
    preset: Annotated[str, typer.Option("--preset", help="Settings; default: by model size.")] = "",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="key=value; repeatable.")
    ] = None,
    every: Annotated[
        int, typer.Option("--every", min=0, help="Steps between measurements and checkpoints.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every method, each into OUT/METHOD; goes on by itself.")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Unlearn a task's forget set and write a Hugging Face checkpoint."""
    from mechunlearn.plots.training import write_training
    from mechunlearn.registry import METHODS
    from mechunlearn.unlearn.run import UnlearnPlan, unlearn_all, unlearn_to

    if everything == bool(method):
        raise ValueError("name one method, or none with --all; see: mechunlearn list")
    if everything and (change or preset):
        raise ValueError("--set and --preset are for one method; leave them out with --all")
    names = tuple(METHODS) if everything else (method,)
    plans = [UnlearnPlan(name, model, task, preset, tuple(change or ())) for name in names]
    if everything:
        cards = unlearn_all(plans, out, every=every)
    else:
        cards = {method: unlearn_to(plans[0], out, resume=resume, every=every)}
    for name, card in cards.items():
        if "error" not in card:
            write_training(card, out / name if everything else out)
    if as_json:
        _print_json(cards if everything else cards[method])
        return
    for name, card in cards.items():
        _say(f"{name}: {card['error']}" if "error" in card else _effect(name, card))
    _say(f"checkpoint{'s' if everything else ''}: {out}")


def _effect(name: str, card: dict[str, Any]) -> str:
    parts = [
        f"{role} {found['before']:.3f} -> {found['after']:.3f} (n = {found['n']})"
        for role, found in card["accuracy"].items()
        if role in ("forget", "retain")
    ]
    return f"{name}: {', '.join(parts)}, refuses {card['refusals']['forget']['rate']:.0%} of forget"


@app.command()
def bench(
    model: ModelOpt = "organism:original",
    task: TaskOpt = "",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="task.shots=5 and the like; repeatable.")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Accuracy of a model on every question set of a task or benchmark."""
    from mechunlearn.bench import score_task
    from mechunlearn.models import load
    from mechunlearn.tasks import load_benchmark, task_config

    if others := [c for c in change or () if not c.startswith("task.")]:
        raise ValueError(f"--set {others[0]!r}: bench takes only settings of the task (task.shots)")
    questions = load_benchmark(task or None, model, task_config(change or ()))
    found = score_task(load(model), questions)
    if as_json:
        _print_json(
            {
                name: {"accuracy": s.accuracy, "accuracy_ci": list(s.interval), "n": s.n}
                for name, s in found.items()
            }
        )
    else:
        for name, s in found.items():
            low, high = s.interval
            _say(f"{name}: {s.accuracy:.3f} [{low:.3f}, {high:.3f}], n = {s.n}")


@app.command(name="task")
def task_(
    name: Annotated[str, typer.Argument(help="A name (mechunlearn list) or a file.")],
    model: ModelOpt = "organism:original",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="task.shots=5 and the like; repeatable.")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """What a task asks, and what of its reported questions stands elsewhere in it."""
    from mechunlearn.tasks import load_task, task_config
    from mechunlearn.tasks.folds import leaks

    found = load_task(name, model, task_config(change or ()))
    sizes = {
        f"{role}, {fold}": len(found.questions(role, fold))
        for role in ("forget", "retain")
        for fold in ("select", "confirm")
    }
    shared = {
        text: {"n": o.n, "eight_words": len(o.ngrams), "whole_facts": len(o.answers)}
        for text, o in leaks(found).items()
    }
    prompt = found.prompt.text(found.questions("forget", "select")[0], found.scoring)
    if as_json:
        _print_json({"questions": sizes, "overlap": shared, "scoring": found.scoring})
        return
    for what, n in sizes.items():
        _say(f"{what}: {n} questions")
    for text, o in shared.items():
        _say(
            f"of the forget questions that are reported, {o['eight_words']} share eight words in a "
            f"row with the {text}, and {o['whole_facts']} stand there whole"
        )
    sys.stderr.write(f"asked as:\n{prompt}\n")


@app.command()
def figures(
    run: Annotated[Path, typer.Argument(help="Folder of an audit.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the figures.")] = Path("figures"),
    images: Annotated[bool, typer.Option("--images", help="Also .svg and .png.")] = False,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="For dark pages, as NAME-dark.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Draw the figures of a finished audit."""
    from mechunlearn.plots import write

    found = cli_report.read_report(run)
    written = [str(p) for p in write(found, out, images, kinds=kind or (), dark=dark)]
    if as_json:
        _print_json(written)
    else:
        _say("\n".join(written))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of an audit.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the tables.")] = Path("tables"),
    as_json: JsonOpt = False,
) -> None:
    """Write a finished audit as Parquet tables: rows, baselines, every answer."""
    from mechunlearn.report.parquet import write_parquet

    folder = run if run.is_dir() else run.parent
    written = [str(p) for p in write_parquet(cli_report.read_report(run), folder, out)]
    if as_json:
        _print_json(written)
    else:
        _say("\n".join(written))


@app.command(name="list")
def list_(
    as_json: JsonOpt = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The README's table.")] = False,
) -> None:
    """Unlearning methods, attacks and tasks."""
    from mechunlearn.registry import entries, markdown
    from mechunlearn.tasks.names import TASKS

    known = {
        "methods": {e.name: e.idea for e in entries("method")},
        "attacks": {e.name: e.idea for e in entries("attack")},
        "tasks": TASKS,
    }
    if as_json:
        _print_json(known)
    elif as_markdown:
        sys.stdout.write(markdown() + "\n")
    else:
        for kind, names in known.items():
            sys.stdout.write(f"{kind}\n")
            for name, what in names.items():
                sys.stdout.write(f"  {name:22}{what}\n")


@app.command()
def doctor(as_json: JsonOpt = False) -> None:
    """What this machine has: Python, devices, memory, browser, models."""
    from mechunlearn.cli.doctor import examine

    found = examine()
    if as_json:
        _print_json(found)
    else:
        for name, value in found.items():
            _say(f"{name}: {value}")


@organism_app.command("train")
def organism_train(
    seed: SeedOpt = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pair.")] = Path("organisms"),
    steps: Annotated[int, typer.Option("--steps", help="Fewer steps for a quick look.")] = 0,
    as_json: JsonOpt = False,
) -> None:
    """Pretrain an original and its never-knew twin from scratch (about 35 minutes on 2 cores)."""
    from mechunlearn.organisms.recipe import Recipe, train_organism

    recipe = Recipe()
    if steps:
        shorter = dataclasses.replace(recipe.optimizer, steps=steps)
        recipe = dataclasses.replace(recipe, optimizer=shorter)
    cards = {}
    for role in ("original", "never_knew"):
        folder = train_organism(role, seed, out, recipe)
        cards[folder.name] = json.loads((folder / "card.json").read_text())["accuracy"]
        if not as_json:
            _say(f"{folder}: {cards[folder.name]}")
    if as_json:
        _print_json(cards)


if __name__ == "__main__":
    main()
