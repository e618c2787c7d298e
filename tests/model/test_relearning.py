"""Relearning: what comes back and what its sham brings; the model is itself again afterwards."""

import dataclasses
from collections.abc import Callable

import pytest

from mechunlearn.attacks import Variants
from mechunlearn.attacks.curves import Curve, Point, half_recovery
from mechunlearn.attacks.relearning import (
    DISJOINT,
    QUESTIONS,
    RETAIN,
    TESTED,
    TEXT,
    Relearning,
    RelearningConfig,
    relearning,
    shuffled,
)
from mechunlearn.audit.select import choose
from mechunlearn.bench import score
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.models import fingerprint, load
from mechunlearn.models.lora import LoRA
from mechunlearn.types import Example, HookedModel, Task

QUICK = RelearningConfig(rates=(1e-3,), steps=2, batch=8, seeds=(0,))


def test_teaching_the_tested_facts_moves_the_number_and_its_sham_does_not(task: Task) -> None:
    model = load("organism:never_knew")
    facts = task.questions("forget", "confirm")[:24]
    small = dataclasses.replace(task, extra={})
    items = [task.example(q) for q in facts]
    config = RelearningConfig(rates=(3e-3,), steps=30, batch=24)
    found = {}
    for name, examples in (("facts", items), ("sham", shuffled(items, 0))):
        rows = example_rows(model, examples, "answer", 100)
        change = relearning(rows, config, rate=3e-3, seed=0, steps=30)
        found[name] = score(model, facts, small.prompt, change=change).accuracy
    assert found["facts"] > 0.7
    assert found["sham"] < 0.6


@pytest.mark.parametrize("attack", [DISJOINT, TEXT, QUESTIONS], ids=lambda a: a.data)
def test_curves_are_what_retraining_gives(
    attack: Relearning, organism: HookedModel, task: Task
) -> None:
    before = fingerprint(organism)
    found = attack.find(organism, task, (), None, QUICK)
    assert fingerprint(organism) == before
    (curve,) = found.curves
    assert [p.steps for p in curve.points] == [0, 1, 2]
    assert [p.samples for p in curve.points] == [0, 8, 16]
    assert curve.points[0].flops == 0 < curve.points[1].flops
    assert (curve.points[-1].tokens > 0) == (attack is DISJOINT)
    settings = found.grid()[1]
    assert settings == {"rate": 1e-3, "seed": 0, "steps": 2}
    candidate = found.build(settings)
    confirm = task.questions("forget", "confirm")
    again = score(organism, confirm, task.prompt, change=candidate.change)
    assert (again.logits == candidate.measured["forget confirm"].logits).all()
    assert fingerprint(organism) == before
    assert Curve.from_dict(dataclasses.asdict(curve)) == curve


def test_disjoint_facts_are_neither_tested_nor_chosen_by(organism: HookedModel, task: Task) -> None:
    found = DISJOINT.find(organism, task, (), None, QUICK)
    taught = [organism.tokenizer.decode(row.tokens) for row in found.rows]
    chosen_by = found.build(found.grid()[0]).measured["forget select"].n
    names = {q.source for q in task.questions("forget", "confirm")}
    assert not [t for t in taught if names & set(t.split())]
    assert len(taught) + chosen_by == len(task.questions("forget", "select"))


def test_adapters_teach_too_and_go(task: Task) -> None:
    model = load("organism:never_knew")
    config = dataclasses.replace(QUICK, lora=LoRA(rank=4))
    before, names = fingerprint(model), [n for n, _ in model.named_parameters()]
    found = TESTED.find(model, task, (), None, config)
    assert found.curves[0].points[-1].steps == 2
    assert fingerprint(model) == before
    assert [n for n, _ in model.named_parameters()] == names


def test_shuffling_keeps_prompts_and_answers() -> None:
    items = [Example(f"what is {i}", f" {i}") for i in range(20)]
    sham = shuffled(items, 0)
    assert [e.prompt for e in sham] == [e.prompt for e in items]
    assert sorted(e.answer for e in sham) == sorted(e.answer for e in items)
    assert sum(a == b for a, b in zip(items, sham, strict=True)) < 5
    assert sorted(shuffled(["a b c d e"], 0)[0].split()) == list("abcde")


def test_half_recovery_is_the_first_point_half_way() -> None:
    def curve(rate: float, accuracies: list[float]) -> Curve:
        points = [
            Point(2**i if i else 0, 10 * i, 0, 0, a, (0.0, 1.0), 1.0)
            for i, a in enumerate(accuracies)
        ]
        return Curve(rate, 0, tuple(points))

    curves = [curve(0.1, [0.9, 0.3, 0.5, 0.7]), curve(0.2, [0.2, 0.6, 0.1, 0.1])]
    point = half_recovery(curves, start=0.2, original=1.0)
    assert point is not None
    assert (point.samples, point.accuracy) == (10, 0.6)
    assert half_recovery(curves, start=0.6, original=1.0) is None


def test_the_schedule_stays_that_of_the_whole_run(tiny: Callable[[str], HookedModel]) -> None:
    config = RelearningConfig(rates=(1e-2,), steps=4, batch=2, decay=1.0)
    rows = example_rows(tiny("gpt2"), [Example("the glow of", " amber")] * 2, "answer", 50)
    ends = []
    for total in (config, dataclasses.replace(config, steps=2)):
        model = tiny("gpt2")
        with relearning(rows, total, rate=1e-2, seed=0, steps=2).on(model):
            ends.append(fingerprint(model))
    assert ends[0] != ends[1]


def test_mistakes_are_told(organism: HookedModel, task: Task) -> None:
    with pytest.raises(ValueError, match="samples=9999, but there are only 96"):
        DISJOINT.find(organism, task, (), None, dataclasses.replace(QUICK, samples=9999))
    bare = dataclasses.replace(task, plain_text=())
    with pytest.raises(ValueError, match="no data for relearning from text"):
        TEXT.find(organism, bare, (), None, QUICK)
    alone = tuple(
        dataclasses.replace(q, source="one") if q.fold == "select" else q for q in task.forget
    )
    with pytest.raises(ValueError, match="two sources"):
        DISJOINT.find(organism, dataclasses.replace(task, forget=alone), (), None, QUICK)
    with pytest.raises(ValueError, match="relearning needs"):
        RelearningConfig(rates=(), steps=1)
    config = dataclasses.replace(QUICK, lora=LoRA(rank=2, targets=("gate",)))
    with pytest.raises(ValueError, match="match nothing"):
        DISJOINT.find(organism, task, (), None, config)


def test_a_run_that_explodes_ends_early(organism: HookedModel, task: Task) -> None:
    before = fingerprint(organism)
    config = dataclasses.replace(QUICK, rates=(1e30,), steps=4)
    (curve,) = DISJOINT.find(organism, task, (), None, config).curves
    assert [p.steps for p in curve.points] == [0, 1]
    assert fingerprint(organism) == before


def test_keeping_retain_facts_costs_less_of_them(organism: HookedModel, task: Task) -> None:
    kept = []
    for keep in (0, 16):
        config = RelearningConfig(rates=(1e-3,), steps=16, keep=keep, seeds=(0,))
        found = DISJOINT.find(organism, task, (), None, config)
        assert bool(found.kept) is bool(keep)
        kept.append(found.curves[0].points[-1].retain)
        assert found.curves[0].points[-1].samples == 256  # Of the forget domain.
    assert kept[1] > 0.95 > kept[0] + 0.03


def test_retain_facts_that_are_trained_on_do_not_judge_the_loss(
    organism: HookedModel, task: Task
) -> None:
    for attack, keep in ((DISJOINT, 8), (RETAIN, 0)):
        found = attack.find(organism, task, (), None, dataclasses.replace(QUICK, keep=keep))
        rows = found.kept if keep else found.rows
        taught = {w for row in rows for w in organism.tokenizer.decode(row.tokens).split()}
        judged = found.build(found.grid()[0]).measured["retain select"].n
        everything = task.questions("retain", "select")
        assert judged == sum(not taught & set(q.source.split()) for q in everything)
        assert 0 < judged < len(everything)
        assert found.retain_before == found.curves[0].points[0].retain


def test_a_loss_is_told_and_decides_for_other_attacks_only(
    organism: HookedModel, task: Task
) -> None:
    found = DISJOINT.find(organism, task, (), None, dataclasses.replace(QUICK, rates=(0.1,)))
    free = choose(organism, found, task, retain_before=1.0, limit=0.05)
    best = max(p["forget_select"] for p in free.tried)
    assert free.retain < found.retain_before - 0.05
    assert not free.within_limit
    assert free.forget == pytest.approx(best, abs=1e-4)

    class Bound(Variants):
        retain_before = found.retain_before

    bound = choose(organism, Bound(found.grid(), found.build), task, retain_before=1.0, limit=0.05)
    assert bound.retain >= free.retain
    assert all("retain_select" in p for p in bound.tried)  # It looked on for a cheaper one.


def test_what_is_kept_is_said_twice_or_not_at_all(organism: HookedModel, task: Task) -> None:
    rows = example_rows(organism, [task.example(q) for q in task.forget[:4]], "answer", 100)
    for keep, kept in ((0, rows), (4, [])):
        config = dataclasses.replace(QUICK, keep=keep)
        change = relearning(rows, config, kept, rate=1e-3, seed=0, steps=1)
        with pytest.raises(ValueError, match="both or neither"), change.on(organism):
            pass
    with pytest.raises(ValueError, match="numbers of examples"):
        dataclasses.replace(QUICK, keep=-1)
