"""Patchscopes: a state behind a prompt that asks nothing, put into words by the model itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.grades import fitting, grade
from mechunlearn.attacks.patchscope import (
    Patchscope,
    PatchscopeConfig,
    Scope,
    _elsewhere,
    _spaced,
    patchscope,
)
from mechunlearn.audit.outlook import job_of
from mechunlearn.audit.select import score_changes
from mechunlearn.bench import score
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.hooks import EMBED, embedding_table, metered
from mechunlearn.models import load
from mechunlearn.tasks import load_task
from mechunlearn.tasks.entities import names_of
from mechunlearn.types import HookedModel, Point, Task

ATTACK = Patchscope()
CONFIG = PatchscopeConfig()
BEST = Scope(3, 3, "nothing")


@pytest.fixture(scope="module")
def spoken() -> Task:
    return load_task("chat-open", original="chat:original")


def test_a_state_behind_its_own_question_is_the_models_answer(
    any_tiny: HookedModel, task: Task
) -> None:
    asked = task.forget[:1]
    plain = score(any_tiny, asked, task)
    own = patchscope(1, 1, task.prompt.text(asked[0], task.scoring))
    same = score(any_tiny, asked, task, change=own)
    assert abs(same.logits - plain.logits).max() < 1e-4
    two = score(any_tiny, task.forget[:2], task, change=own)
    assert abs(two.logits[0] - plain.logits[0]).max() < 1e-4
    assert abs(two.logits[1] - plain.logits[0]).max() > 1e-4  # The other question's state.


def hide_from_names_(model: HookedModel, task: Task, blocks: Sequence[int]) -> None:
    """Blocks put out nothing where a name of the forget set stands in the prompt."""
    table = embedding_table(model).detach()
    names = {
        tuple(model.tokenizer(f"the {name}")["input_ids"][-2:])
        for name in names_of(task.forget).values()
    }
    ends = torch.tensor(sorted(names))
    seen: list[torch.Tensor] = []

    def look(x: torch.Tensor, hook: object) -> None:
        ids = torch.cdist(x.flatten(0, 1), table).argmin(-1).view(x.shape[:2])
        if ids.shape[1] == 1:  # The next token of an answer, after what is kept of the prompt.
            return
        pairs = torch.stack([ids[:, :-1], ids[:, 1:]], dim=-1)
        seen[:] = [(pairs[:, :, None] == ends).all(-1).flatten(1).any(1)]

    def hide(x: torch.Tensor, hook: object) -> torch.Tensor:
        return torch.where(seen[0][:, None, None], torch.full_like(x, 1e-3), x)

    model.add_hook(EMBED, look, is_permanent=True)
    for block in blocks:
        model.add_hook(Point(block).name, hide, is_permanent=True)


@pytest.mark.ci
def test_the_model_says_what_is_held_back_in_sight_of_a_name(spoken: Task) -> None:
    asked = spoken.questions("forget", "confirm")[::4]
    found = {}
    for name in ("original", "never_knew"):
        model = load(f"chat:{name}")
        hide_from_names_(model, spoken, [4])
        search = ATTACK.search(model, Seen.of(spoken, ATTACK), None, CONFIG)
        assert BEST in search.grid
        changes = [search.change(BEST), search.sham(BEST, 0)]
        found[name] = [s.accuracy for s in score_changes(model, changes, asked, spoken)]
        assert score(model, asked, spoken).accuracy < 0.1
    assert found["original"][0] > 0.9
    assert found["original"][1] < 0.15
    assert max(found["never_knew"]) < 0.25


@pytest.mark.ci
def test_what_is_gone_before_the_state_is_taken_does_not_come_back(spoken: Task) -> None:
    model, asked = load("chat:original"), spoken.questions("forget", "confirm")[::6]
    hide_from_names_(model, spoken, [0])
    change = patchscope(BEST.source, BEST.target, "the")
    assert score(model, asked, spoken, change=change).accuracy < 0.15


@pytest.mark.long
def test_it_is_drawn_layer_by_layer(spoken: Task) -> None:
    model, asked = load("chat:original"), spoken.questions("forget", "confirm")[::12]
    search = ATTACK.search(model, Seen.of(spoken, ATTACK), None, CONFIG)
    view = search.view(BEST)
    assert view is not None
    (line,) = view(model, Confirm(asked, (), spoken.prompt, spoken.scoring)).curves
    assert line.layers == (0, 1, 2, 3)
    assert line.values[0] < 0.2
    assert line.values[-1] > 0.9


def test_what_only_reads_inside_is_refused_for_spoken_answers_and_this_is_not(spoken: Task) -> None:
    both = ("logit_lens", "patchscope")
    assert fitting(both, "A", spoken) == ("patchscope",)
    assert fitting(both, "A", replace(spoken, scoring="probability")) == both
    assert grade(ATTACK) == "no forget information"


def test_in_the_sham_everybody_has_another_ones_state() -> None:
    order = _elsewhere(9, 0)
    assert sorted(order) == list(range(9))
    assert all(i != j for i, j in enumerate(order))
    assert order != _elsewhere(9, 1)


def test_layers_are_spaced_and_the_last_one_is_the_output() -> None:
    assert _spaced(4, 8) == [0, 1, 2]
    assert _spaced(32, 8) == [0, 4, 9, 13, 17, 21, 26, 30]
    assert _spaced(1, 8) == _spaced(2, 8) == [0]
    with pytest.raises(ValueError, match="layers >= 2"):
        PatchscopeConfig(layers=1)


def test_its_cost_is_what_it_counts(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model = tiny("gpt2")
    shape = shape_of(model.original_model.config)
    job = job_of(task, shape, sizes_of(task, model.tokenizer, ("cpu", 4)))
    asked = task.questions("forget", "select")[:60]
    with metered() as one:
        score(model, asked, task)
    search = ATTACK.search(model, Seen.of(task, ATTACK), None, CONFIG)
    (grid,) = search.variants()
    with metered() as tried:
        score_changes(model, [search.change(v) for v in grid], asked, task)
    assert 0.5 < ATTACK.cost(CONFIG, job).variants / (tried.flops / one.flops) < 2
