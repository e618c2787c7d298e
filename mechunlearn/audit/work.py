"""What one cell computes, on a model that is loaded already."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mechunlearn.attacks import Candidate
from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.attacks.projection import projections
from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.identity import plain
from mechunlearn.audit.pool import Loaded
from mechunlearn.audit.select import choose, score_candidates
from mechunlearn.audit.store import compact
from mechunlearn.bench import majority_letter, no_question, score
from mechunlearn.environment import machine, versions
from mechunlearn.hooks import metered
from mechunlearn.models import describe
from mechunlearn.registry import find
from mechunlearn.types import Direction, HookedModel, Question, Score, Task

SHAMS = 3
"""Placebos drawn; the one of median accuracy is reported."""
ASKED = 8
"""With fewer lost questions than these, attacks look at the whole select fold."""
Done = Callable[[Cell, dict[str, Any]], None]


def baseline(model: HookedModel, task: Task, *, original: bool) -> dict[str, Any]:
    """Answers to every question set, without any attack."""
    sets: dict[str, Sequence[Question]] = {
        "forget": task.questions("forget", "confirm"),
        "retain": task.questions("retain", "confirm"),
        "forget_select": task.questions("forget", "select"),
        "retain_select": task.questions("retain", "select"),
        **task.extra,
    }
    found: dict[str, Any] = {"predictions": {}}
    for name, questions in sets.items():
        scored = score(model, questions, task.prompt, scoring=task.scoring)
        found["predictions"][name] = compact(scored)
    found["model"] = describe(model)
    if original:
        hidden = no_question(model, sets["forget"], task.prompt, task.scoring)
        found["answers"] = {k: "".join(str(q.answer) for q in s) for k, s in sets.items()}
        found["choices"] = {k: max(len(q.choices) for q in s) for k, s in sets.items()}
        found["guessing"] = {
            "no_question": round(hidden.accuracy, 4),
            "majority_position": round(majority_letter(sets["forget"]), 4),
            "chance": round(task.chance, 4),
        }
        found["lens"] = lens_curves(model, task)
        found["versions"], found["machine"] = versions(), machine(found["model"]["device"])
    return found


@dataclass(slots=True)
class Group:
    """The missing cells of one attack on one unlearned model."""

    name: str
    attack: str
    missing: dict[str, Cell]
    """By kind."""
    settings: dict[str, Any] | None = None
    """What the select fold chose, where the attack cell is there already."""
    asked: tuple[Question, ...] = ()
    retain_before: float = 0.0
    reference: Any = None
    flops: int = 0
    candidate: Candidate | None = None
    shown: tuple[Direction, int] | None = None
    """The direction and layer whose projections are drawn."""


def compute(setup: Setup, groups: Sequence[Group], load: Loaded, done: Done) -> None:
    """Compute the groups' missing cells, model after model.

    Args:
        done: Called with each cell as soon as its result is there.
    """
    original = setup.sources["original"]
    for group in groups:  # No name may hold a model on: the next one may need its room.
        _reference(setup, group, load(original))
    for name in dict.fromkeys(group.name for group in groups):
        mine = [group for group in groups if group.name == name]
        for group in mine:
            if "attack" in group.missing:
                _timed(done, group, "attack", _attack, setup, load(setup.sources[name]))
            elif "ceiling" in group.missing:
                _rebuild(setup, group, load(setup.sources[name]))
        for group in mine:
            if "control" in group.missing:
                _timed(
                    done, group, "control", _control, setup, load(setup.sources[f"{name} control"])
                )
            group.reference = None
    for group in groups:
        if "ceiling" in group.missing:
            _timed(done, group, "ceiling", _ceiling, setup, load(original))


def _reference(setup: Setup, group: Group, model: HookedModel) -> None:
    """What the attack has to know of the original."""
    with metered() as meter:
        attack = find("attack", group.attack)
        config = setup.config(group.attack)
        group.reference = attack.reference(model, setup.task, group.asked, config)
    group.flops = meter.flops


def _timed(
    done: Done,
    group: Group,
    kind: str,
    work: Callable[[Setup, Group, HookedModel], dict[str, Any]],
    setup: Setup,
    model: HookedModel,
) -> None:
    start = time.perf_counter()
    result = work(setup, group, model)
    result["seconds"] = round(time.perf_counter() - start, 2)
    done(group.missing[kind], result)
    setup.search_file(group.missing[kind]).unlink(missing_ok=True)


def _found(setup: Setup, group: Group, model: HookedModel, kind: str) -> Any:
    """What the attack finds in a model, with the plan's settings for it."""
    config = setup.config(group.attack)
    attack = find("attack", group.attack)
    kept = {}
    if getattr(attack, "resumes", False) and kind in group.missing:
        kept = {"state_file": setup.search_file(group.missing[kind])}
    return attack.find(model, setup.task, group.asked, group.reference, config, **kept)


def _attack(setup: Setup, group: Group, model: HookedModel) -> dict[str, Any]:
    """Choose on the select fold; then the confirm fold and the shams, once."""
    plan, task = setup.plan, setup.task
    with metered() as meter:
        found = _found(setup, group, model, "attack")
        choice = choose(
            model, found, task, retain_before=group.retain_before, limit=plan.retain_limit
        )
    group.candidate = choice.candidate
    group.settings = settings = plain(choice.candidate.settings)
    chosen = [choice.candidate]
    (attacked,) = score_candidates(model, chosen, "forget", "confirm", task)
    (retain,) = score_candidates(model, chosen, "retain", "confirm", task)
    shams = [found.sham(settings, plan.seed + i) for i in range(SHAMS)]
    drawn = [s for s in shams if s is not None]
    sham_scores: list[Score] = (
        score_candidates(model, drawn, "forget", "confirm", task) if drawn else []
    )
    result: dict[str, Any] = {
        "settings": settings,
        "within_limit": choice.within_limit,
        "flops": group.flops + meter.flops,
        "predictions": {"attacked": compact(attacked), "retain": compact(retain)},
        "shams": [compact(s) for s in sham_scores],
        "tried": choice.tried,
        "tried_predictions": [compact(s) for s in choice.scores],
        "tried_on": _places(task, getattr(found, "chosen_by", None)),
        "details": found.details(settings),
    }
    if group.attack == "logit_lens":
        result["lens"] = lens_curves(model, task)
    if shown := _shown(group, found):
        result["projection"] = projections(model, *shown, task)
    return result


def _places(task: Task, chosen_by: Sequence[Question] | None) -> list[int] | None:
    """Which select-fold questions were used; ``None``: all."""
    if chosen_by is None:
        return None
    used = set(map(id, chosen_by))
    return [i for i, q in enumerate(task.questions("forget", "select")) if id(q) in used]


def _shown(group: Group, found: Any) -> tuple[Direction, int] | None:
    """For an ablation: the direction and the last edited layer it is applied at."""
    if group.attack == "direction_ablation":
        assert group.settings is not None
        layers = group.settings["layers"]
        edited = [i for i in found.edited if i in layers]
        layer = (edited or layers)[-1]
        group.shown = found.directions[group.settings["against"]], layer
    return group.shown


def _rebuild(setup: Setup, group: Group, model: HookedModel) -> None:
    """The chosen variant of an attack that was computed in an earlier run."""
    assert group.settings is not None
    attack = find("attack", group.attack)
    if hasattr(attack, "rebuild"):
        config = setup.config(group.attack)
        group.candidate = attack.rebuild(model, setup.task, group.settings, config)
        return
    found = _found(setup, group, model, "ceiling")
    group.candidate = found.build(group.settings)
    _shown(group, found)


def _control(setup: Setup, group: Group, model: HookedModel) -> dict[str, Any]:
    """The same attack, at the settings chosen for the unlearned model, on the never-knew model."""
    assert group.settings is not None
    found = _found(setup, group, model, "control")
    chosen = [found.build(group.settings)]
    (scored,) = score_candidates(model, chosen, "forget", "confirm", setup.task)
    result: dict[str, Any] = {
        "predictions": {"control": compact(scored)},
        "details": found.details(group.settings),
    }
    if group.attack == "logit_lens":
        result["lens"] = lens_curves(model, setup.task)
    return result


def _ceiling(setup: Setup, group: Group, model: HookedModel) -> dict[str, Any]:
    """The chosen variant on the original itself: does the attack hurt or inflate accuracy?"""
    assert group.candidate is not None
    # What was measured on the way is of another model.
    chosen = [dataclasses.replace(group.candidate, measured={})]
    (scored,) = score_candidates(model, chosen, "forget", "confirm", setup.task)
    result: dict[str, Any] = {"predictions": {"original": compact(scored)}}
    if group.shown:
        result["projection"] = projections(model, *group.shown, setup.task)
    return result


def lens_curves(model: HookedModel, task: Task) -> list[dict[str, Any]]:
    """Accuracy of the confirm fold read at every stream and layer."""
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
