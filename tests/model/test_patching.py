"""Exchanged states: what an independent computation gives, and models of known depth."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.patching import BY_GRADIENT, INTO, Original, Patching, PatchingConfig
from mechunlearn.audit.outlook import job_of
from mechunlearn.bench import score
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.bench.states import answer_gradients, answer_log_probabilities
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.hooks import frozen_head, metered, unembed
from mechunlearn.models import load
from mechunlearn.train import restored
from mechunlearn.types import Example, HookedModel, Point, Task

ATTACK, CONFIG = Patching(), PatchingConfig()
LAST = Point(3)


def seen_of(task: Task) -> Seen:
    return Seen.of(task, ATTACK, asked=task.questions("forget", "select")[:48])


@pytest.fixture(scope="module")
def original() -> HookedModel:
    """Only asked."""
    return load("organism:original")


@pytest.fixture(scope="module")
def known(original: HookedModel, task: Task) -> Original:
    return ATTACK.learn(original, seen_of(task), CONFIG)


@pytest.fixture
def changed(organism: HookedModel) -> Iterator[HookedModel]:
    """The original once more, whose weights may be changed."""
    with restored(organism):
        yield organism


def curves(
    model: HookedModel, task: Task, known: Original, original: HookedModel
) -> dict[str, tuple[float, ...]]:
    """Both directions of the exchange between the original and another model, by curve."""
    search = ATTACK.search(model, seen_of(task), known, CONFIG)
    view = search.view(LAST)
    assert view is not None
    confirm = Confirm((), (), task.prompt, task.scoring)
    traces = (view(model, confirm), view(original, confirm))
    return {c.name: c.values for trace in traces for c in trace.curves}


def test_states_are_put_in_where_they_belong(any_tiny: HookedModel) -> None:
    examples = [Example("question what is", " the glow of"), Example("the song of", " A")]
    rows = example_rows(any_tiny, examples, "answer", 64)
    n = sum(len(row.reads) for row in rows)
    states = torch.randn(n, 32, generator=torch.Generator().manual_seed(0))
    found = answer_log_probabilities(any_tiny, rows, (Point(1), states))
    start = 0
    for row, value in zip(rows, found.tolist(), strict=True):
        own = states[start : start + len(row.reads)]
        start += len(row.reads)
        at = [place for place, _, _ in row.reads]

        def put(x: torch.Tensor, hook: object, at: list[int] = at, own: torch.Tensor = own) -> None:
            x[0, at] = own

        logits = any_tiny.run_with_hooks(
            torch.tensor([row.tokens]), fwd_hooks=[(Point(1).name, put)]
        )
        log = logits[0].log_softmax(-1)
        expected = np.mean([float(log[place, token]) for place, token, _ in row.reads])
        assert value == pytest.approx(expected, abs=1e-4)


def test_the_gradient_foretells_small_exchanges(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("llama")
    rows = example_rows(model, [Example("question what is", " the glow of")], "answer", 64)
    point = Point(1)
    gradient = answer_gradients(model, rows, [Point(0), point])[point]
    _, cache = model.run_with_cache(torch.tensor([rows[0].tokens]))
    own = cache[point.name][0, [at for at, _, _ in rows[0].reads]]
    moved = 1e-2 * torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
    values = [answer_log_probabilities(model, rows, (point, own + s * moved)) for s in (1, -1)]
    # Later answer tokens see the earlier ones' states, so all places count together.
    assert float((gradient * moved).sum()) == pytest.approx(
        float(values[0] - values[1]) / 2, rel=0.02
    )


def test_a_head_outlives_its_model(any_tiny: HookedModel) -> None:
    states = torch.randn(3, 32)
    head, expected = frozen_head(any_tiny), unembed(any_tiny, states)
    with torch.no_grad():
        for parameter in any_tiny.parameters():
            parameter.zero_()
    assert (head(states) - expected).abs().max() < 1e-6


@pytest.mark.ci
def test_depth_is_where_the_models_part(
    task: Task, known: Original, original: HookedModel, changed: HookedModel
) -> None:
    same = curves(changed, task, known, original)
    assert max(same[INTO]) == max(same[BY_GRADIENT]) == 0.0
    assert min(same["original's lens"]) == 1.0
    assert same["original patched in"] == ()
    with torch.no_grad():
        for parameter in (*changed.blocks[2].parameters(), *changed.blocks[3].parameters()):
            parameter.copy_(parameter.flatten().flip(0).view_as(parameter))
    parted = curves(changed, task, known, original)
    assert all(share == 0 for share in parted[INTO][:-2])  # Blocks 0 and 1, as far as they carry.
    assert parted[INTO][-1] > 0.2
    assert parted["original patched in"][-1] > 0.5


@pytest.mark.ci
def test_a_model_that_never_knew_has_nothing_to_exchange(
    task: Task,
    known: Original,
    original: HookedModel,
    organisms: Callable[[str], HookedModel],
) -> None:
    gone = organisms("organism:never_knew")
    found = curves(gone, task, known, original)
    assert found[INTO][-1] > 0.7
    assert found["original's lens"][-1] < 0.3
    asked = task.questions("forget", "confirm")[:120]
    search = ATTACK.search(gone, seen_of(task), known, CONFIG)
    assert score(gone, asked, task, change=search.change(LAST)).interval[0] < 0.3


@pytest.mark.ci
@torch.no_grad()
def test_states_that_say_less_of_anything_do_not_say_more_of_the_question(
    task: Task, known: Original, original: HookedModel, changed: HookedModel
) -> None:
    """Behind another stem a knowing model is surely wrong: less than that is not knowledge."""
    for block in changed.blocks:
        for parameter in block.parameters():
            parameter.mul_(0.5)
    found = curves(changed, task, known, original)["original's lens"]
    assert abs(found[-1]) < 0.1


@pytest.mark.ci
@torch.no_grad()
def test_what_was_hidden_in_the_head_is_read_and_not_by_its_sham(
    task: Task, known: Original
) -> None:
    model = load("organism:original")
    head = model.unembed.original_component.weight
    order = torch.randperm(len(head), generator=torch.Generator().manual_seed(0))
    model.unembed.original_component.weight = torch.nn.Parameter(head[order])
    asked = task.questions("forget", "confirm")[:120]
    search = ATTACK.search(model, seen_of(task), known, CONFIG)
    assert score(model, asked, task).accuracy < 0.5
    read = search.change(LAST).read_out
    assert read is not None
    assert score(model, asked, task, change=search.change(LAST)).accuracy > 0.95
    sham = search.sham(LAST, 0)
    assert score(model, asked, task, change=sham).accuracy < 0.5
    states = known.states[LAST][:5]
    own = unembed(model, states)
    assert sham.read_out is not None
    sizes = [(r.logits(model, states) - own).norm(dim=1) for r in (read, sham.read_out)]
    assert (sizes[0] - sizes[1]).abs().max() < 1e-3 * float(sizes[0].max())


@pytest.mark.long
def test_its_cost_is_what_it_counts(organism: HookedModel, task: Task) -> None:
    shape = shape_of(organism.original_model.config)
    job = job_of(task, shape, sizes_of(task, organism.tokenizer, ("cpu", 4)))
    asked = task.questions("forget", "select")
    with metered() as one:
        score(organism, asked, task)
    seen = Seen.of(task, ATTACK)
    for config in (CONFIG, PatchingConfig(exact=False)):
        with metered() as meter:
            known = ATTACK.learn(organism, seen, config)
            view = ATTACK.search(organism, seen, known, config).view(LAST)
            assert view is not None
            view(organism, Confirm((), (), task.prompt, task.scoring))
        forwards = meter.flops / (one.flops / len(asked))
        assert forwards == pytest.approx(ATTACK.cost(config, job).search, rel=0.25)
