"""The command line: parse, call one library function, print, save. Heavy imports stay inside."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mechunlearn import __version__, cli_audit
from mechunlearn.cli_options import (
    ControlOpt,
    JsonOpt,
    ModelOpt,
    OriginalOpt,
    OutOpt,
    SeedOpt,
    TaskOpt,
)
from mechunlearn.cli_options import print_json as _print_json
from mechunlearn.cli_options import say as _say
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
app.command()(cli_audit.diff)
app.command()(cli_audit.rerun)
app.command()(cli_audit.validate)


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
    model: ModelOpt = "organism:original", task: TaskOpt = "", as_json: JsonOpt = False
) -> None:
    """Accuracy of a model on every question set of a task."""
    from mechunlearn.bench import score_task
    from mechunlearn.models import load
    from mechunlearn.tasks import load_task

    questions = load_task(task or None, model)
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


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of an audit.")], as_json: JsonOpt = False
) -> None:
    """Draw the page of a finished audit again."""
    from mechunlearn.report import write_page
    from mechunlearn.report.table import show

    found = cli_audit.read_report(run)
    page = write_page(found, (run if run.is_dir() else run.parent) / "report.html")
    if as_json:
        _print_json(found.to_dict())
    else:
        show(found)
        _say(f"report: {page}")


@app.command()
def figures(
    run: Annotated[Path, typer.Argument(help="Folder of an audit.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the figures.")] = Path("figures"),
    images: Annotated[bool, typer.Option("--images", help="Also .svg and .png.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Draw the figures of a finished audit."""
    from mechunlearn.plots import write

    written = [str(p) for p in write(cli_audit.read_report(run), out, images)]
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
    from mechunlearn.doctor import examine

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
