"""Probes: what they read of facts they were not trained on, and of models without any."""

import contextlib
from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.edits import scrambled
from mechunlearn.attacks.least_squares import fitted
from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.attacks.per_model import PerModel
from mechunlearn.attacks.probes import (
    FORGET,
    RETAIN,
    Probed,
    ProbeReadOut,
    ProbesConfig,
    training,
)
from mechunlearn.audit.outlook import job_of
from mechunlearn.audit.select import Deciding
from mechunlearn.bench import score
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.hooks import metered
from mechunlearn.models import load
from mechunlearn.types import Example, HookedModel, Point, Task

CONFIG = ProbesConfig()
LAST = Probed(3, "resid_post", 0.1, "both")


def test_a_planted_code_is_read_and_shuffled_answers_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    answers = torch.randint(4, (400,), generator=generator)
    noise = torch.randn(400, 12, generator=generator, dtype=torch.float64)
    states, tokens = 3 * code[answers] + noise, answers + 7
    probe = fitted(states[:300], tokens[:300], 0.01)
    right = probe.tokens[probe.scores(states[300:]).argmax(dim=1)] == tokens[300:]
    assert right.double().mean() > 0.95
    order = torch.randperm(300, generator=generator)
    placebo = fitted(states[:300], tokens[:300][order], 0.01)
    none = placebo.tokens[placebo.scores(states[300:]).argmax(dim=1)] == tokens[300:]
    assert none.double().mean() < 0.5
    few = fitted(states[:9], tokens[:9], 0.01)  # Fewer facts than features: the other equations.
    x = (states[:9] - states[:9].mean(0)) / states[:9].std(0, correction=0)
    y = torch.nn.functional.one_hot(answers[:9].unique(return_inverse=True)[1]).double()
    weight = torch.linalg.solve(x.T @ x + 0.09 * torch.eye(12).double(), x.T @ (y - y.mean(0)))
    expected = (x @ weight + y.mean(0)).float()
    assert (few.scores(states[:9].float()) - expected).abs().max() < 1e-4


@pytest.mark.ci
def test_they_read_what_is_written_in_a_basis_of_its_own_and_nothing_where_nothing_is(
    task: Task,
) -> None:
    turned = torch.linalg.qr(torch.randn(128, 128, generator=torch.Generator().manual_seed(0)))[0]
    asked = task.questions("forget", "confirm")[:120]
    seen = Seen.of(task, FORGET, config=CONFIG)
    values: dict[str, list[float]] = {}
    for name in ("original", "never_knew"):
        model = load(f"organism:{name}")
        model.add_hook(Point(3).name, lambda x, hook: x @ turned, is_permanent=True)
        search = FORGET.search(model, seen, None, CONFIG)
        changes = [search.change(LAST), search.sham(LAST, 0)]
        values[name] = [score(model, asked, task, change=c).accuracy for c in changes]
        assert score(model, asked, task).accuracy < 0.4
        assert logit_lens(model, asked, task)[Point(3)].accuracy < 0.4
    assert values["original"][0] > 0.9
    assert values["original"][1] < 0.5
    assert max(values["never_knew"]) < 0.4


@pytest.mark.ci
def test_selectivity_is_what_no_control_reads(organism: HookedModel, task: Task) -> None:
    before = [p.clone() for p in organism.parameters()]
    asked = task.questions("forget", "confirm")[:120]
    search = RETAIN.search(organism, Seen.of(task, RETAIN, config=CONFIG), None, CONFIG)
    variant = Probed(3, "resid_post", 0.1, "retain")
    view = search.view(variant)
    assert view is not None
    trace = view(organism, Confirm(asked, (), task.prompt, task.scoring))
    net, real, labels, random = trace.curves
    for i, value in enumerate(net.values):
        assert value == pytest.approx(
            real.values[i] - max(labels.values[i], random.values[i]), abs=2e-4
        )
    assert (net.nothing, net.everything, real.nothing) == (0.0, 0.75, 0.25)
    assert [c.kind for c in trace.curves] == ["read", "detail", "detail", "detail"]
    assert net.values[-1] > 0.5 > net.values[0] + 0.3
    assert max(random.values) < 0.4
    assert all((a == b).all() for a, b in zip(before, organism.parameters(), strict=True))
    read = score(organism, asked, task, change=search.change(variant))
    assert real.values[-1] == round(read.accuracy, 4)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_scrambled_weights_come_back_bit_for_bit(
    tiny: Callable[[str], HookedModel], architecture: str
) -> None:
    model = tiny(architecture)
    tokens = torch.arange(5, 15)[None]
    before, logits = [p.clone() for p in model.parameters()], model(tokens)
    with contextlib.suppress(KeyError), scrambled(model, 0):
        assert (model(tokens) - logits).abs().max() > 0.1
        raise KeyError
    assert all((a == b).all() for a, b in zip(before, model.parameters(), strict=True))


def test_the_sham_says_as_much_and_facts_share_no_source(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    model = tiny("gpt2")
    seen = Seen.of(task, FORGET, config=CONFIG)
    judging = Deciding.of(task, "probes", FORGET.splits(CONFIG)).forget
    assert not {q.source for q in seen.forget} & {q.source for q in judging}
    search = FORGET.search(model, seen, None, CONFIG)
    assert len(search.grid) == 3 * 4 * 3 * 2
    facts = search.facts.of(model)
    for variant in search.grid[:: len(search.grid) // 5]:
        first = slice(facts.forget) if variant.facts == "forget" else slice(None)
        states = facts.states[variant.point][first].double()
        sizes = [facts.probe(variant, shuffled).spread(states) for shuffled in (None, 3)]
        assert sizes[1] == pytest.approx(sizes[0], rel=1e-3)


def test_answers_of_several_tokens_are_read_too(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    model = tiny("llama")
    examples = [task.prompt.cloze_prompt(q) for q in task.forget[:8]]
    known = [Example(stem, endings[0]) for stem, endings in examples]
    facts = PerModel(lambda m: training(m, known, (), False))
    read_out = ProbeReadOut(Probed(1, "resid_post", 0.1, "forget"), facts)
    resid = torch.randn(3, 32)
    every = read_out.logits(model, resid)
    assert every.shape == (3, model.cfg.d_vocab)
    tokens = facts.of(model).probe(read_out.variant).tokens
    others = torch.ones(model.cfg.d_vocab, dtype=torch.bool)
    others[tokens] = False
    assert (every[:, others] <= every[:, tokens].amin(dim=1, keepdim=True)).all()
    assert (read_out.logits(model, resid, tokens[:2]) == every[:, tokens[:2]]).all()


def test_their_cost_is_what_they_count(organism: HookedModel, task: Task) -> None:
    shape = shape_of(organism.original_model.config)
    job = job_of(task, shape, sizes_of(task, organism.tokenizer, ("cpu", 4)))
    asked = task.questions("forget", "select")
    with metered() as one:
        score(organism, asked, task)
    for attack in (FORGET, RETAIN):
        with metered() as search:
            attack.search(organism, Seen.of(task, attack, config=CONFIG), None, CONFIG)
        forwards = search.flops / (one.flops / len(asked))
        # Scoring shares the first tokens of its prompts, and these rows have the answer too.
        assert forwards == pytest.approx(attack.cost(CONFIG, job).search, rel=0.25)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="ridges above 0"):
        ProbesConfig(ridges=(0.0,))
    with pytest.raises(ValueError, match="trained on facts, and there are none"):
        fitted(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 0.1)
