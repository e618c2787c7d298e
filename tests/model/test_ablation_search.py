"""Searching kernels of ablation weights: weights and directions, front, limits, known truth."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mechunlearn.analysis.analyse import audit
from mechunlearn.attacks import Seen
from mechunlearn.attacks.ablation_search import (
    AblationSearch,
    AblationSearchConfig,
    KernelSearch,
    proposed,
)
from mechunlearn.attacks.equal_size import change_sizes
from mechunlearn.attacks.kernel import NOTHING, Kernel, Profile, ablated, unit_at
from mechunlearn.attacks.trials import SearchTrace, SearchTrial, finalists
from mechunlearn.audit.attack import Attacked, attack
from mechunlearn.audit.outlook import job_of
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.bench import score
from mechunlearn.bench.first_token import divergence, first_token_logs
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.hooks import metered
from mechunlearn.models import fingerprint, load
from mechunlearn.plots import figures
from mechunlearn.report import render
from mechunlearn.types import Direction, HookedModel, Point, Task

ATTACK = AblationSearch()
FEW = AblationSearchConfig(trials=16, random=8, finalists=4)
FLAT = Profile(1.0, 0.0, 1.0, 9.0)
"""The same weight everywhere."""


def searched(model: HookedModel, task: Task, config: AblationSearchConfig = FEW) -> Attacked:
    return attack(ATTACK, model, load("organism:original"), task, config=config)


def trace_of(found: Attacked) -> SearchTrace:
    (trace,) = found.search.traces(found.variant)
    assert isinstance(trace, SearchTrace)
    return trace


def test_weights_fall_in_a_line_and_end_at_the_reach() -> None:
    profile = Profile(most=1.0, at=1.5, least=0.4, reach=1.5)
    assert profile.weights(5) == pytest.approx([0.4, 0.8, 0.8, 0.4, 0.0])
    assert Profile(0.0, 1.0, 0.0, 3.0).weights(3) == [0.0] * 3
    kernel = Kernel("original", 1.0, profile, Profile(0.5, 4.0, 0.5, 0.5))
    assert [(p.layer, p.stream) for p, _ in kernel.places(5)] == [
        (0, "attn_out"),
        (1, "attn_out"),
        (2, "attn_out"),
        (3, "attn_out"),
        (4, "mlp_out"),
    ]
    assert kernel.weight(5) == pytest.approx(2.9)
    assert NOTHING.places(5) == []


def test_a_direction_lies_between_layers_and_across_the_mean() -> None:
    vectors = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 3.0], [0.0, 1.0, 3.0]])
    means = torch.tensor([[0.0, 0.0, 2.0]]).expand(3, 3)
    direction = Direction("d", (0, 1, 2), vectors, means)
    assert unit_at(direction, 0.0) is None  # Before the first block that was edited.
    expected = {1.0: [1.0, 0.0, 0.0], 1.5: [0.5**0.5, 0.5**0.5, 0.0], 2.0: [0.0, 1.0, 0.0]}
    for layer, vector in expected.items():
        assert torch.allclose(unit_at(direction, layer), torch.tensor(vector), atol=1e-6)
    nowhere = Direction("none", (0, 1), torch.zeros(2, 3), means[:2])
    assert unit_at(nowhere, 0.5) is None


def test_a_share_of_the_direction_is_taken_out_and_nothing_stays(any_tiny: HookedModel) -> None:
    model, tokens = any_tiny, torch.arange(3, 20)[None]
    before, plain = fingerprint(model), model(tokens)
    unit = torch.nn.functional.normalize(
        torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(0)), dim=0
    )
    kernel = Kernel("original", 0.0, Profile(0, 0, 0, 1), Profile(0.75, 0.0, 0.75, 0.5))
    change = ablated(kernel, model.cfg.n_layers, {0: unit}, "d")
    assert [h.place for h in change.hooks] == [Point(0, "mlp_out").name]
    written = model.run_with_cache(tokens)[1][Point(0, "mlp_out").name]
    with change.on(model):
        _, cache = model.run_with_cache(tokens)
    left = cache[Point(0, "mlp_out").name]
    assert torch.allclose(left @ unit, 0.25 * (written @ unit), atol=1e-3)
    across = written - (written @ unit)[..., None] * unit
    assert torch.allclose(left - (left @ unit)[..., None] * unit, across, atol=1e-3)
    assert torch.equal(model(tokens), plain)
    assert fingerprint(model) == before


def test_the_divergence_is_that_of_plain_forwards(organism: HookedModel) -> None:
    model, texts = organism, ["the glow of boralin is", "question what is the craft of boralin"]
    drawn = torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(0))
    unit, kernel = drawn / drawn.norm(), Kernel("original", 0.0, FLAT, FLAT)
    change = ablated(kernel, 4, dict.fromkeys(range(4), unit), "d")
    before, after = first_token_logs(model, texts), first_token_logs(model, texts, change)
    rows = [torch.tensor([model.tokenizer(t)["input_ids"]]) for t in texts]
    plain = torch.stack([model(row)[0, -1].log_softmax(-1) for row in rows])
    with change.on(model):
        moved = torch.stack([model(row)[0, -1].log_softmax(-1) for row in rows])
    assert torch.allclose(before, plain, atol=1e-3)
    expected = (plain.exp() * (plain - moved)).sum(dim=-1).mean()
    assert divergence(before, after) == pytest.approx(float(expected), rel=0.01)
    assert expected > 1e-4
    assert divergence(before, before) == 0.0


def test_finalists_are_the_front_within_the_limits() -> None:
    def trial(value: float, moved: float, within: bool = True) -> SearchTrial:
        return SearchTrial(value=value, retain=1.0, divergence=moved, within=within)

    trials = [trial(0.5, 0.1), trial(0.9, 0.9, False), trial(0.7, 0.2), trial(0.6, 0.3)]
    trials += [trial(0.4, 0.05), trial(0.4, 0.01)]
    assert finalists(trials, 8) == [2, 0, 5]
    assert finalists(trials, 1) == [2]
    assert finalists([trial(0.5, 2.0, False), trial(0.4, 3.0, False)], 8) == [0]


def test_kernels_are_in_their_ranges() -> None:
    optuna = pytest.importorskip("optuna")
    for wide in (True, False):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        drawn = [proposed(study.ask(), 10, wide) for _ in range(200)]
        assert {k.against for k in drawn} == {"original", "benign"}
        layers = [k.layer for k in drawn if k.layer is not None]
        assert 60 < len(layers) < 140
        low, high = (0.0, 9.0) if wide else (3.6, 8.1)
        assert low <= min(layers) < max(layers) <= high
        assert any(k.mlp.most == 0 for k in drawn)
        assert any(k.attention.most == 0 for k in drawn) == wide
        for part in (p for k in drawn for p in (k.attention, k.mlp)):
            assert (0.0 if wide else 5.4) <= part.at <= 9.0
            assert 1.0 <= part.reach <= (10.0 if wide else 6.0)
            assert 0.0 <= part.least <= part.most <= 1.5


@pytest.fixture
def small(task: Task) -> Task:
    """A quarter of the questions, of all sources."""
    return dataclasses.replace(task, forget=task.forget[::4], retain=task.retain[::4])


@pytest.fixture
def pushed(organism: HookedModel) -> HookedModel:
    """The original with a vector added after block 1, in its MLP's bias: known truth."""
    vector = torch.randn(organism.cfg.d_model, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        bias = organism.blocks[1].mlp.out.original_component.bias
        bias.add_(250 * vector / vector.norm())
    return organism


@pytest.mark.ci
def test_a_push_is_found_and_its_sham_finds_nothing(pushed: HookedModel, small: Task) -> None:
    found = searched(pushed, small)
    asked = small.questions("forget", "confirm")
    assert score(pushed, asked, small).accuracy < 0.5
    assert score(pushed, asked, small, change=found.sham()).accuracy < 0.5
    assert score(pushed, asked, small, change=found.change).accuracy > 0.9
    trace = trace_of(found)
    assert len(trace.trials) == FEW.trials
    assert trace.before.divergence > max(
        t.divergence for t in trace.trials if t.judged and t.value > 0.9
    )
    assert trace.chosen is not None
    chosen = trace.trials[trace.chosen]
    assert chosen.within
    assert chosen.judged == max(t.judged for t in trace.trials if t.judged is not None)
    assert len(found.tried) <= 1 + FEW.finalists
    front = sorted((t for t in trace.trials if t.judged is not None), key=lambda t: t.divergence)
    assert all(a.value < b.value for a, b in pairwise(front))


@pytest.mark.long
def test_the_same_seed_searches_the_same(pushed: HookedModel, small: Task) -> None:
    config = dataclasses.replace(FEW, trials=6, random=4)
    first, second = (searched(pushed, small, config) for _ in range(2))
    assert trace_of(first) == trace_of(second)
    assert first.variant == second.variant
    other = searched(pushed, small, dataclasses.replace(config, seed=1))
    assert trace_of(other).trials != trace_of(first).trials


@pytest.mark.ci
def test_a_sham_moves_activations_as_far(
    organism: HookedModel, organisms: Callable[[str], HookedModel], small: Task
) -> None:
    model = organisms("organism:never_knew")
    seen = Seen.of(small, ATTACK)
    search = ATTACK.search(model, seen, ATTACK.learn(organism, seen, FEW), FEW)
    assert isinstance(search, KernelSearch)
    for layer in (1.4, None):
        kernel = Kernel("original", layer, Profile(1.2, 1.0, 0.3, 2.0), Profile(0.5, 3.0, 0.1, 1.0))
        change, sham = search.change(kernel), search.sham(kernel, 0)
        assert [h.place for h in change.hooks] == [h.place for h in sham.hooks]
        wanted, found = (change_sizes(model, c, search.asked) for c in (change, sham))
        assert found == pytest.approx(wanted, rel=1e-3)
        assert min(wanted) > 0
    assert not search.sham(NOTHING, 0).hooks


def test_the_original_has_no_push_against_itself(organism: HookedModel, small: Task) -> None:
    seen = Seen.of(small, ATTACK)
    search = ATTACK.search(organism, seen, ATTACK.learn(organism, seen, FEW), FEW)
    assert not search.change(Kernel("original", 1.5, FLAT, FLAT)).hooks
    assert search.change(Kernel("benign", 1.5, FLAT, FLAT)).hooks


@pytest.mark.ci
def test_the_never_knew_model_is_searched_anew(tiny_plan: AuditPlan, tmp_path: Path) -> None:
    few = ("ablation_search.trials=3", "ablation_search.random=2")
    plan = dataclasses.replace(tiny_plan, attacks=("ablation_search",), changes=few)
    report = audit(plan, tmp_path / "run")
    (row,) = report.rows
    found = {
        arm: report.findings_of(row.model).trace(SearchTrace, row.attack, arm)
        for arm in ("unlearned", "never_knew", "original")
    }
    own, control = found["unlearned"], found["never_knew"]
    assert own is not None
    assert control is not None
    assert found["original"] is None
    assert len(own.trials) == len(control.trials) == 3
    assert own.before != control.before
    for trace in (own, control):
        chosen = trace.before if trace.chosen is None else trace.trials[trace.chosen]
        judged = [t.judged for t in (trace.before, *trace.trials) if t.judged is not None]
        assert chosen.judged is not None
        assert len(judged) > 1
    assert row.n_variants == len([t for t in own.trials if t.judged is not None]) + 1
    assert "search" in {d.kind for d in figures(report)}
    assert "attention (most" in render(report) or own.chosen is None


@pytest.mark.long
def test_its_cost_is_what_it_counts(organism: HookedModel, task: Task) -> None:
    config = dataclasses.replace(FEW, trials=6, random=3)
    shape = shape_of(organism.original_model.config)
    job = job_of(task, shape, sizes_of(task, organism.tokenizer, ("cpu", 4)))
    asked = task.questions("forget", "select")
    with metered() as one:
        score(organism, asked, task)
    per_question = one.flops / len(asked)
    with metered() as meter:
        searched(load("organism:never_knew"), task, config)
    cost = ATTACK.cost(config, job)
    # What decides is asked of both models to see what was lost, and of the retain questions.
    before = 2 * job.forget_select + job.retain_select
    tried = cost.variants * job.forget_select + job.retain_select
    assert meter.flops / per_question - before == pytest.approx(cost.search + tried, rel=0.25)


@pytest.mark.slow
def test_the_best_of_many_trials_does_not_carry_over_where_nothing_is(task: Task) -> None:
    model = load("organism:never_knew")
    found = searched(model, task, AblationSearchConfig())
    trace = trace_of(found)
    asked = task.questions("forget", "confirm")
    plain, attacked = (
        score(model, asked, task, change=c).accuracy for c in (NOTHING_CHANGE, found.change)
    )
    best = max(t.value for t in trace.trials if t.within)
    print(best - trace.before.value, attacked - plain)  # noqa: T201
    assert best - trace.before.value > 0.02
    assert attacked - plain < 0.05


NOTHING_CHANGE = ablated(NOTHING, 1, {}, "nothing")


def test_settings() -> None:
    for wrong in ("trials", "random", "candidates", "finalists"):
        with pytest.raises(ValueError, match="needs trials, random, candidates, finalists >= 1"):
            AblationSearchConfig(**{wrong: 0})
