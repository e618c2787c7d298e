"""Relearning: what comes back and what its sham brings; the model is itself again afterwards."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import Confirm, Progress, Scored, Seen
from mechunlearn.attacks.relearning import (
    DISJOINT,
    QUESTIONS,
    RETAIN,
    TESTED,
    TEXT,
    Relearning,
    RelearningSearch,
)
from mechunlearn.attacks.relearning_data import (
    Lessons,
    items_of,
    shared_wording,
    wording_trace,
)
from mechunlearn.attacks.relearning_runs import relearn_, relearning
from mechunlearn.attacks.relearning_settings import RelearningConfig, Run, Sweep
from mechunlearn.attacks.relearning_sweep import race, rounds_of, settings_of
from mechunlearn.attacks.vocabulary import NEEDS
from mechunlearn.audit.select import Deciding, Measured, choose, confirmed
from mechunlearn.bench import score
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.models import fingerprint
from mechunlearn.models.lora import LoRA
from mechunlearn.records import plain
from mechunlearn.registry import ATTACKS, find
from mechunlearn.tasks.exchange import shuffled
from mechunlearn.train import DivergedError
from mechunlearn.types import Change, Example, HookedModel, Question, Task

QUICK = RelearningConfig(rates=(1e-3,), steps=2, batch=8, seeds=(0,))


@pytest.fixture(scope="module")
def small(task: Task) -> Task:
    """Every fifth question: what is measured on the way takes longer than these trainings."""
    return dataclasses.replace(task, forget=task.forget[::5], retain=task.retain[::5])


def watched(
    attack: Relearning, model: HookedModel, task: Task, config: RelearningConfig
) -> tuple[RelearningSearch, Measured]:
    """The attack, and what an audit measures on the way."""
    measured = Measured(Deciding.of(task, attack.data, attack.splits(config)))
    seen = Seen.of(task, attack, name=attack.data, config=config, watch=measured)
    return attack.search(model, seen, None, config), measured


@pytest.mark.ci
def test_teaching_the_tested_facts_moves_the_number_and_its_sham_does_not(
    organisms: Callable[[str], HookedModel], task: Task
) -> None:
    model = organisms("organism:never_knew")
    facts = task.questions("forget", "confirm")[:12]
    items = [task.example(q) for q in facts]
    config = RelearningConfig(rates=(3e-3,), steps=16, batch=12)
    found = {}
    for name, examples in (("facts", items), ("sham", shuffled(items, 0))):
        rows = example_rows(model, examples, "answer", 100)
        change = relearning(Lessons(rows), config, Run(3e-3, 0, 16))
        found[name] = score(model, facts, task.prompt, change=change).accuracy
    assert found["facts"] > 0.7
    assert found["sham"] < 0.6


LONG = [pytest.param(attack, marks=pytest.mark.long) for attack in (TEXT, QUESTIONS)]


@pytest.mark.ci
@pytest.mark.parametrize("attack", [DISJOINT, *LONG], ids=lambda a: a.data)
def test_curves_are_what_retraining_gives(
    attack: Relearning, organism: HookedModel, small: Task
) -> None:
    before = fingerprint(organism)
    search, measured = watched(attack, organism, small, QUICK)
    assert fingerprint(organism) == before
    progress = [stage.progress for stage in measured.stages]
    assert {p.run for p in progress} == {"lr 0.001, seed 0"}
    assert [p.steps for p in progress] == [0, 1, 2]
    assert [p.samples for p in progress] == [0, 8, 16]
    assert progress[0].flops == 0 < progress[1].flops
    assert progress[2].flops == 2 * progress[1].flops or attack is TEXT
    assert (progress[-1].tokens > 0) == (attack is DISJOINT)
    (runs,) = search.variants()
    # What was taught forget facts is reported at its end: where to stop is no choice of its own.
    points = [stage.variant for stage in measured.stages][1:]
    assert runs == points[-1:] if attack is DISJOINT else runs == points
    assert plain(runs[-1]) == {"rate": 1e-3, "seed": 0, "steps": 2}
    confirm = small.questions("forget", "confirm")
    seen = Seen.of(small, attack, config=QUICK)
    rebuilt = attack.rebuild(organism, seen, None, runs[-1], QUICK)
    for made in (search, rebuilt):
        again = score(organism, confirm, small, change=made.change(runs[-1]))
        assert (
            again.logits == confirmed(organism, search, measured, runs[-1]).confirm.logits
        ).all()
    assert fingerprint(organism) == before


def test_an_attack_sees_no_question_that_is_reported(task: Task) -> None:
    confirm = {q.stem for role in ("forget", "retain") for q in task.questions(role, "confirm")}
    for name in (name for name in ATTACKS if name.startswith("relearning")):
        attack = find("attack", name)
        seen = Seen.of(task, attack, name=name, config=QUICK)
        if attack is TESTED:
            assert seen.tested == task.questions("forget", "confirm")
            continue
        with pytest.raises(ValueError, match=f"{name} looks at tested, but does not declare"):
            _ = seen.tested
        for part in seen.parts.values():
            assert not confirm & {q.stem for q in part if isinstance(q, Question)}
        assert attack.needs <= set(NEEDS)


@pytest.mark.ci
def test_disjoint_facts_are_neither_tested_nor_chosen_by(
    organism: HookedModel, small: Task
) -> None:
    search, measured = watched(DISJOINT, organism, small, QUICK)
    taught = [organism.tokenizer.decode(row.tokens) for row in search.lessons.rows]
    names = {q.source for q in small.questions("forget", "confirm")}
    assert not [t for t in taught if names & set(t.split())]
    assert len(taught) + measured.stages[0].forget.n == len(small.questions("forget", "select"))


@pytest.mark.ci
def test_adapters_teach_too_and_go(organisms: Callable[[str], HookedModel], small: Task) -> None:
    model = organisms("organism:never_knew")
    config = dataclasses.replace(QUICK, lora=LoRA(rank=4))
    before, names = fingerprint(model), [n for n, _ in model.named_parameters()]
    _, measured = watched(TESTED, model, small, config)
    assert measured.stages[-1].progress.steps == 2
    assert fingerprint(model) == before
    assert [n for n, _ in model.named_parameters()] == names


def test_shuffling_keeps_prompts_and_answers() -> None:
    items = [Example(f"what is {i}", f" {i}") for i in range(20)]
    sham = shuffled(items, 0)
    assert [e.prompt for e in sham] == [e.prompt for e in items]
    assert sorted(e.answer for e in sham) == sorted(e.answer for e in items)
    assert sum(a == b for a, b in zip(items, sham, strict=True)) < 5
    assert sorted(shuffled(["a b c d e"], 0)[0].split()) == list("abcde")


@pytest.mark.ci
def test_the_schedule_stays_that_of_the_whole_run(tiny: Callable[[str], HookedModel]) -> None:
    config = RelearningConfig(rates=(1e-2,), steps=4, batch=2, decay=1.0)
    model, ends = tiny("gpt2"), []
    rows = example_rows(model, [Example("the glow of", " amber")] * 2, "answer", 50)
    for total in (config, dataclasses.replace(config, steps=2)):
        with relearning(Lessons(rows), total, Run(1e-2, 0, 2)).on(model):
            ends.append(fingerprint(model))
    assert ends[0] != ends[1]


def test_mistakes_are_told(organism: HookedModel, task: Task) -> None:
    with pytest.raises(ValueError, match="samples=9999, but there are only 96"):
        watched(DISJOINT, organism, task, dataclasses.replace(QUICK, samples=9999))
    bare = dataclasses.replace(task, plain_text=())
    with pytest.raises(ValueError, match="no data for relearning from text"):
        watched(TEXT, organism, bare, QUICK)
    alone = tuple(
        dataclasses.replace(q, source="one") if q.fold == "select" else q for q in task.forget
    )
    with pytest.raises(ValueError, match="two sources"):
        watched(DISJOINT, organism, dataclasses.replace(task, forget=alone), QUICK)
    with pytest.raises(ValueError, match="relearning needs"):
        RelearningConfig(rates=(), steps=1)
    config = dataclasses.replace(QUICK, lora=LoRA(rank=2, targets=("gate",)))
    with pytest.raises(ValueError, match="match nothing"):
        watched(DISJOINT, organism, task, config)


@pytest.mark.ci
def test_a_run_that_explodes_ends_early(organism: HookedModel, small: Task) -> None:
    before = fingerprint(organism)
    config = dataclasses.replace(QUICK, rates=(1e30,), steps=4)
    search, measured = watched(DISJOINT, organism, small, config)
    assert [stage.progress.steps for stage in measured.stages] == [0, 1]
    assert list(search.variants()) == [[Run(1e30, 0, 1)]]
    assert fingerprint(organism) == before


@pytest.mark.ci
def test_keeping_retain_facts_costs_less_of_them(organism: HookedModel, task: Task) -> None:
    kept = []
    for keep in (0, 16):
        config = RelearningConfig(rates=(1e-3,), steps=16, keep=keep, seeds=(0,))
        measured = Measured(Deciding.of(task, DISJOINT.data, DISJOINT.splits(config)))

        def at_the_end(
            model: HookedModel, variant: object, progress: Progress, measured: Measured = measured
        ) -> Scored:
            whole = progress.steps == 16
            return measured(model, variant, progress) if whole else Scored(0.0)

        seen = Seen.of(task, DISJOINT, config=config, watch=at_the_end)
        search = DISJOINT.search(organism, seen, None, config)
        assert bool(search.lessons.retain) is bool(keep)
        kept.append(measured.stages[-1].retain.accuracy)
        assert measured.stages[-1].progress.samples == 256  # Of the forget domain.
    assert kept[1] > 0.95 > kept[0] + 0.03


@pytest.mark.ci
def test_retain_facts_that_are_trained_on_do_not_judge_the_loss(
    organism: HookedModel, small: Task
) -> None:
    for attack, keep in ((DISJOINT, 8), (RETAIN, 0)):
        search, measured = watched(attack, organism, small, dataclasses.replace(QUICK, keep=keep))
        rows = search.lessons.retain if keep else search.lessons.rows
        taught = {w for row in rows for w in organism.tokenizer.decode(row.tokens).split()}
        judged = measured.stages[0].retain.n
        everything = small.questions("retain", "select")
        assert judged == sum(not taught & set(q.source.split()) for q in everything)
        assert 0 < judged < len(everything)


@pytest.mark.ci
def test_a_loss_is_told_and_decides_for_other_attacks_only(
    organism: HookedModel, small: Task
) -> None:
    config = dataclasses.replace(QUICK, rates=(0.1,))
    search, measured = watched(DISJOINT, organism, small, config)
    assert not DISJOINT.limited
    free = choose(organism, search, measured, retain_before=1.0, limit=0.05, limited=False)
    best = max(attempt.forget.accuracy for attempt in free.tried)
    chosen = next(a for a in free.tried if a.variant == free.variant)
    assert chosen.retain.accuracy < measured.start.retain.accuracy - 0.05
    assert not free.within_limit
    assert chosen.forget.accuracy == best
    bound = choose(organism, search, measured, retain_before=1.0, limit=0.05)
    assert all(a.retain is not None for a in bound.tried)  # It looked on for a cheaper one.


def test_what_is_kept_is_said_twice_or_not_at_all(organism: HookedModel, task: Task) -> None:
    rows = example_rows(organism, [task.example(q) for q in task.forget[:4]], "answer", 100)
    for keep, kept in ((0, rows), (4, [])):
        config = dataclasses.replace(QUICK, keep=keep)
        change = relearning(Lessons(rows, kept), config, Run(1e-3, 0, 1))
        with pytest.raises(ValueError, match="both or neither"), change.on(organism):
            pass
    with pytest.raises(ValueError, match="numbers of examples"):
        dataclasses.replace(QUICK, keep=-1)


def raced() -> RelearningConfig:
    """A small sweep."""
    sweep = Sweep(schedules=("constant", "cosine"), ranks=(0, 2), sgd_rates=(0.1,), halvings=1)
    return dataclasses.replace(QUICK, rates=(1e-4, 1e-3), steps=4, sweep=sweep)


def test_a_sweep_has_every_setting_and_halves_them() -> None:
    config = raced()
    runs = settings_of(config)
    assert len(runs) == len(set(runs)) == (2 * 2 + 1) * 2
    assert {(r.rule, r.rank, r.rate) for r in runs} == {
        ("adamw", 0, 1e-4),
        ("adamw", 0, 1e-3),
        ("adamw", 2, 1e-3),
        ("adamw", 2, 1e-2),
        ("sgd", 0, 0.1),
    }
    assert rounds_of(config) == [(10, 2), (5, 4)]
    rounds = race(config, lambda run: [run])
    first = next(rounds)
    assert [(r.steps, r.total) for r in first] == [(2, 2)] * 10
    worth = [
        Scored(float(run.rule == "sgd" or (run.rank > 0 and run.rate > 5e-3))) for run in first
    ]
    last = rounds.send(worth)
    assert [(r.steps, r.total) for r in last] == [(4, 4)] * 5
    assert {r.name for r, w in zip(first, worth, strict=True) if w.forget} < {r.name for r in last}
    tied = race(config, lambda run: [run], {first[0], first[3]})
    next(tied)
    low = tied.send([Scored(0.0)] * 10)
    assert [r.name for r in low] == [first[i].name for i in (1, 2, 4, 5, 6)]
    of = config.of(last[-1])
    assert (of.rule, of.steps, of.lora.rank, of.decay) == ("sgd", 4, 0, 1.0)
    assert config.of(Run(1e-3, 0, 2)) is config
    with pytest.raises(ValueError, match="a sweep needs ranks"):
        Sweep(ranks=())


@pytest.mark.ci
@pytest.mark.parametrize("attack", [RETAIN, pytest.param(DISJOINT, marks=pytest.mark.long)])
def test_only_whole_runs_of_a_sweep_are_chosen(
    attack: Relearning, organism: HookedModel, small: Task
) -> None:
    sweep = Sweep(schedules=("constant", "cosine"), ranks=(0,), sgd_rates=(), halvings=1)
    config = dataclasses.replace(QUICK, steps=4, sweep=sweep)
    before = fingerprint(organism)
    search, measured = watched(attack, organism, small, config)
    assert not measured.stages  # Nothing is trained before it is asked for.
    choice = choose(organism, search, measured, retain_before=1.0, limit=0.05, limited=False)
    assert choice.variant.total == 4
    of_race = [a for a in choice.tried if a.variant.total == 2]
    assert len(of_race) == 2
    assert {s.progress.run for s in measured.stages} == {choice.variant.name}
    assert plain(choice.variant).keys() >= {"schedule", "rank", "rule", "total"}
    seen = Seen.of(small, attack, config=config)
    for made in (search, attack.rebuild(organism, seen, None, choice.variant, config)):
        again = score(organism, small.forget[:40], small, change=made.change(choice.variant))
        assert again.n == 40
    # A control goes through the chosen run alone, and is measured on the way.
    control = Measured(Deciding.of(small, attack.data, attack.splits(config)))
    seen = Seen.of(small, attack, name=attack.data, config=config, watch=control)
    attack.repeat(organism, seen, None, choice.variant, config)
    assert {s.progress.run for s in control.stages} == {choice.variant.name}
    assert control.of(choice.variant) is not None
    assert fingerprint(organism) == before


@pytest.mark.ci
@pytest.mark.parametrize("rank", [0, 4])
def test_a_measured_run_is_not_trained_again_and_its_sham_is(
    organism: HookedModel, small: Task, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    config = dataclasses.replace(QUICK, lora=LoRA(rank=rank))
    before, trained = fingerprint(organism), list[Run]()
    search, _ = watched(DISJOINT, organism, small, config)
    run = Run(1e-3, 0, 2)

    def counted(model: HookedModel, lessons: Lessons, config: RelearningConfig, run: Run) -> None:
        trained.append(run)
        relearn_(model, lessons, config, run)

    def after(change: Change) -> str:
        with change.on(organism):
            return fingerprint(organism)

    monkeypatch.setattr("mechunlearn.attacks.relearning_runs.relearn_", counted)
    kept, again = after(search.change(run)), after(relearning(search.lessons, config, run))
    assert kept == again != before
    assert trained == [run]
    assert after(search.sham(run, 0)) not in (kept, before)
    # On other weights, such as the original's, the same change has to train.
    with torch.no_grad():
        organism.blocks[0].mlp.out.original_component.weight.mul_(1.01)
    other = fingerprint(organism)
    assert after(search.change(run)) not in (kept, other)
    assert len(trained) == 3
    assert fingerprint(organism) == other


@pytest.mark.ci
def test_a_short_run_that_explodes_brings_nothing_back(organism: HookedModel, small: Task) -> None:
    config, before = raced(), fingerprint(organism)
    search, _ = watched(RETAIN, organism, small, config)
    run = dataclasses.replace(settings_of(config)[0], rate=1e30, steps=2, total=2)
    asked = small.forget[:40]
    plain_score = score(organism, asked, small)
    exploded = score(organism, asked, small, change=search.change(run))
    assert (exploded.logits == plain_score.logits).all()
    assert search.exploded == {run}
    with (
        pytest.raises(DivergedError, match="the loss is"),
        relearning(search.lessons, config, run).on(organism),
    ):
        pass
    assert fingerprint(organism) == before


def test_shared_wording_is_counted_by_rows_of_words() -> None:
    stems = ["where is the mine of Ada", "who owns it"]
    assert shared_wording(stems, ["Where is the mine of Bo?"]) == pytest.approx(3 / 5)
    assert shared_wording(stems, ["a text about nothing of the kind"]) == 0.0
    assert shared_wording(stems, stems) == 1.0
    assert shared_wording(["too short"], stems) == 0.0


def test_other_facts_of_the_domain_share_more_of_the_wording_than_retain_facts(
    organism: HookedModel, task: Task
) -> None:
    asked = task.questions("forget", "confirm")
    confirm = Confirm(asked, asked, task.prompt, task.scoring)
    shares = {}
    for attack in (DISJOINT, RETAIN):
        items = items_of(Seen.of(task, attack, config=QUICK), attack.data, 0)
        shares[attack.data] = wording_trace(organism, confirm, items).share
    # "what is the glow of NAME": all rows but the last are known; of other attributes, only one.
    assert shares == {"disjoint": 0.75, "retain": 0.25}
