"""Run a plan: every arm of every attack, with one model in memory at a time."""

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mechunlearn import __version__
from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.audit.arms import choose, score_candidates, shuffled_answers
from mechunlearn.audit.assemble import assemble
from mechunlearn.audit.plan import AuditPlan, label
from mechunlearn.audit.projection import projections
from mechunlearn.audit.state import State
from mechunlearn.bench import majority_letter, no_question, score
from mechunlearn.environment import write_json
from mechunlearn.hooks import metered
from mechunlearn.models import check, describe, load, save
from mechunlearn.presets import preset_for
from mechunlearn.progress import console
from mechunlearn.registry import find
from mechunlearn.tasks import load_task
from mechunlearn.types import HookedModel, Question, Report, Task
from mechunlearn.unlearn.run import UnlearnPlan, train_method

SHAMS = 3
"""Placebos drawn; the one of median accuracy is reported."""


def audit(plan: AuditPlan, out: Path) -> Report:
    """Carry out the plan and write ``report.json`` to ``out``.

    A second call with the same plan and folder returns the finished report, or goes on with the
    models that were already made.

    Raises:
        ValueError: If the folder holds another run, or a model or task is unusable.
    """
    task = load_task(plan.task or None, plan.original)
    identity = {"plan": plan.to_dict(), "version": __version__}
    known = out / "plan.json"
    if out.exists() and any(out.iterdir()):
        if not known.is_file() or json.loads(known.read_text()) != identity:
            raise ValueError(
                f"{out} holds something else; nothing was overwritten: choose another --out"
            )
        if (out / "report.json").is_file():
            console.print(f"{out} holds this finished run already; nothing to compute")
            return Report.from_dict(json.loads((out / "report.json").read_text()))
    state = State(plan, task, out)
    start = time.perf_counter()
    unlearned, controls = _make_models(state, identity)
    _baselines(state, unlearned, controls)
    references = _references(state, unlearned)
    for name, source in unlearned.items():
        _attack(state, name, source, references)
        if controls.get(name):
            _attack_control(state, name, controls[name], references)
    _ceilings(state)
    state.seconds["total"] = round(time.perf_counter() - start, 2)
    report = assemble(state, unlearned, controls)
    write_json(out / "report.json", report.to_dict())
    return report


def _make_models(
    state: State, identity: dict[str, Any]
) -> tuple[dict[str, str], dict[str, str | None]]:
    """Name -> where to load it, for every unlearned model and for the control beside it."""
    plan = state.plan
    control = plan.control_model
    words = check(plan.original)
    for other in (control, *plan.unlearned):
        if other and check(other) != words:
            raise ValueError(
                f"{other} and {plan.original} have different vocabularies; only models of one "
                "family can be compared"
            )
    write_json(state.out / "plan.json", identity)
    unlearned = {label(u): u for u in plan.unlearned}
    controls: dict[str, str | None] = dict.fromkeys(unlearned, control)
    for name in plan.methods:
        unlearned[name] = str(state.out / "models" / name)
        controls[name] = control and str(state.out / "models" / f"{name}-never_knew")
        for source, target in ((plan.original, unlearned[name]), (control, controls[name])):
            if source is None or target is None or Path(target).exists():
                continue
            _make(state, name, source, target)
    return unlearned, controls


def _make(state: State, name: str, source: str, target: str) -> None:
    with state.timed(f"{name} on {source}"):
        prefix, partial = f"{name}.", Path(f"{target}.training")
        mine = [c.removeprefix(prefix) for c in state.plan.changes if c.startswith(prefix)]
        model, plan = load(source), UnlearnPlan(name, source, changes=tuple(mine))
        train_method(model, state.task, plan, state=partial / "state.safetensors")
        save(model, target)
        shutil.rmtree(partial)


def _baselines(state: State, unlearned: dict[str, str], controls: dict[str, str | None]) -> None:
    plan = state.plan
    sources = {"original": plan.original}
    if plan.control_model:
        sources["never_knew"] = plan.control_model
    sources |= unlearned
    sources |= {f"{n} control": c for n, c in controls.items() if c}
    for name, source in sources.items():
        _baseline(state, name, source)


def _baseline(state: State, name: str, source: str) -> None:
    task = state.task
    sets: dict[str, Sequence[Question]] = {
        "forget": task.questions("forget", "confirm"),
        "retain": task.questions("retain", "confirm"),
        "forget_select": task.questions("forget", "select"),
        "retain_select": task.questions("retain", "select"),
        **task.extra,
    }
    with state.timed(f"baseline of {name}"):
        model = load(source)
        state.scores[name] = {
            key: score(model, questions, task.prompt, scoring=task.scoring)
            for key, questions in sets.items()
        }
        state.models[name] = describe(model)
        if name == "original":
            hidden = no_question(model, sets["forget"], task.prompt, task.scoring)
            state.details["guessing"] = {
                "no_question": round(hidden.accuracy, 4),
                "majority_position": round(majority_letter(sets["forget"]), 4),
                "chance": round(task.chance, 4),
            }


def _asked(state: State, name: str) -> tuple[Question, ...]:
    """Select-fold questions that the original answers and the unlearned model does not."""
    questions = state.task.questions("forget", "select")
    lost = state.scores["original"]["forget_select"].correct
    lost = lost & ~state.scores[name]["forget_select"].correct
    chosen = tuple(q for q, keep in zip(questions, lost, strict=True) if keep)
    return chosen if len(chosen) >= 8 else questions


def _references(state: State, unlearned: dict[str, str]) -> dict[tuple[str, str], Any]:
    with state.timed("references from original"):
        model = load(state.plan.original)
        if "logit_lens" in state.plan.attacks:
            state.details["original"] = {"lens": _lens_curves(model, state.task)}
        references = {}
        for name in unlearned:
            for attack in state.plan.attacks:
                with metered() as meter:
                    config = state.plan.settings("attack", attack, preset_for(model))
                    references[name, attack] = find("attack", attack).reference(
                        model, state.task, _asked(state, name), config
                    )
                state.flops[name, attack] = meter.flops
    return references


def _attack(state: State, name: str, source: str, references: dict[tuple[str, str], Any]) -> None:
    plan, task = state.plan, state.task
    model = load(source)
    detail = state.details.setdefault(name, {})
    for attack in plan.attacks:
        with state.timed(f"{attack} on {name}"):
            with metered() as meter:
                found = _found(state, name, attack, model, references)
                choice = choose(
                    model,
                    found,
                    task,
                    retain_before=state.scores[name]["retain_select"].accuracy,
                    limit=plan.retain_limit,
                )
            state.flops[name, attack] += meter.flops
            state.choices[name, attack] = choice
            settings = choice.candidate.settings
            arms, chosen = {}, [choice.candidate]
            (arms["attacked"],) = score_candidates(model, chosen, "forget", "confirm", task)
            (arms["retain"],) = score_candidates(model, chosen, "retain", "confirm", task)
            shams = [found.sham(settings, plan.seed + i) for i in range(SHAMS)]
            drawn = [s for s in shams if s is not None]
            if drawn:
                scores = score_candidates(model, drawn, "forget", "confirm", task)
                arms["sham"] = sorted(scores, key=lambda s: s.accuracy)[len(scores) // 2]
            else:
                arms["sham"] = shuffled_answers(arms["attacked"], plan.seed)
            state.arms[name, attack] = arms
            detail.setdefault("tried", {})[attack] = choice.tried
            if seen := found.details(settings):
                detail.setdefault("attacks", {})[attack] = {"unlearned": seen}
            if attack == "logit_lens":
                detail["lens"] = _lens_curves(model, task)
            if attack == "direction_ablation":
                edited = [i for i in found.edited if i in settings["layers"]]
                layer = (edited or settings["layers"])[-1]
                shown = found.directions[settings["against"]], layer
                state.shown[name] = shown
                detail["projection"] = {name: projections(model, *shown, task)}


def _found(
    state: State,
    name: str,
    attack: str,
    model: HookedModel,
    references: dict[tuple[str, str], Any],
) -> Any:
    """What the attack finds in a model, with the plan's settings for it."""
    config = state.plan.settings("attack", attack, preset_for(model))
    asked = _asked(state, name)
    return find("attack", attack).find(model, state.task, asked, references[name, attack], config)


def _attack_control(
    state: State, name: str, source: str | None, references: dict[tuple[str, str], Any]
) -> None:
    """The same attack, at the settings chosen for ``name``, on the model that never knew."""
    assert source is not None
    task = state.task
    model = load(source)
    for attack in state.plan.attacks:
        with state.timed(f"{attack} on never-knew after {name}"):
            found = _found(state, name, attack, model, references)
            settings = state.choices[name, attack].candidate.settings
            chosen = [found.build(settings)]
            (scored,) = score_candidates(model, chosen, "forget", "confirm", task)
            state.arms[name, attack]["control"] = scored
            if seen := found.details(settings):
                state.details[name]["attacks"][attack]["never_knew"] = seen
            if attack == "logit_lens":
                state.details[name]["control_lens"] = _lens_curves(model, task)


def _ceilings(state: State) -> None:
    """The chosen variants on the original itself: does the attack hurt or inflate accuracy?"""
    task = state.task
    with state.timed("ceilings on original"):
        model = load(state.plan.original)
        for key, arms in state.arms.items():
            # What was measured on the way is of another model.
            chosen = [dataclasses.replace(state.choices[key].candidate, measured={})]
            (arms["original"],) = score_candidates(model, chosen, "forget", "confirm", task)
        for name, shown in state.shown.items():
            drawn = projections(model, *shown, task)
            state.details[name]["projection"]["original"] = drawn


def _lens_curves(model: HookedModel, task: Task) -> list[dict[str, Any]]:
    scores = logit_lens(model, task.questions("forget", "confirm"), task)
    return [
        {
            "layer": point.layer,
            "stream": point.stream,
            "accuracy": round(s.accuracy, 4),
            "interval": [round(x, 4) for x in s.interval],
        }
        for point, s in scores.items()
    ]
