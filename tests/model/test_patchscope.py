"""Patchscopes: states that are decoded behind another question."""

from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.patchscope import (
    Patchscope,
    PatchscopeConfig,
    Scope,
    ScopeReadOut,
    _random,
    _spaced,
)
from mechunlearn.audit.outlook import job_of
from mechunlearn.audit.select import score_changes
from mechunlearn.bench import score
from mechunlearn.bench.states import states_at
from mechunlearn.cost.memory import shape_of, sizes_of
from mechunlearn.hooks import EMBED, embedding_table, metered
from mechunlearn.models import load
from mechunlearn.types import HookedModel, Point, Task

ATTACK = Patchscope()
CONFIG = PatchscopeConfig()


def test_a_state_behind_its_own_prompt_is_the_models_answer(
    any_tiny: HookedModel, task: Task
) -> None:
    tokens = tuple(any_tiny.tokenizer(task.prompt.text(task.forget[0], "letter"))["input_ids"])
    expected = any_tiny(torch.tensor([tokens]))[0, -1]
    point = Point(1)
    own = states_at(any_tiny, [tokens], [[len(tokens) - 1]], [point])[point]
    found = ScopeReadOut(point, 1, tokens).logits(any_tiny, own.repeat(3, 1))
    assert found.shape == (3, len(expected))
    assert (found - expected).abs().max() < 1e-4
    ids = torch.tensor([5, 9])
    some = ScopeReadOut(point, 1, tokens).logits(any_tiny, own, ids)
    assert (some - expected[ids]).abs().max() < 1e-4


def hide_from_names_(model: HookedModel, task: Task) -> None:
    """The last block puts out nothing where a name of the forget set stands in the prompt."""
    ids = [model.tokenizer(q.source)["input_ids"][-1] for q in task.forget]
    marks = embedding_table(model)[torch.tensor(ids)][:, 0]
    seen: list[torch.Tensor] = []

    def look(x: torch.Tensor, hook: object) -> None:
        seen[:] = [torch.isin(x[:, :, 0], marks).any(dim=1)]

    def hide(x: torch.Tensor, hook: object) -> torch.Tensor:
        return torch.where(seen[0][:, None, None], torch.zeros_like(x), x)

    model.add_hook(EMBED, look, is_permanent=True)
    model.add_hook(Point(model.cfg.n_layers - 1).name, hide, is_permanent=True)


def test_it_reads_what_is_held_back_in_sight_of_a_name(task: Task) -> None:
    asked = task.questions("forget", "confirm")[:120]
    seen, scope = Seen.of(task, ATTACK), Scope(2, 2, 0)
    read: dict[str, list[float]] = {}
    for name in ("original", "never_knew"):
        model = load(f"organism:{name}")
        hide_from_names_(model, task)
        search = ATTACK.search(model, seen, None, CONFIG)
        assert scope in search.grid
        changes = [search.change(scope), search.sham(scope, 0)]
        read[name] = [s.accuracy for s in score_changes(model, changes, asked, task)]
        assert score(model, asked, task).accuracy < 0.4
        view = search.view(scope)
        assert view is not None
        (line,) = view(model, Confirm(asked, (), task.prompt, task.scoring)).curves
        assert line.values[-1] == round(read[name][0], 4)
    assert read["original"][0] > 0.7
    assert read["original"][1] < 0.45
    assert max(read["never_knew"]) < 0.4


def test_the_sham_has_the_states_norms() -> None:
    states = torch.randn(7, 32) * torch.arange(1, 8)[:, None]
    drawn = _random(states, 0)
    assert (drawn.norm(dim=1) - states.norm(dim=1)).abs().max() < 1e-4
    assert (drawn != _random(states, 1)).all()


def test_layers_are_spaced_and_the_last_one_is_the_output() -> None:
    assert _spaced(4, 8) == [0, 1, 2]
    assert _spaced(32, 8) == [0, 4, 9, 13, 17, 21, 26, 30]
    assert _spaced(1, 8) == _spaced(2, 8) == [0]
    with pytest.raises(ValueError, match="layers >= 2 and prompts >= 1"):
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
    # Target prompts have an example in front; no token of them is shared.
    assert 1 <= tried.flops / one.flops / ATTACK.cost(CONFIG, job).variants < 2.5
