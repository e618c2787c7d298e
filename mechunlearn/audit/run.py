"""Run a plan: every arm of every attack, with one model in memory at a time."""

import dataclasses
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mechunlearn import __version__
from mechunlearn.attacks import Candidate
from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.audit.arms import Choice, choose, score_candidates, shuffled_answers
from mechunlearn.audit.plan import AuditPlan, label
from mechunlearn.audit.projection import projections
from mechunlearn.audit.verdict import verdict
from mechunlearn.bench import letter_bias, majority_letter, no_question, score
from mechunlearn.hooks import metered
from mechunlearn.models import check, describe, load, save
from mechunlearn.progress import console
from mechunlearn.registry import find
from mechunlearn.stats import holm, recovery
from mechunlearn.tasks import load_task
from mechunlearn.types import Direction, HookedModel, Question, Report, RunCard, Score, Task
from mechunlearn.unlearn import configured, preset_for

REFERENCE_FLOPS = 1e11
"""Arithmetic per second of two ordinary CPU cores; turns counted FLOPs into a row's ``seconds``."""


@dataclass
class _State:
    """What one audit has found so far."""

    plan: AuditPlan
    task: Task
    out: Path
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    """Model -> question set -> score; sets of the select fold end in ``_select``."""
    models: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    choices: dict[tuple[str, str], Choice] = field(default_factory=dict)
    arms: dict[tuple[str, str], dict[str, Score]] = field(default_factory=dict)
    flops: dict[tuple[str, str], int] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: dict[str, tuple[Direction, int]] = field(default_factory=dict)
    """The direction and layer whose projections are drawn."""

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        console.print(f"[dim]{what}[/dim]")
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 2)


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
    state = _State(plan, task, out)
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
    report = _report(state, unlearned, controls)
    write_json(out / "report.json", report.to_dict())
    return report


def write_json(path: Path, data: Any) -> None:
    """Write atomically: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(data, file, indent=1, allow_nan=False)
        file.write("\n")
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _make_models(
    state: _State, identity: dict[str, Any]
) -> tuple[dict[str, str], dict[str, str | None]]:
    """Name -> where to load it, for every unlearned model and for the control beside it."""
    plan, task = state.plan, state.task
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
            with state.timed(f"{name} on {source}"):
                model = load(source)
                method = find("method", name)
                mine = [c.partition(".")[2] for c in plan.changes if c.startswith(f"{name}.")]
                method.apply_(model, task, configured(method, preset_for(model), mine))
                save(model, target)
    return unlearned, controls


def _baselines(state: _State, unlearned: dict[str, str], controls: dict[str, str | None]) -> None:
    plan, task = state.plan, state.task
    sources = {"original": plan.original}
    if plan.control_model:
        sources["never_knew"] = plan.control_model
    sources |= unlearned
    sources |= {f"{n} control": c for n, c in controls.items() if c}
    for name, source in sources.items():
        with state.timed(f"baseline of {name}"):
            model = load(source)
            sets: dict[str, Sequence[Question]] = {
                "forget": task.questions("forget", "confirm"),
                "retain": task.questions("retain", "confirm"),
                "forget_select": task.questions("forget", "select"),
                "retain_select": task.questions("retain", "select"),
                **task.extra,
            }
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


def _asked(state: _State, name: str) -> tuple[Question, ...]:
    """Select-fold questions that the original answers and the unlearned model does not."""
    questions = state.task.questions("forget", "select")
    lost = state.scores["original"]["forget_select"].correct
    lost = lost & ~state.scores[name]["forget_select"].correct
    chosen = tuple(q for q, keep in zip(questions, lost, strict=True) if keep)
    return chosen if len(chosen) >= 8 else questions


def _references(state: _State, unlearned: dict[str, str]) -> dict[tuple[str, str], Any]:
    with state.timed("references from original"):
        model = load(state.plan.original)
        if "logit_lens" in state.plan.attacks:
            state.details["original"] = {"lens": _lens_curves(model, state.task)}
        references = {}
        for name in unlearned:
            for attack in state.plan.attacks:
                with metered() as meter:
                    asked = _asked(state, name)
                    references[name, attack] = find("attack", attack).reference(
                        model, state.task, asked
                    )
                state.flops[name, attack] = meter.flops
    return references


def _attack(state: _State, name: str, source: str, references: dict[tuple[str, str], Any]) -> None:
    plan, task = state.plan, state.task
    forget, retain = task.questions("forget", "confirm"), task.questions("retain", "confirm")
    model = load(source)
    detail = state.details.setdefault(name, {})
    for attack in plan.attacks:
        with state.timed(f"{attack} on {name}"):
            with metered() as meter:
                found = find("attack", attack).find(
                    model, task, _asked(state, name), references[name, attack]
                )
                choice = choose(
                    model,
                    found,
                    task,
                    retain_before=state.scores[name]["retain_select"].accuracy,
                    limit=plan.retain_limit,
                )
            state.flops[name, attack] += meter.flops
            state.choices[name, attack] = choice
            arms = {}
            (arms["attacked"],) = score_candidates(model, [choice.candidate], forget, task)
            (arms["retain"],) = score_candidates(model, [choice.candidate], retain, task)
            sham = found.sham(choice.candidate.settings, plan.seed)
            if sham is None:
                arms["sham"] = shuffled_answers(arms["attacked"], plan.seed)
            else:
                (arms["sham"],) = score_candidates(model, [sham], forget, task)
            state.arms[name, attack] = arms
            detail.setdefault("tried", {})[attack] = choice.tried
            if attack == "logit_lens":
                detail["lens"] = _lens_curves(model, task)
            if attack == "direction_ablation":
                settings = choice.candidate.settings
                edited = [i for i in found.edited if i in settings["layers"]]
                layer = (edited or settings["layers"])[-1]
                shown = found.directions[settings["against"]], layer
                state.shown[name] = shown
                detail["projection"] = {name: projections(model, *shown, task)}


def _attack_control(
    state: _State, name: str, source: str | None, references: dict[tuple[str, str], Any]
) -> None:
    """The same attack, at the settings chosen for ``name``, on the model that never knew."""
    assert source is not None
    task, forget = state.task, state.task.questions("forget", "confirm")
    model = load(source)
    for attack in state.plan.attacks:
        with state.timed(f"{attack} on never-knew after {name}"):
            found = find("attack", attack).find(
                model, task, _asked(state, name), references[name, attack]
            )
            candidate = found.build(state.choices[name, attack].candidate.settings)
            (scored,) = score_candidates(model, [candidate], forget, task)
            state.arms[name, attack]["control"] = scored
            if attack == "logit_lens":
                state.details[name]["control_lens"] = _lens_curves(model, task)


def _ceilings(state: _State) -> None:
    """The chosen variants on the original itself: does the attack hurt or inflate accuracy?"""
    task, forget = state.task, state.task.questions("forget", "confirm")
    with state.timed("ceilings on original"):
        model = load(state.plan.original)
        for key, arms in state.arms.items():
            candidate: Candidate = state.choices[key].candidate
            (arms["original"],) = score_candidates(model, [candidate], forget, task)
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


def _report(state: _State, unlearned: dict[str, str], controls: dict[str, str | None]) -> Report:
    rows = [
        _row(state, name, attack, controls.get(name))
        for name in unlearned
        for attack in state.plan.attacks
    ]
    for row, p in zip(rows, holm([r["p_value"] for r in rows]), strict=True):
        row["p_holm"] = _short(p)
    shown = ["original", *(["never_knew"] if "never_knew" in state.scores else []), *unlearned]
    shown += [f"{n} control" for n, c in controls.items() if c and n in state.plan.methods]
    baselines = {
        name: {
            key: {"accuracy": _short(s.accuracy), "accuracy_ci": _short(s.interval), "n": s.n}
            for key, s in state.scores[name].items()
            if not key.endswith("_select")
        }
        for name in shown
    }
    for name in unlearned:
        mine = [r for r in rows if r["unlearned"] == name]
        state.details[name]["verdict"] = verdict(mine, baselines, state.task.chance)
        if state.task.scoring == "letter":
            share = letter_bias(state.scores[name]["forget"])
            state.details[name]["letter_share"] = [_short(float(x)) for x in share]
    return Report(_runcard(state), baselines, rows, state.details)


def _row(state: _State, name: str, attack: str, control: str | None) -> dict[str, Any]:
    scores, arms = state.scores, state.arms[name, attack]
    choice = state.choices[name, attack]
    before = scores[name]["forget"]
    attacked_control = arms["control"] if control else arms["sham"]
    found = recovery(
        original=scores["original"]["forget"].correct,
        unlearned=before.correct,
        attacked=arms["attacked"].correct,
        control=(scores[f"{name} control"]["forget"] if control else before).correct,
        attacked_control=attacked_control.correct,
        seed=state.plan.seed,
    )
    flops = state.flops[name, attack]
    return {
        "unlearned": name,
        "attack": attack,
        "settings": choice.candidate.settings,
        "n": before.n,
        "accuracy": _short(arms["attacked"].accuracy),
        "accuracy_ci": _short(arms["attacked"].interval),
        "recovery": _short(found.ratio),
        "recovery_ci": _short(found.ratio_ci),
        "difference": _short(found.difference),
        "difference_ci": _short(found.difference_ci),
        "gap": _short(found.gap),
        "gap_ci": _short(found.gap_ci),
        "p_value": found.p_value,
        "p_holm": 1.0,
        "detectable": _short(found.detectable),
        "control": "never_knew" if control else "sham",
        "control_accuracy": _short(attacked_control.accuracy),
        "sham_accuracy": _short(arms["sham"].accuracy),
        "original_accuracy": _short(arms["original"].accuracy),
        "retain_accuracy": _short(arms["retain"].accuracy),
        "within_limit": choice.within_limit,
        "flops": flops,
        "seconds": _short(flops / REFERENCE_FLOPS),
    }


def _short(value: Any) -> Any:
    """Six significant digits, so that files stay readable."""
    if isinstance(value, tuple):
        return [_short(v) for v in value]
    return None if value is None else float(f"{value:.6g}")


def _runcard(state: _State) -> dict[str, Any]:
    task = state.task
    card = RunCard(
        command=state.plan.command(state.out),
        seed=state.plan.seed,
        models=state.models,
        task={
            "name": task.name,
            "scoring": task.scoring,
            "chance": task.chance,
            "n": {
                f"{role}, {fold}": len(task.questions(role, fold))
                for role in ("forget", "retain")
                for fold in ("select", "confirm")
            },
        },
        settings=state.plan.to_dict(),
        versions={"mechunlearn": __version__}
        | {p: version(p) for p in ("torch", "transformers", "transformer-lens", "numpy", "scipy")},
        machine={
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "device": next(iter(state.models.values()))["device"],
            "python": sys.version.split()[0],
        },
        seconds=state.seconds,
    )
    return dataclasses.asdict(card)
