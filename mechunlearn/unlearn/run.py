"""Make unlearned models: load, train under a guard, measure, save with a RunCard."""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState

from mechunlearn.bench import perplexity, score_task
from mechunlearn.bench.generation import refusal_rate
from mechunlearn.environment import machine, peak_memory, versions, write_json
from mechunlearn.models import check, describe, load, save
from mechunlearn.models.cards import ModelCard
from mechunlearn.models.identity import arithmetic, model_identity, task_revision
from mechunlearn.presets import configured, preset_for
from mechunlearn.progress import console
from mechunlearn.records import Plain, plain, read_record
from mechunlearn.registry import added_version, find
from mechunlearn.tasks import load_task, task_config
from mechunlearn.train import TrainLog, Watch
from mechunlearn.train.origin import OtherOriginError, refuse_other, write_origin
from mechunlearn.types import HookedModel, Score, Task
from mechunlearn.unlearn.guard import Guard
from mechunlearn.unlearn.records import (
    Effect,
    RefusalRate,
    TaskCard,
    TextCost,
    TrainingMachine,
    UnlearnCard,
    UnlearnPlan,
)

__all__ = ["UnlearnPlan", "train_method", "unlearn_all", "unlearn_to"]

PERPLEXITY_TEXTS = 500
"""Retain texts whose perplexity is measured."""
ORIGIN = ".origin"
"""Note of questions, weights and versions beside a run's plan, and in the finished folder; its name
is not one of a model's files, on which the identity of the new model depends."""


def _machine(device: str) -> TrainingMachine:
    where = machine(device)
    return TrainingMachine(
        system=where.system,
        threads=where.threads,
        device=where.device,
        python=where.python,
        peak_memory=peak_memory(device),
    )


def train_method(
    model: HookedModel,
    task: Task,
    plan: UnlearnPlan,
    *,
    state: Path | None = None,
    every: int = 0,
) -> tuple[TrainLog, Any, list[str]]:
    """Apply a plan's method to a loaded model, in place.

    Args:
        state: File that keeps the run; where it exists, training goes on from it.
        every: Steps between measurements and checkpoints; 0: a fifth of the steps.

    Returns:
        The log, the settings and what the guard warns of.

    Raises:
        ValueError: For an unknown name or setting, or a run that diverges or destroys the model.
    """
    method = find("method", plan.method)
    config = configured(method, plan.preset or preset_for(method, model), plan.settings)
    guard = Guard(model, task, method, config.optimizer.steps)
    every = every or max(1, config.optimizer.steps // 5)
    log = method.apply_(model, task, config, Watch(every, guard, state, check=guard.check))
    warnings = guard.warnings(log)
    for text in warnings:
        console.print(f"[yellow]warning: {plan.method}: {text}[/yellow]")
    return log, config, warnings


def unlearn_to(plan: UnlearnPlan, out: Path, *, resume: bool = False, every: int = 0) -> Plain:
    """Carry out a plan and write the checkpoint, ``runcard.json`` and any adapter to ``out``.

    While it trains, everything is in ``OUT.training``; ``out`` appears when it is complete. Both
    note of which questions, weights and versions they are; what is there and has no such note is
    taken to be of the same, which is said.

    Args:
        resume: Go on with the interrupted run in ``OUT.training``, or keep a finished one.

    Returns:
        The card as ``runcard.json`` has it; ``typed`` makes an ``UnlearnCard`` of it.

    Raises:
        ValueError: For an unknown name or setting, an interrupted run without ``resume``, or a
            run that diverges or destroys the model.
        OtherOriginError: If what is there was made from other questions, weights or versions.
        FileExistsError: If ``out`` exists and is not empty.
    """
    method = find("method", plan.method)
    unfinished = out.with_name(f"{out.name}.training")
    finished = _finished(plan, out, unfinished, resume)
    trust, chosen = plan.trust_remote_code, task_config(plan.changes)
    task = load_task(plan.task or None, plan.model, chosen, trust_remote_code=trust)
    made_from = _made_from(plan, task)
    if finished is not None:
        refuse_other(out / ORIGIN, out, made_from)
        console.print(f"{out} is finished already")
        return plain(finished)
    if begun := (unfinished / "plan.json").is_file():
        refuse_other(unfinished / ORIGIN, unfinished, made_from)
    model = load(plan.model, dtype=plan.dtype, trust_remote_code=trust)
    configured(method, plan.preset or preset_for(method, model), plan.settings)
    source, before = describe(model), score_task(model, task)
    main = PartialState(cpu=model.cfg.device == "cpu").is_main_process
    if main:
        if not begun:
            write_origin(unfinished / ORIGIN, made_from)
        write_json(unfinished / "plan.json", plain(plan))
    start = time.perf_counter()
    try:
        log, config, warnings = train_method(
            model, task, plan, state=unfinished / "state.safetensors", every=every
        )
    except ValueError:
        if main:
            shutil.rmtree(unfinished)  # These settings do not work; there is nothing to go on with.
        raise
    seconds = round(time.perf_counter() - start, 2)
    effects = _accuracy(before, score_task(model, task))
    card = _card(plan, out, source, effects, (model, task), (log, config, warnings), seconds)
    if main:
        _write(out, model, log, card, unfinished / ORIGIN)
        shutil.rmtree(unfinished)
    return plain(card)


def _made_from(plan: UnlearnPlan, task: Task) -> dict[str, Plain]:
    """What decides the weights beside the plan, which has names only."""
    check(plan.model, trust_remote_code=plan.trust_remote_code)
    added = added_version("method", plan.method)
    return {
        "questions": task_revision(task),
        f"weights of {plan.model}": model_identity(plan.model),
        "versions": arithmetic() | ({} if added is None else {plan.method: str(added)}),
    }


def _card(
    plan: UnlearnPlan,
    out: Path,
    source: ModelCard,
    effects: dict[str, Effect],
    after: tuple[HookedModel, Task],
    trained: tuple[TrainLog, Any, list[str]],
    seconds: float,
) -> UnlearnCard:
    """What is said of a finished run."""
    log, config, warnings = trained
    return UnlearnCard(
        command=plan.command(str(out)),
        seed=config.seed,
        models={"original": source},
        task=_task_card(after[1]),
        settings=plain(config),
        versions=versions(),
        machine=_machine(source.device),
        seconds={"training, with measurements": seconds},
        accuracy=effects,
        refusals=_refusals(*after),
        perplexity=_perplexity(*after),
        plan=plan,
        method=plan.method,
        warnings=warnings,
        terms=log.terms,
        measured=log.measured,
    )


def _task_card(task: Task) -> TaskCard:
    return TaskCard(
        name=task.name,
        scoring=task.scoring,
        chance=task.chance,
        template=task.prompt.turn.notes,
    )


def _write(out: Path, model: HookedModel, log: TrainLog, card: UnlearnCard, origin: Path) -> None:
    """Everything that belongs to a finished run; the card, which says that it is one, last.

    Args:
        origin: Note of the run, if it has one.
    """
    save(model, out)
    if origin.is_file():
        shutil.copyfile(origin, out / ORIGIN)
    if log.adapter is not None:
        log.adapter.save(out / "adapter")
    write_json(out / "runcard.json", plain(card))


def _finished(plan: UnlearnPlan, out: Path, unfinished: Path, resume: bool) -> UnlearnCard | None:
    """The card of a run that needs no more; refuses folders that hold anything else."""
    if out.exists() and any(out.iterdir()):
        finished = out / "runcard.json"
        if resume and finished.is_file():
            card = read_record(finished, UnlearnCard)
            if card.plan == plan:
                return card
        raise FileExistsError(f"{out} exists and is not empty; nothing was written")
    if (unfinished / "plan.json").is_file():
        if not resume:
            raise ValueError(
                f"{unfinished} holds an unfinished run; go on with --resume, or remove it to start "
                "again"
            )
        if read_record(unfinished / "plan.json", UnlearnPlan) != plan:
            raise ValueError(
                f"{unfinished} holds an unfinished run of other settings; remove it first"
            )
    return None


def _accuracy(before: Mapping[str, Score], after: Mapping[str, Score]) -> dict[str, Effect]:
    return {
        name: Effect(before=before[name].accuracy, after=s.accuracy, after_ci=s.interval, n=s.n)
        for name, s in after.items()
    }


def _refusals(model: HookedModel, task: Task) -> dict[str, RefusalRate]:
    rates = {
        role: refusal_rate(model, questions, task)
        for role, questions in (("forget", task.forget), ("retain", task.retain))
    }
    return {
        role: RefusalRate(rate=rate.value, rate_ci=rate.interval, n=rate.n)
        for role, rate in rates.items()
    }


def _perplexity(model: HookedModel, task: Task) -> dict[str, TextCost]:
    if not task.retain_text:
        return {}
    text = perplexity(model, task.retain_text[:PERPLEXITY_TEXTS])
    value = text.value if math.isfinite(text.value) else None  # JSON has no infinity.
    return {"retain_text": TextCost(value=value, n_tokens=text.n_tokens)}


def unlearn_all(plans: Sequence[UnlearnPlan], folder: Path, *, every: int = 0) -> dict[str, Plain]:
    """Carry out several plans, each into ``folder/METHOD``; finished ones are kept.

    A method that fails does not stop the others; its card holds only ``error``.

    Raises:
        OtherOriginError: If a model there was made from other questions, weights or versions.
    """
    cards: dict[str, Plain] = {}
    for plan in plans:
        try:
            cards[plan.method] = unlearn_to(plan, folder / plan.method, resume=True, every=every)
        except OtherOriginError:
            raise
        except ValueError as err:
            console.print(f"[yellow]warning: {plan.method} failed: {err}[/yellow]")
            cards[plan.method] = {"error": str(err)}
    return cards
