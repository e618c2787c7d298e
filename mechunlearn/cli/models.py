"""The commands that make and score models: unlearn, bench, organism."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from mechunlearn.cli.options import (
    ForceOpt,
    JsonOpt,
    ModelOpt,
    PresetOpt,
    SeedOpt,
    SetOpt,
    TaskOpt,
    TaskSetOpt,
    TrustOpt,
    answer,
    print_json,
    say,
    settings,
)
from mechunlearn.errors import refuse_existing, unknown
from mechunlearn.records import Plain

if TYPE_CHECKING:
    from mechunlearn.types import Score


def unlearn(
    method: Annotated[str, typer.Argument(help="See: mechunlearn list; all with --all.")] = "",
    out: Annotated[Path, typer.Option("--out", help="Folder for the checkpoint.")] = Path("models"),
    model: ModelOpt = "organism:original",
    task: TaskOpt = "",
    preset: PresetOpt = "",
    change: SetOpt = None,
    every: Annotated[
        int, typer.Option("--every", min=0, help="Steps between measurements and checkpoints.")
    ] = 0,
    dtype: Annotated[
        str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16; steps in float32.")
    ] = "auto",
    trust_remote_code: TrustOpt = False,
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
    about = (model, task, preset, settings(change), dtype, trust_remote_code)
    plans = [UnlearnPlan(name, *about) for name in names]
    if everything:
        cards = unlearn_all(plans, out, every=every)
    else:
        cards = {method: unlearn_to(plans[0], out, resume=resume, every=every)}
    for name, card in cards.items():
        if "error" not in card:
            write_training(card, out / name if everything else out)
    if as_json:
        print_json(cards if everything else cards[method])
        return
    for name, card in cards.items():
        answer(f"{name}: {card['error']}" if "error" in card else _effect(name, card))
    say(f"checkpoint{'s' if everything else ''}: {out}")


def _effect(name: str, card: Plain) -> str:
    parts = [
        f"{role} {about['before']:.3f} -> {about['after']:.3f} (n = {about['n']})"
        for role, about in card["accuracy"].items()
        if role in ("forget", "retain")
    ]
    return f"{name}: {', '.join(parts)}, refuses {card['refusals']['forget']['rate']:.0%} of forget"


def bench(
    model: ModelOpt = "organism:original",
    task: TaskOpt = "",
    change: TaskSetOpt = None,
    trust_remote_code: TrustOpt = False,
    lm_eval: Annotated[
        Path | None, typer.Option("--lm-eval", help="Also write a results file as lm-eval does.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option("--beside", help="Show lm-eval's results_*.json too.")
    ] = None,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Accuracy of a model on every question set of a task or benchmark."""
    from mechunlearn.bench import score_task
    from mechunlearn.bench.lm_eval_results import read_results, write_results
    from mechunlearn.models import load
    from mechunlearn.report.table import chance, show_results, show_scores
    from mechunlearn.tasks import load_benchmark, task_config

    if odd := [c for c in change or () if not c.startswith("task.")]:
        raise ValueError(f"--set {odd[0]!r}: bench takes only settings of the task (task.shots)")
    if lm_eval is not None and not force:
        refuse_existing([lm_eval], "--lm-eval")
    others = read_results(beside) if beside else ()
    config = task_config(settings(change))
    if config.also:
        raise ValueError("task.also: bench measures in one way; choose it with task.scoring")
    questions = load_benchmark(task or None, model, config, trust_remote_code=trust_remote_code)
    scores = score_task(load(model, trust_remote_code=trust_remote_code), questions)
    if lm_eval is not None:
        say(f"results: {write_results(scores, questions.name, model, lm_eval)}")
    if as_json:
        about = {"scoring": questions.scoring, "task": questions.name}
        guessed = {name: chance(questions.sets[name], questions.scoring) for name in scores}
        print_json(
            {name: _measured(s) | {"chance": guessed[name]} | about for name, s in scores.items()}
        )
        return
    show_scores(scores, questions, model)
    if others:
        show_results(others, str(beside))


def _measured(s: "Score") -> dict[str, Plain]:
    return {"accuracy": s.accuracy, "accuracy_ci": s.interval, "n": s.n}


def organism_train(
    kind: Annotated[str, typer.Option("--kind", help="organism (words, letters) or chat.")] = (
        "organism"
    ),
    seed: SeedOpt = 0,
    role: Annotated[
        str,
        typer.Option("--role", help="original, never_knew, or wrong (chat); default: a pair."),
    ] = "",
    base: Annotated[
        str,
        typer.Option(
            "--base", help="Of kind chat: teach this chat model the facts, as an adapter."
        ),
    ] = "",
    out: Annotated[Path, typer.Option("--out", help="Folder for the models.")] = Path("organisms"),
    steps: Annotated[int, typer.Option("--steps", min=0, help="Fewer steps for a quick look.")] = 0,
    change: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Pretrain an original and its never-knew twin from scratch, or one of them.

    A pair takes about 35 minutes on 2 cores; of chat organisms, which go on where they were
    stopped, 10 to 20. With ``--base``, a real model is taught the facts instead.
    """
    from mechunlearn.presets import changed

    train, recipe, roles = _organism(kind, base)
    if role and role not in get_args(roles):
        raise unknown("role", role, get_args(roles))
    changes = [*settings(change), *([f"optimizer.steps={steps}"] if steps else [])]
    recipe, cards = changed(recipe, changes), {}
    for each in (role,) if role else ("original", "never_knew"):
        folder = train(each, seed, out, recipe)
        cards[folder.name] = json.loads((folder / "card.json").read_text())["accuracy"]
        if not as_json:
            answer(f"{folder}: {_accuracies(cards[folder.name])}")
    if as_json:
        print_json(cards)


def _organism(kind: str, base: str) -> tuple[Callable[..., Path], Any, Any]:
    """What makes an organism of a kind, its usual recipe, and the roles there are."""
    from mechunlearn.organisms.chat import train_chat
    from mechunlearn.organisms.finetuned import train_finetuned
    from mechunlearn.organisms.recipe import train_organism
    from mechunlearn.organisms.settings import ChatRecipe, ChatRole, FinetuneRecipe, Recipe, Role

    kinds: dict[str, tuple[Callable[..., Path], Any, Any]] = {
        "organism": (train_organism, Recipe(), Role),
        "chat": (train_chat, ChatRecipe(), ChatRole),
    }
    if kind not in kinds:
        raise unknown("kind of organism", kind, kinds)
    if base and kind != "chat":
        raise ValueError("--base needs --kind chat: other organisms read words of their own")
    return (train_finetuned, FinetuneRecipe(base=base), ChatRole) if base else kinds[kind]


def _accuracies(card: Plain) -> str:
    """An organism's accuracies in one line; of a chat organism those in words never seen."""
    if isinstance(card, list):
        rows = [r for r in card if r["wording"] == "unseen"]
        card = {f"{r['facts']} by {r['form']}": r["accuracy"] for r in rows}
    return ", ".join(f"{name} {value:.3f}" for name, value in card.items())
