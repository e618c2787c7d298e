"""What attacks get to see: what they declare, and no question that is reported."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mechunlearn.analysis.analyse import audit
from mechunlearn.attacks import Attack, Grid, NoSettings, Search, Seen, halves
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.registry import ATTACKS, TABLES, find, register
from mechunlearn.types import Change, HookedModel, Question, Task


def reachable(thing: object, depth: int = 6) -> Iterator[object]:
    """Everything that attributes and items lead to."""
    yield thing
    if depth == 0 or isinstance(thing, str | int | float | type(None)):
        return
    parts: list[object] = []
    if isinstance(thing, dict):
        parts += [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        parts += list(thing)
    if dataclasses.is_dataclass(thing):
        parts += [getattr(thing, f.name) for f in dataclasses.fields(thing)]
    parts += list(getattr(thing, "__dict__", {}).values())
    for part in parts:
        yield from reachable(part, depth - 1)


def questions(thing: object) -> set[Question]:
    return {x for x in reachable(thing) if isinstance(x, Question)}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_shipped_attack_sees_a_reported_question_it_does_not_declare(
    name: str, task: Task, organism: HookedModel
) -> None:
    attack = find("attack", name)
    config = next(iter(attack.presets.values()))
    seen = Seen.of(task, attack, name=name, config=config, tokenizer=organism.tokenizer)
    confirm = {q for role in ("forget", "retain") for q in task.questions(role, "confirm")}
    seen_confirm = questions(seen) & confirm
    if "the tested facts" in attack.needs:
        assert seen_confirm == set(task.questions("forget", "confirm"))
    else:
        assert not seen_confirm


class Greedy(Attack[NoSettings, None, NoSettings]):
    """Looks for reported questions wherever it can reach."""

    family = "prompt"
    access = frozenset({"prompts"})
    needs = frozenset({"forget questions", "retain facts"})
    variant = NoSettings
    presets = {"organism": NoSettings()}  # noqa: RUF012
    stolen: set[Question]

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NoSettings
    ) -> Search[NoSettings]:
        """Steals what it sees, tries what it did not declare, and changes nothing."""
        type(self).stolen = questions([seen, seen.watch, self])
        for undeclared in ("tested", "forget_text", "plain_text", "plain_examples", "used_tokens"):
            with pytest.raises(ValueError, match="does not declare that it needs"):
                getattr(seen, undeclared)
        nothing = Change("nothing")
        return Grid([config], lambda v: nothing, lambda v, seed: nothing)


@pytest.mark.ci
def test_an_attack_that_reaches_for_the_confirm_fold_cannot(
    tiny_plan: AuditPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mechunlearn.registry._ADDED", {kind: {} for kind in TABLES})
    register("attack", "greedy", Greedy)
    plan = dataclasses.replace(tiny_plan, attacks=("greedy",), changes=())
    report = audit(plan, tmp_path / "run")
    assert report.rows[0].family == "prompt"
    assert Greedy.stolen
    assert {q.fold for q in Greedy.stolen} == {"select"}


def test_a_set_is_split_by_sources_or_refused(task: Task) -> None:
    learn, judge = halves(task.questions("forget", "select"), "they")
    assert learn
    assert judge
    assert not {q.source for q in learn} & {q.source for q in judge}
    one: list[Any] = [dataclasses.replace(q, source="one") for q in learn]
    with pytest.raises(ValueError, match="needs two sources; they have 1"):
        halves(one, "they")
