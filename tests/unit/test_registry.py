"""Attacks that a process registers itself."""

import dataclasses
from pathlib import Path

import pytest

from mechunlearn.attacks import Attack, Grid, NoSettings, Search, Seen
from mechunlearn.audit.cells import set_up
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import run
from mechunlearn.cli.errors import explained
from mechunlearn.registry import ATTACKS, TABLES, find, names, register
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Point, Task
from mechunlearn.unlearn.rmu import RMU

UNTRAINED = (
    "direction_ablation",
    "ablation_search",
    "logit_lens",
    "tuned_lens",
    "probes",
    "probes_retain",
    "patching",
    "patchscope",
    "pruning_weights",
    "pruning_neurons",
    "pruning_heads",
    "quantization",
    "perturbation_naive",
    "perturbation_informed",
    "jailbreak",
)
"""Attacks that train nothing and look at the select fold only."""


class Nothing(Attack[NoSettings, None, Point]):
    """An attack that tries one thing, which does nothing."""

    family, access, needs = "prompt", frozenset({"prompts"}), frozenset()
    variant, presets = Point, {"organism": NoSettings()}

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NoSettings
    ) -> Search[Point]:
        return Grid([Point(0)], lambda v: NO_CHANGE, lambda v, seed: Change("sham"))


class Spoils(Nothing):
    """Leaves something behind in the model that it looked at."""

    def __init__(self, what: str) -> None:
        self.what = what

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NoSettings
    ) -> Search[Point]:
        weight = model.blocks[0].mlp.out.original_component.weight
        if self.what == "other weights":
            weight.data[[0, 1]] = weight.data[[1, 0]].clone()  # The same numbers elsewhere.
        elif self.what == "hooks":
            model.add_hook("blocks.0.hook_out", lambda activation, hook: activation)
        elif self.what == "no search":
            raise IndexError("no such thing")
        return super().search(model, seen, reference, config)


class Unfinished(Attack[NoSettings, None, Point]):
    """No search, no needs."""

    family, access = "prompt", frozenset({"prompts"})
    variant, presets = Point, {"organism": NoSettings()}


class Unheard(Nothing):
    """Of a family that there is not."""

    family = "telepathy"


def test_own_attacks_are_found_by_name(added: None) -> None:
    register("attack", "nothing", Nothing)
    assert isinstance(find("attack", "nothing"), Nothing)
    assert find("attack", "nothing") is find("attack", "nothing")
    instance = Nothing()
    register("attack", "nothing", instance)
    assert find("attack", "nothing") is instance
    assert AuditPlan(attacks=("all",)).attacks == (*ATTACKS, "nothing")


def test_there_is_one_instance_of_each_attack() -> None:
    for name in UNTRAINED:
        assert isinstance(find("attack", name), Attack)
        assert find("attack", name) is find("attack", name)
        assert find("attack", name).preset("large") in find("attack", name).presets


@pytest.mark.parametrize("name", UNTRAINED)
def test_no_reported_question_is_seen(name: str, task: Task) -> None:
    attack = find("attack", name)
    seen = Seen.of(task, attack, name=name, config=next(iter(attack.presets.values())))
    reported = {id(q) for role in ("forget", "retain") for q in task.questions(role, "confirm")}
    for part in seen.parts.values():
        assert not reported & set(map(id, part))
    with pytest.raises(ValueError, match=f"{name} looks at tested, but does not declare"):
        seen.tested  # noqa: B018


def test_measures_and_figures_are_registered_too(added: None) -> None:
    assert set(names("measure")) >= {"letter", "cloze"}
    measure = find("measure", "letter")
    register("measure", "own", measure)
    assert find("measure", "own") is measure
    with pytest.raises(TypeError, match="figure 'own' lacks"):
        register("figure", "own", object())
    with pytest.raises(ValueError, match="unknown measure 'leter'; did you mean 'letter'"):
        find("measure", "leter")
    with pytest.raises(ValueError, match="unknown kind 'figures'; did you mean 'figure'"):
        find("figures", "lens")


def test_own_attacks_are_part_of_what_cells_depend_on(
    added: None, tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    def keys(version: int) -> set[str]:
        register("attack", "nothing", Nothing, version=version)
        plan = dataclasses.replace(tiny_plan, attacks=("nothing",), changes=())
        return {cell.key for cell in set_up(plan, tmp_path, 1).cells if cell.attack}

    assert keys(1) == keys(1)
    assert not keys(1) & keys(2)


def test_own_methods_are_part_of_what_models_are_made_of(
    added: None, tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    def made(version: int) -> str:
        register("method", "mine", RMU, version=version)
        plan = dataclasses.replace(tiny_plan, unlearned=(), methods=("mine",), changes=())
        return set_up(plan, tmp_path, 1).entry("mine").identity

    assert made(1) == made(1) != made(2)


@pytest.mark.parametrize("what", ["other weights", "hooks", "nothing"])
def test_an_attack_that_leaves_something_behind_is_refused(
    what: str, added: None, tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    """The attacks after it would be measured on a spoiled model, and kept."""
    register("attack", "spoils", Spoils(what))
    plan = dataclasses.replace(tiny_plan, attacks=("spoils", "logit_lens"), changes=())
    if what == "nothing":
        assert len(run(plan, tmp_path).complete) == 2
        return
    with pytest.raises(ValueError, match=f"spoils left {what} in the model"):
        run(plan, tmp_path)
    assert not list((tmp_path / "cells").glob("attack-*"))


def test_an_attack_that_fails_is_named(added: None, tiny_plan: AuditPlan, tmp_path: Path) -> None:
    register("attack", "spoils", Spoils("no search"))
    plan = dataclasses.replace(tiny_plan, attacks=("spoils",), changes=())
    with pytest.raises(IndexError) as caught:
        run(plan, tmp_path)
    assert explained(caught.value).startswith("spoils on after: IndexError: no such thing; this")


@pytest.mark.parametrize(
    ("name", "entry", "error"),
    [
        ("logit_lens", Nothing, "the package has its own"),
        ("two words", Nothing, "letters, digits"),
        ("empty", object(), "lacks family, access, needs, variant, presets, search"),
        ("unfinished", Unfinished, "lacks needs, search"),
        ("unheard", Unheard, "unknown family of attack 'unheard': 'telepathy'"),
    ],
)
def test_what_cannot_be_registered(added: None, name: str, entry: object, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        register("attack", name, entry)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mechunlearn.registry._ADDED", {kind: {} for kind in TABLES})
