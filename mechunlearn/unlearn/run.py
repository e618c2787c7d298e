"""Make unlearned models: load, train under a guard, measure, save with a RunCard."""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState

from mechunlearn.analysis.records import RunCard
from mechunlearn.bench import perplexity, score_task
from mechunlearn.bench.generation import refusal_rate
from mechunlearn.environment import machine, peak_memory, versions, write_json
from mechunlearn.models import describe, load, save
from mechunlearn.presets import configured, preset_for
from mechunlearn.progress import console
from mechunlearn.registry import find
from mechunlearn.tasks import load_task, task_config
from mechunlearn.train import TrainLog, Watch
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn.guard import Guard

PERPLEXITY_TEXTS = 500
"""Retain texts whose perplexity is measured."""


@dataclass(frozen=True, slots=True)
class UnlearnPlan:
    """One model, one method, one task; equal plans give equal weights on one machine."""

    method: str
    model: str = "organism:original"
    task: str = ""
    """Empty: the task that suits the model."""
    preset: str = ""
    """Empty: the one that suits the model's size."""
    changes: tuple[str, ...] = ()
    """``key=value`` settings on top of the preset; ``task.key=value`` settings of the task."""

    @property
    def settings(self) -> list[str]:
        """The changes that are the method's."""
        return [c for c in self.changes if not c.startswith("task.")]


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
    config = configured(method, plan.preset or preset_for(model), plan.settings)
    guard = Guard(model, task, method, config.optimizer.steps)
    every = every or max(1, config.optimizer.steps // 5)
    log = method.apply_(model, task, config, Watch(every, guard, state, check=guard.check))
    warnings = guard.warnings(log)
    for text in warnings:
        console.print(f"[yellow]warning: {plan.method}: {text}[/yellow]")
    return log, config, warnings


def unlearn_to(
    plan: UnlearnPlan, out: Path, *, resume: bool = False, every: int = 0
) -> dict[str, Any]:
    """Carry out a plan and write the checkpoint, ``runcard.json`` and any adapter to ``out``.

    While it trains, everything is in ``OUT.training``; ``out`` appears when it is complete.

    Args:
        resume: Go on with the interrupted run in ``OUT.training``, or keep a finished one.

    Raises:
        ValueError: For an unknown name or setting, an interrupted run without ``resume``, or a
            run that diverges or destroys the model.
        FileExistsError: If ``out`` exists and is not empty.
    """
    find("method", plan.method)
    kept = out.with_name(f"{out.name}.training")
    plain = json.loads(json.dumps(dataclasses.asdict(plan)))
    if out.exists() and any(out.iterdir()):
        finished = out / "runcard.json"
        if resume and finished.is_file() and json.loads(finished.read_text())["plan"] == plain:
            console.print(f"{out} is finished already")
            return json.loads(finished.read_text())
        raise FileExistsError(f"{out} exists and is not empty; nothing was written")
    if (kept / "plan.json").is_file():
        if not resume:
            raise ValueError(
                f"{kept} holds an unfinished run; go on with --resume, or remove it to start again"
            )
        if json.loads((kept / "plan.json").read_text()) != plain:
            raise ValueError(f"{kept} holds an unfinished run of other settings; remove it first")
    task = load_task(plan.task or None, plan.model, task_config(plan.changes))
    model = load(plan.model)
    configured(find("method", plan.method), plan.preset or preset_for(model), plan.settings)
    source, before = describe(model), score_task(model, task)
    main = PartialState(cpu=model.cfg.device == "cpu").is_main_process
    if main:
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "plan.json").write_text(json.dumps(plain) + "\n", encoding="utf-8")
    start = time.perf_counter()
    try:
        log, config, warnings = train_method(
            model, task, plan, state=kept / "state.safetensors", every=every
        )
    except ValueError:
        if main:
            shutil.rmtree(kept)  # These settings do not work; there is nothing to go on with.
        raise
    seconds = time.perf_counter() - start
    card = _card(plan, out, source, config, task, seconds)
    card |= _effects(model, task, before) | {
        "plan": plain,
        "method": plan.method,
        "warnings": warnings,
        "terms": log.terms,
        "measured": log.measured,
    }
    if main:
        save(model, out)
        if log.adapter is not None:
            log.adapter.save(out / "adapter")
        write_json(out / "runcard.json", card)
        shutil.rmtree(kept)
    return card


def _card(
    plan: UnlearnPlan,
    out: Path,
    source: dict[str, Any],
    config: Any,
    task: Task,
    seconds: float,
) -> dict[str, Any]:
    words = ["mechunlearn unlearn", plan.method, "--model", plan.model, "--out", str(out)]
    for option, value in (("--task", plan.task), ("--preset", plan.preset)):
        words += [option, value] if value else []
    words += [x for change in plan.changes for x in ("--set", change)]
    return dataclasses.asdict(
        RunCard(
            command=" ".join(words),
            seed=config.seed,
            models={"original": source},
            task={"name": task.name, "scoring": task.scoring, "chance": task.chance},
            settings=dataclasses.asdict(config),
            versions=versions(),
            machine=machine(source["device"]) | {"peak_memory": peak_memory(source["device"])},
            seconds={"training, with measurements": round(seconds, 2)},
        )
    )


def _effects(model: HookedModel, task: Task, before: dict[str, Any]) -> dict[str, Any]:
    """Accuracy before and after, refusals, and perplexity on retain text."""
    after = score_task(model, task)
    found: dict[str, Any] = {
        "accuracy": {
            name: {
                "before": before[name].accuracy,
                "after": s.accuracy,
                "after_ci": list(s.interval),
                "n": s.n,
            }
            for name, s in after.items()
        },
        "refusals": {},
        "perplexity": {},
    }
    for role, questions in (("forget", task.forget), ("retain", task.retain)):
        rate = refusal_rate(model, questions, task)
        found["refusals"][role] = {
            "rate": rate.value,
            "rate_ci": list(rate.interval),
            "n": rate.n,
        }
    if task.retain_text:
        text = perplexity(model, task.retain_text[:PERPLEXITY_TEXTS])
        value = text.value if math.isfinite(text.value) else None  # JSON has no infinity.
        found["perplexity"]["retain_text"] = {"value": value, "n_tokens": text.n_tokens}
    return found


def unlearn_all(
    plans: Sequence[UnlearnPlan], folder: Path, *, every: int = 0
) -> dict[str, dict[str, Any]]:
    """Carry out several plans, each into ``folder/METHOD``; finished ones are kept.

    A method that fails does not stop the others; its card holds only ``error``.
    """
    cards: dict[str, dict[str, Any]] = {}
    for plan in plans:
        try:
            cards[plan.method] = unlearn_to(plan, folder / plan.method, resume=True, every=every)
        except ValueError as err:
            console.print(f"[yellow]warning: {plan.method} failed: {err}[/yellow]")
            cards[plan.method] = {"error": str(err)}
    return cards
