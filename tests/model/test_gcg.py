"""GCG: cached losses and gradients against plain forwards, search, controls, resume."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.gcg.attack import GCG
from mechunlearn.attacks.gcg.examples import examples_of, problem_of, shuffled
from mechunlearn.attacks.gcg.forward import Forwards, Ids
from mechunlearn.attacks.gcg.objective import (
    Hidden,
    Objective,
    Reference,
    matched,
    repetition,
    static_states,
)
from mechunlearn.attacks.gcg.prefixes import RankedText, ShuffledTrace, fill_slot
from mechunlearn.attacks.gcg.problem import Item, Problem, Slot, pose, survives, text_of
from mechunlearn.attacks.gcg.proposals import combinations, place_ranks, substitutions
from mechunlearn.attacks.gcg.search import TextSearch
from mechunlearn.attacks.gcg.settings import GCGConfig, Length, SearchConfig
from mechunlearn.attacks.gcg.state import State, read_state
from mechunlearn.bench.rows import encode
from mechunlearn.types import Change, HookedModel, Question, Task, Turn

LAYERS = (0, 1)
OBJECTIVES = {
    "likelihood": Objective(),
    "choices": Objective(over="choices"),
    "clamped": Objective(clamp=0.5, repetition=0.3),
    "fluent": Objective(fluency=0.7),
    "static": Objective(static=Hidden(weight=10.0), layers=LAYERS),
    "early": Objective(
        cross_entropy=0.0, static=Hidden(weight=1.0, measure="l2", span="question"), layers=(1,)
    ),
    "dynamic": Objective(
        dynamic=Hidden(weight=0.1, measure="l1", relative=True, span="question"), layers=LAYERS
    ),
}


def tiny_problem(model: HookedModel, place: str, forced: int, n: int = 4) -> Problem:
    """Questions of different lengths with targets of ``forced`` tokens and one to match."""
    rng = np.random.default_rng(0)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, 200, length).tolist())

    items = []
    for i in range(n):
        before, after = ((2,), draw(5 + i % 2)) if place == "prefix" else ((2, *draw(4)), draw(2))
        items.append(Item(before, after, draw(forced + 1), forced))
    clean = [(*i.before[1:], *i.after[place == "prefix" :]) for i in items]  # A separator leads.
    words = tuple(model.tokenizer.decode(row) for row in clean)
    assert [tuple(encode(model.tokenizer, w)[1:]) for w in words] == clean
    return Problem(Slot(place, " . "), words, tuple(items), tuple(i.target[0] for i in items))


def plain_loss(
    model: HookedModel,
    problem: Problem,
    objective: Objective,
    reference: Reference,
    ids: Ids,
    item: int,
    embeddings: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss from whole forwards of one row at a time, without caches."""

    def forward(which: HookedModel, row: list[int], start: int) -> tuple[torch.Tensor, list]:
        tokens, states = torch.tensor([row]), {}
        embedded = which.embed(tokens)
        if embeddings is not None and which is model:
            end = start + len(ids)
            embedded = torch.cat([embedded[:, :start], embeddings[None], embedded[:, end:]], 1)
        hooks = [("hook_embed", lambda a, hook: embedded)]
        for i in LAYERS:
            hooks.append(
                (f"blocks.{i}.hook_resid_post", lambda a, hook, i=i: states.__setitem__(i, a[0]))
            )
        return which.run_with_hooks(tokens, fwd_hooks=hooks)[0].log_softmax(-1), states

    known = problem.items[item]
    row = [*known.before, *ids, *known.after, *known.target]
    end = len(known.before) + len(ids)
    logp, states = forward(model, row, len(known.before))
    total = torch.tensor(objective.repetition * repetition(ids))
    if objective.cross_entropy:
        if objective.over == "choices":
            logp = torch.full_like(logp, -torch.inf).index_copy(
                1, torch.tensor(problem.choices), logp[:, list(problem.choices)].log_softmax(-1)
            )
        at = end + len(known.after) - 1
        each = [-logp[at + k, known.target[k]] for k in range(known.forced)]
        each = [x.clamp_min(objective.clamp) if objective.clamp else x for x in each]
        total = total + objective.cross_entropy * torch.stack(each).mean()
    for name in ("static", "dynamic"):
        term: Hidden = getattr(objective, name)
        if not term.weight:
            continue
        places = [end + p for p in matched(known, term.span)]
        if name == "static":
            there = dict(zip(objective.layers, reference.static[item], strict=True))
            places = places[-len(there[objective.layers[0]]) :]
            there = {i: s[-len(places) :] for i, s in there.items()}
        else:
            with torch.no_grad():
                found = forward(reference.original, row, len(known.before))[1]
            there = {i: found[i][places] for i in objective.layers}
        far = [term.distance(states[i][places], there[i]) for i in objective.layers]
        total = total + term.weight * torch.stack(far).mean()
    if objective.fluency:
        specials = encode(model.tokenizer, "")
        logp, _ = forward(model, [*specials, *ids], len(specials))
        each = [-logp[len(specials) + k - 1, ids[k]] for k in range(len(ids))]
        total = total + objective.fluency * torch.stack(each).mean()
    return total


def in_turn(architecture: str) -> list[Any]:
    """Every objective at both places; quickly on llama only, and at one place of each in turn."""
    cases = []
    for i, objective in enumerate(OBJECTIVES):
        for j, place in enumerate(("prefix", "suffix")):
            quick = architecture == "llama" and i % 2 == j
            marks = () if quick else pytest.mark.long
            cases.append(pytest.param(architecture, place, objective, marks=marks))
    return cases


@pytest.mark.ci
@pytest.mark.parametrize(
    ("architecture", "place", "objective"), [*in_turn("gpt2"), *in_turn("llama")]
)
def test_losses_and_gradients_equal_plain_forwards(
    architecture: str, place: str, objective: str, tiny: Callable[..., HookedModel]
) -> None:
    """Differences of 1e-4 and less come from other orders of summation in float32."""
    model, original, terms = tiny(architecture), tiny(architecture, 1), OBJECTIVES[objective]
    problem = tiny_problem(model, place, 1 if terms.over == "choices" else 2)
    if terms.over == "choices":
        items = [dataclasses.replace(i, target=i.target[:1]) for i in problem.items]
        problem = dataclasses.replace(problem, items=tuple(items))
    static = static_states(original, problem, terms) if terms.static.weight else ()
    reference = Reference(static, original if terms.dynamic.weight else None)
    parent: Ids = (5, 9, 13, 17, 21)
    children = [(5, 9, 13, 17, 40), (50, 9, 13, 17, 21), (5, 9, 60, 17, 21), parent]
    children += [(5, 9, 17, 21), (5, 70, 9, 13, 17, 21)]
    with torch.no_grad():
        every = np.array(
            [
                [float(plain_loss(model, problem, terms, reference, c, i)) for i in range(4)]
                for c in children
            ]
        )
    for budget, memory, picked in ((37, 0, [*range(4)]), (4000, 90_000, [2, 1]), (4000, 0, [3])):
        forwards = Forwards(model, problem, terms, reference, budget=budget, memory=memory)
        found, plain = forwards.losses(parent, children, picked), every[:, picked]
        np.testing.assert_allclose(found, plain, atol=1e-4)
        assert (found.mean(1).argsort() == plain.mean(1).argsort()).all()
    leaf = forwards.embeddings(parent).requires_grad_()
    plain_loss(model, problem, terms, reference, parent, 3, leaf).backward()
    expected = leaf.grad @ forwards.table.T
    np.testing.assert_allclose(forwards.gradient(parent, [3]), expected, atol=1e-4)
    whole = forwards.gradient(parent, range(4))
    each = torch.stack([forwards.gradient(parent, [i]) for i in range(4)]).mean(0)
    np.testing.assert_allclose(whole, each, atol=1e-4)


def test_objective_at_early_layers_stops_there(tiny: Callable[..., HookedModel]) -> None:
    model = tiny("llama")
    problem = tiny_problem(model, "prefix", 1)
    objective = OBJECTIVES["early"]
    reference = Reference(static_states(model, problem, objective))
    forwards = Forwards(model, problem, objective, reference)
    ran = []
    names = [(f"blocks.{i}.hook_resid_post", lambda a, hook, i=i: ran.append(i)) for i in range(3)]
    with model.hooks(fwd_hooks=names):
        forwards.losses((5, 6), [(5, 7)], range(4))
        forwards.gradient((5, 6), range(4))
    assert set(ran) == {0, 1}


@pytest.mark.parametrize("template", [False, True], ids=["plain", "template"])
@pytest.mark.parametrize("place", ["prefix", "suffix"])
def test_states_of_the_question_are_compared_token_by_token(
    place: str, template: bool, tiny: Callable[..., HookedModel], task: Task
) -> None:
    model = tiny("llama")
    if template:  # It ends as a separator does, which must not be taken for that.
        form = dataclasses.replace(task.prompt, turn=Turn("the . ", " so", " "))
        task = dataclasses.replace(task, prompt=form)
    objective = OBJECTIVES["early"]
    config = GCGConfig(search=FEW, objective=objective, place=place, questions=6)
    problem = problem_of(model, Seen.of(task, GCG()), config)
    reference = Reference(static_states(model, problem, objective))
    terms = Forwards(model, problem, objective, reference).terms
    for i, item in enumerate(problem.items):
        there = terms._static_places(i)
        clean = [*encode(model.tokenizer, problem.prompts[i]), *item.target]
        rest = [*item.after, *item.target]
        compared = [rest[at] for at in there]
        assert compared == clean[len(clean) - len(there) :]
        question = len(clean) - len(item.before) if place == "prefix" else len(rest)
        assert len(there) == question == reference.static[i].shape[1]
        answer = matched(item, "answer")  # Beside them, the places of an answer are as they were.
        assert len(answer) == 2
        assert rest[answer[0]] == clean[-2]


def test_no_text_is_alone_with_nothing_before_it(tiny: Callable[..., HookedModel]) -> None:
    model, fluent = tiny("llama"), Objective(fluency=0.7)
    problem = tiny_problem(model, "prefix", 1)
    plain, forwards = (Forwards(model, problem, o) for o in (Objective(), fluent))
    forwards.terms.specials = []  # As of a tokenizer that puts nothing before a text.
    for ids in ((5,), (5, 9)):
        found, without = (f.losses(ids, [ids], range(4)) for f in (forwards, plain))
        value = math.log(model.cfg.d_vocab)
        if len(ids) == 2:
            value = -float(model(torch.tensor([ids]))[0, 0].log_softmax(-1)[9])
        np.testing.assert_allclose(found - without, 0.7 * value, atol=1e-4)
        pulls = [f.gradient(ids, range(4)) for f in (forwards, plain)]
        assert torch.allclose(*pulls, atol=1e-5) == (len(ids) == 1)


@pytest.fixture
def llama(tiny: Callable[..., HookedModel]) -> HookedModel:
    """Searching is the same in a model that knows nothing, and this one is smaller."""
    return tiny("llama")


FEW = SearchConfig(steps=6, length=3, width=8, races=(2,), gradient_questions=4)
NEVER = SearchConfig(steps=10_000_000)


def small_problem(model: HookedModel, task: Task, n: int = 6) -> Problem:
    config = GCGConfig(search=FEW, questions=n, retain_share=0.0)
    return problem_of(model, Seen.of(task, GCG()), config)


@pytest.mark.parametrize("place", ["prefix", "suffix"])
def test_a_coarse_pass_finds_the_best_and_leaves_no_trace(
    place: str, tiny: Callable[..., HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("llama")
    problem = tiny_problem(model, place, 2)
    parent: Ids = (5, 9, 13, 17, 21)
    children = [(*parent[:i], token, *parent[i + 1 :]) for i in range(5) for token in range(30, 45)]
    exact = Forwards(model, problem, Objective()).losses(parent, children, range(4)).mean(1)
    forwards = Forwards(model, problem, Objective())
    monkeypatch.setattr("mechunlearn.attacks.gcg.forward.fast_half", lambda device: False)
    slow = forwards.losses(parent, children, range(4), coarse=True).mean(1)
    np.testing.assert_array_equal(slow, exact)  # A device that is slow at it does without.
    monkeypatch.setattr("mechunlearn.attacks.gcg.forward.fast_half", lambda device: True)
    coarse = forwards.losses(parent, children, range(4), coarse=True).mean(1)
    assert 1e-6 < np.abs(coarse - exact).max() < 0.1 * np.ptp(exact)
    assert exact.argmin() in coarse.argsort()[:8]
    after = forwards.losses(parent, children, range(4)).mean(1)
    np.testing.assert_array_equal(after, exact)


def test_a_screened_search_keeps_exact_losses(llama: HookedModel, task: Task) -> None:
    problem = small_problem(llama, task)
    config = dataclasses.replace(FEW, screen=0.25, races=(), steps=3)
    search = TextSearch(llama, problem, Objective(), config)
    children = [(5, 6, t) for t in range(20, 36)]
    found, first = search._race((5, 6, 7), children, torch.Generator())
    assert len(first) == 16
    exact = search.forwards.losses((5, 6, 7), children, range(6)).mean(1)
    assert len(found) == 4
    assert min(t.loss for t in found) == pytest.approx(exact.min(), abs=1e-6)
    assert search.run().best.loss < exact.min()


def test_places_where_changes_help_are_changed_more_often(
    tiny: Callable[..., HookedModel],
) -> None:
    ids, allowed = tuple(range(10, 20)), torch.ones(200, dtype=torch.bool)
    gradient = torch.randn(10, 200, generator=torch.Generator().manual_seed(0))
    problem = tiny_problem(tiny("llama"), "suffix", 1, n=1)
    costs = Forwards(tiny("llama"), problem, Objective()).costs(ids)
    assert costs == [10.0 - i + 2 for i in range(10)]  # The target's only token is not run.

    def places(chances: list[float]) -> list[int]:
        random = torch.Generator().manual_seed(0)
        found = substitutions(ids, gradient, allowed, 150, 300, random, chances)
        assert len(set(found)) == 300
        return [next(i for i in range(10) if c[i] != ids[i]) for c in found]

    children = [(*ids[:i], token, *ids[i + 1 :]) for i in range(10) for token in (1, 2, 3)]
    losses = np.array([i % 5 for i in range(10) for _ in range(3)], dtype=float)
    ranks = place_ranks([], ids, children, losses)
    assert ranks[0] < ranks[1] < ranks[4]
    assert place_ranks(ranks, ids[:5], [], np.zeros(0)) == [0.5] * 5
    chances = [(1 - r) ** 2 for r in ranks]
    helped = [sum(p % 5 == 0 for p in places(given)) for given in (chances, [])]
    assert helped[0] > 1.5 * helped[1]


@pytest.mark.ci
def test_edits_that_help_are_also_made_together(llama: HookedModel, task: Task) -> None:
    children = [(1, 9, 3), (1, 8, 3), (7, 2, 3), (1, 2), (1, 2, 6)]
    together = [(7, 9, 3), (7, 9, 6)]
    assert combinations((1, 2, 3), children, 3) == together
    assert combinations((1, 2, 3), children, 2) == together[:1]
    assert combinations((1, 2, 3), children, 1) == []
    problem, steps = small_problem(llama, task), {}
    one = dataclasses.replace(FEW, races=(), steps=1, length=6, width=32)
    start = TextSearch(llama, problem, Objective(), one).drawn(torch.Generator().manual_seed(0))
    one = dataclasses.replace(one, starts=(text_of(llama.tokenizer, start),))
    for combine in (1, 3):
        config = dataclasses.replace(one, combine=combine)
        search = TextSearch(llama, problem, Objective(), config)
        assert search.start() == start
        steps[combine] = search.run()
    alone, more = (steps[c].bests[0] for c in (1, 3))
    assert sum(a != b for a, b in zip(start, alone.ids, strict=True)) == 1
    assert sum(a != b for a, b in zip(start, more.ids, strict=True)) > 1
    assert more.loss < alone.loss
    assert steps[3].scored - steps[1].scored in (1, 2)


@pytest.mark.ci
def test_search_lowers_the_loss_below_random_texts(llama: HookedModel, task: Task) -> None:
    problem, _ = shuffled(small_problem(llama, task), Reference(), 6, 0)
    search = TextSearch(llama, problem, Objective(), FEW)
    state = search.run()
    random = torch.Generator().manual_seed(0)
    drawn = [search.drawn(random) for _ in range(16)]
    losses = search.forwards.losses(drawn[0], drawn, range(6)).mean(1)
    assert state.best.loss < losses.min()
    assert state.curve == sorted(state.curve, reverse=True)
    assert survives(llama.tokenizer, problem, [state.best.ids]) == [True]
    alone = Forwards(llama, problem, Objective()).losses((1,), [state.best.ids], range(6))
    assert alone.mean() == pytest.approx(state.best.loss, abs=1e-5)


def test_random_texts_are_drawn_until_they_are_read_back(
    llama: HookedModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte-pair tokens with a space before them cannot begin a prompt."""
    search = TextSearch(llama, small_problem(llama, task), Objective(), FEW)
    where = "mechunlearn.attacks.gcg.search.survives"
    random = torch.Generator().manual_seed(0)
    monkeypatch.setattr(where, lambda _, __, texts: [t[-1] % 50 == 7 for t in texts])
    assert all(token % 50 == 7 for token in search.drawn(random))
    monkeypatch.setattr(where, lambda _, __, texts: [False] * len(texts))
    with pytest.raises(ValueError, match="give search"):
        search.drawn(random)


def test_races_and_no_races_find_equally_scored_texts(llama: HookedModel, task: Task) -> None:
    """The winner of a race is scored on every question, as without races."""
    problem = small_problem(llama, task)
    for races in ((), (2, 4)):
        search = TextSearch(llama, problem, Objective(), dataclasses.replace(FEW, races=races))
        found, first = search._race((5, 6, 7), [(5, 6, 8), (5, 9, 7), (4, 6, 7)], torch.Generator())
        assert len(first) == 3
        for text in found:
            loss = search.forwards.losses((1,), [text.ids], range(6)).mean()
            assert text.loss == pytest.approx(loss, abs=1e-5)
        assert len(found) == (1 if races else 3)


@pytest.mark.ci
def test_every_edit_and_the_length_schedule(llama: HookedModel, task: Task) -> None:
    edits = dataclasses.replace(
        FEW, steps=12, substitute=0.4, insert=0.3, delete=0.3, swap=0.3, buffer=3, elitist=False,
        longest=Length(start=4, per_step=0.2, most=5), shortest=Length(start=3),
    )  # fmt: skip
    lengths = []
    search = TextSearch(llama, small_problem(llama, task), Objective(), edits)
    search.run(lambda s: lengths.extend(len(t.ids) for t in s.buffer))
    assert {3, 4} <= set(lengths) <= {2, 3, 4, 5, 6}
    assert search.state.best.loss == min(search.state.curve)


@pytest.mark.ci
def test_a_stopped_search_goes_on_bit_for_bit(
    llama: HookedModel, task: Task, tmp_path: Path
) -> None:
    problem, few = small_problem(llama, task), dataclasses.replace(FEW, steps=4)
    whole = TextSearch(llama, problem, Objective(), few).run()

    class StoppedError(Exception):
        pass

    def stop(state: State) -> None:
        if len(state.curve) == 3:
            raise StoppedError

    file = tmp_path / "gcg.json"
    with pytest.raises(StoppedError):
        TextSearch(llama, problem, Objective(), few, state_file=file, every=1).run(stop)
    assert read_state(file, json.loads(file.read_text())["identity"]).step == 2
    resumed = TextSearch(llama, problem, Objective(), few, state_file=file, every=1).run()
    assert resumed == whole
    with pytest.raises(ValueError, match="belongs to another search"):
        TextSearch(llama, problem, Objective(), few, seed=1, state_file=file)
    file.write_text(file.read_text().replace('"ids"', '"words"'))
    with pytest.raises(ValueError, match=r"gcg.json: .*\$.state"):
        TextSearch(llama, problem, Objective(), few, state_file=file)


def test_texts_stand_in_prompts_as_their_tokens(llama: HookedModel, task: Task) -> None:
    for place in ("prefix", "suffix"):
        slot = Slot.of(task.prompt, task.scoring, place)
        prompt = task.prompt.letter_prompt(task.forget[0])
        assert "".join(slot.around(prompt)).endswith(prompt)
        text = text_of(llama.tokenizer, [5, 9])
        assert slot.fill(text, prompt).endswith(slot.cue)
        assert text in slot.fill(text, prompt)


def test_shuffled_targets_keep_retain_questions(llama: HookedModel, task: Task) -> None:
    config = GCGConfig(search=FEW, questions=12, retain_share=0.25)
    problem = problem_of(llama, Seen.of(task, GCG()), config)
    assert len(problem.items) == 16
    placebo, _ = shuffled(problem, Reference(), 12, 0)
    assert placebo.items[12:] == problem.items[12:]
    assert placebo.items[:12] != problem.items[:12]
    assert sorted(i.target for i in placebo.items) == sorted(i.target for i in problem.items)


def asked_with(task: Task, forget: int, retain: int) -> Task:
    """The same questions with so many choices."""

    def cut(questions: tuple[Question, ...], n: int) -> tuple[Question, ...]:
        return tuple(
            dataclasses.replace(q.rotated((q.answer - i) % 4), choices=c[:n], answer=i % n)
            for i, q in enumerate(questions)
            for c in [q.rotated((q.answer - i % n) % 4).choices]
        )

    return dataclasses.replace(
        task, forget=cut(task.forget, forget), retain=cut(task.retain, retain)
    )


def test_letters_are_those_of_all_questions(llama: HookedModel, task: Task) -> None:
    objective = Objective(over="choices")
    config = GCGConfig(search=FEW, objective=objective, questions=6, retain_share=0.5)
    seen = Seen.of(asked_with(task, 2, 4), GCG(), config=config)
    problem = problem_of(llama, seen, config)
    four = llama.tokenizer.convert_tokens_to_ids([*"ABCD"])
    assert [*problem.choices] == four
    assert {i.target[0] for i in problem.items[:6]} == {*four[:2]}
    assert {i.target[0] for i in problem.items[6:]} - {*four[:2]}
    (found,) = Forwards(llama, problem, objective).losses((5,), [(5,)], range(12))
    for loss, item in zip(found, problem.items, strict=True):
        row = torch.tensor([[*item.before, 5, *item.after]])
        logp = llama(row)[0, -1, four].log_softmax(-1)
        assert loss == pytest.approx(-float(logp[four.index(item.target[0])]), abs=1e-4)
    alone = problem_of(llama, seen, dataclasses.replace(config, retain_share=0.0))
    assert [*alone.choices] == four[:2]  # Retain questions that are not posed do not count.
    strange = dataclasses.replace(problem, choices=problem.choices[:2])
    with pytest.raises(ValueError, match="is to follow a question, but is none of its letters"):
        Forwards(llama, strange, objective)
    assert Forwards(llama, strange, Objective()).losses((5,), [(5,)], range(12)).all()


@pytest.mark.parametrize(("forced", "carried"), [(0, 1), (1, 1), (3, 3)])
def test_of_a_continuation_0_forced_tokens_are_one(
    forced: int, carried: int, llama: HookedModel, task: Task
) -> None:
    for further in (0, 2):
        config = GCGConfig(
            search=FEW, target="original", forced=forced, matched=further, questions=4
        )
        seen = Seen.of(task, GCG(), config=config)
        learned = GCG().learn(llama, seen, config)
        problem = problem_of(llama, seen, config, learned.examples, learned.tokens)
        assert {i.forced for i in problem.items} == {carried}
        assert {len(i.target) for i in problem.items} == {carried + further}
    answers = problem_of(llama, seen, GCGConfig(search=FEW, forced=forced, questions=4))
    assert {i.forced for i in answers.items} == {1}  # An answer is one letter.
    long = pose(llama.tokenizer, answers.slot, answers.prompts[:1], [[5, 6, 7, 8]], forced=forced)
    assert long.items[0].forced == (forced or 4)


def test_nobody_keeps_his_target_in_small_sets(llama: HookedModel, task: Task) -> None:
    config = GCGConfig(search=FEW, questions=8, retain_share=0.25, shuffled_search=True)
    seen = Seen.of(asked_with(task, 2, 4), GCG(), config=config)
    mixed = problem_of(llama, seen, config)
    letters = mixed.choices
    for seed in range(10):
        placebo, _ = shuffled(mixed, Reference(), len(mixed.items), seed)
        found = [i.target[0] for i in placebo.items]
        assert {*found[:8]} == {*letters[:2]}  # Letters that a question has.
        kept = [a == i.target[0] for a, i in zip(found, mixed.items, strict=True)]
        assert sum(kept[:8]) <= 4
        assert not any(kept[8:])  # Of three, guessing finds none.
        for n in (2, 3):
            few = dataclasses.replace(
                mixed, items=mixed.items[:n], prompts=mixed.prompts[:n], choices=()
            )
            states = Reference(tuple(torch.full((1, 2, 32), float(i)) for i in range(n)))
            placebo, moved = shuffled(few, states, n, seed)
            pairs = zip(placebo.items, few.items, strict=True)
            assert all(a.target != b.target for a, b in pairs)
            owners = [int(s[0, 0, 0]) for s in moved.static]
            assert [few.items[j].target for j in owners] == [i.target for i in placebo.items]
    one = dataclasses.replace(config, questions=1, retain_share=0.0)
    lone = problem_of(llama, seen, one)
    with pytest.raises(ValueError, match=r"of 1 question\(s\) all have the same target"):
        shuffled(lone, Reference(), 1, 0)
    learned = GCG().learn(llama, seen, one)
    with pytest.raises(ValueError, match="shuffled answers"):  # Before the search.
        GCG().search(llama, seen, learned, dataclasses.replace(one, search=NEVER))
    assert GCG().search(llama, seen, learned, dataclasses.replace(one, shuffled_search=False)).texts


def test_bad_input(llama: HookedModel, task: Task) -> None:
    problem = small_problem(llama, task)
    with pytest.raises(ValueError, match="at least one question"):
        problem_of(llama, Seen.of(task, GCG()), GCGConfig(search=FEW), [])
    with pytest.raises(ValueError, match="context is 192; lower length"):
        TextSearch(llama, problem, Objective(), dataclasses.replace(FEW, length=190))
    with pytest.raises(ValueError, match=r"layers \[7\] do not exist"):
        TextSearch(llama, problem, Objective(static=Hidden(weight=1.0), layers=(7,)), FEW)
    with pytest.raises(ValueError, match="at no layer"):
        Objective(static=Hidden(weight=1.0))
    with pytest.raises(ValueError, match="needs cross_entropy"):
        Objective(cross_entropy=0.0)
    with pytest.raises(ValueError, match="may not be used"):
        TextSearch(llama, problem, Objective(), dataclasses.replace(FEW, starts=("xx",))).run()
    cloze = dataclasses.replace(problem, choices=())
    with pytest.raises(ValueError, match="needs letter scoring"):
        Forwards(llama, cloze, Objective(over="choices"))
    more = tuple(
        dataclasses.replace(q, choices=(*q.choices, "well", "so")) for q in task.forget
    )  # The world's vocabulary has no letters beyond D.
    lettered = dataclasses.replace(task, forget=more)
    config = GCGConfig(search=FEW, questions=2)
    examples = examples_of(Seen.of(task, GCG()), config)
    with pytest.raises(ValueError, match="one token per letter"):
        problem_of(llama, Seen.of(lettered, GCG()), config, examples)


@pytest.mark.ci
def test_variants_shams_and_pictures_of_one_search(
    llama: HookedModel, task: Task, tmp_path: Path
) -> None:
    search = dataclasses.replace(FEW, steps=2, restarts=2)
    config = GCGConfig(search=search, questions=6, retain_share=0.0, shuffled_search=True)
    attack = GCG()
    seen = Seen.of(task, attack, state=tmp_path / "state.json")
    targets = attack.learn(llama, seen, config)
    found = attack.search(llama, seen, targets, config)
    assert (tmp_path / "state.json").is_file()
    (variants,) = found.variants()
    assert [v.rank for v in variants] == [0, 1]
    prompt = task.prompt.letter_prompt(task.forget[0])

    def asked(change: Change) -> str:
        assert change.rewrite is not None
        assert not change.changes_model
        return change.rewrite(prompt)

    texts = [fill_slot(prompt, None, found.problem.slot, v.text) for v in variants]
    assert [asked(found.change(v)) for v in variants] == texts
    assert asked(found.change(RankedText(5, "of another model"))) == texts[1]
    again = attack.rebuild(llama, seen, targets, variants[1], config)
    assert asked(again.change(variants[1])) == texts[1]
    drawn = [asked(found.sham(variants[1], seed)) for seed in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert drawn[0] not in texts
    assert asked(again.sham(variants[1], 0)) == drawn[0]
    (trace,) = found.traces(variants[0])
    assert (trace.text, trace.steps, len(trace.losses)) == (variants[0].text, 4, 2)
    assert len(trace.tokens) == len(trace.effects) == 3
    view = found.view(variants[0])
    assert view is not None
    assert view.reference.original is None  # It holds no model.
    confirm = Confirm(task.forget[:8], task.retain[:8], task.prompt, task.scoring)
    assert 0 <= view(llama, confirm).value <= 1
    plain = dataclasses.replace(found, config=dataclasses.replace(config, shuffled_search=False))
    assert plain.view(variants[0]) is None
    assert ShuffledTrace.kind != trace.kind


def test_no_question_that_is_reported_is_seen(task: Task) -> None:
    seen = Seen.of(task, GCG(), name="gcg")
    confirm = {q for role in ("forget", "retain") for q in task.questions(role, "confirm")}
    assert not confirm & {q for part in seen.parts.values() for q in part}
    with pytest.raises(ValueError, match="gcg looks at tested, but does not declare"):
        _ = seen.tested


@pytest.mark.slow
def test_gcg_finds_what_rmu_hid_and_nothing_in_a_model_that_never_knew(task: Task) -> None:
    from mechunlearn.audit.select import score_changes
    from mechunlearn.models import load
    from mechunlearn.unlearn.rmu import RMU, rmu_

    attack, best = GCG(), RankedText(0, "")
    config = attack.presets["organism"]
    confirm = task.questions("forget", "confirm")
    accuracy = {}
    for role in ("original", "never_knew"):
        model = load(f"organism:{role}")
        rmu_(model, task, RMU.presets["organism"])
        seen = Seen.of(task, attack)
        search = attack.search(model, seen, attack.learn(model, seen, config), config)
        changes = [search.change(best)] + [search.sham(best, 0)] * (role == "original")
        scores = score_changes(model, changes, confirm, task)
        accuracy[role] = [s.accuracy for s in scores]
    assert accuracy["original"][0] > 0.6
    assert accuracy["original"][1] < 0.35
    assert accuracy["never_knew"][0] < 0.35
