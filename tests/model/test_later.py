"""Changes that act from a block on: the blocks before run once, and nothing else changes."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mechunlearn.bench import later, score
from mechunlearn.bench.later import same_answers, score_each
from mechunlearn.hooks import Beginnings, Later, metered, move_along, unchanged_blocks
from mechunlearn.types import Change, Hook, HookedModel, Score, Scoring, Task

LAYERS = 3


def changes(width: int) -> list[Change]:
    """Ablations after blocks, inside them, of the embedding; and twice the output's."""
    generator = torch.Generator().manual_seed(0)
    places = ["hook_embed", "blocks.1.hook_attn_out", "blocks.2.hook_mlp_out"]
    places += [f"blocks.{i}.hook_resid_post" for i in (0, 1, 2, 2)]
    units = torch.nn.functional.normalize(torch.randn(len(places), width, generator=generator))
    hooks = [Hook(p, partial(move_along, unit=u)) for p, u in zip(places, units, strict=True)]
    return [Change(hook.place, (hook,)) for hook in hooks]


def asked_with(task: Task, header: str, scoring: Scoring) -> Task:
    letter = "{header}" + task.prompt.letter.removeprefix("{header}")
    prompt = dataclasses.replace(
        task.prompt, letter=letter, cloze="{header}" + task.prompt.cloze, header=header
    )
    return dataclasses.replace(task, prompt=prompt, scoring=scoring)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[HookedModel], list[int]]:
    """Which blocks' feed-forward parts ran."""

    def count(model: HookedModel) -> list[int]:
        ran: list[int] = []
        for i, block in enumerate(model.blocks):
            inner = block.mlp.original_component
            plain = inner.forward

            def forward(*args: object, i: int = i, plain: Any = plain, **kwargs: object) -> object:
                ran.append(i)
                return plain(*args, **kwargs)

            monkeypatch.setattr(inner, "forward", forward)
        return ran

    return count


@pytest.mark.ci
@pytest.mark.parametrize("header", ["", "the glow of "])
@pytest.mark.parametrize("scoring", ["letter", "cloze"])
def test_answers_are_those_of_whole_forwards(
    any_tiny: HookedModel, task: Task, scoring: Scoring, header: str
) -> None:
    asked, of = task.forget[:24], asked_with(task, header * 8, scoring)
    own = changes(any_tiny.cfg.d_model)
    with metered() as whole:
        plain = [score(any_tiny, asked, of, change=c) for c in own]
    with metered() as shared:
        found = score_each(any_tiny, own, asked, of)
    for a, b in zip(plain, found, strict=True):
        assert a.name == b.name
        assert np.array_equal(a.logits, b.logits)
    assert not np.array_equal(plain[0].logits, plain[1].logits)
    assert shared.flops == whole.flops
    assert later._ALLOWED[any_tiny]


def test_blocks_before_the_first_change_run_once(
    tiny: Callable[[str], HookedModel],
    task: Task,
    counted: Callable[[HookedModel], list[int]],
) -> None:
    model = tiny("gpt2")
    own, asked = changes(model.cfg.d_model), task.forget[:8]
    score_each(model, own, asked, task)  # The first time, one change is computed both ways.
    ran = counted(model)
    for change in own:
        score(model, asked, task, change=change)
    assert [ran.count(i) for i in range(LAYERS)] == [7, 7, 7]
    ran.clear()
    score_each(model, own, asked, task)
    # Once to keep; then by the embedding's change alone, ..., at block 2 by all but two.
    assert [ran.count(i) for i in range(LAYERS)] == [1 + 1, 1 + 3, 1 + 5]


def test_a_model_whose_answers_differ_is_computed_whole(
    tiny: Callable[[str], HookedModel],
    task: Task,
    counted: Callable[[HookedModel], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("gpt2")
    later._ALLOWED.pop(model, None)
    monkeypatch.setattr(later, "same_answers", lambda one, other: False)
    own, asked = changes(model.cfg.d_model), task.forget[:8]
    plain = [score(model, asked, task, change=c) for c in own]
    for _ in range(2):
        found = score_each(model, own, asked, task)
        assert all(np.array_equal(a.logits, b.logits) for a, b in zip(plain, found, strict=True))
    ran = counted(model)
    score_each(model, own, asked, task)
    assert [ran.count(i) for i in range(LAYERS)] == [7, 7, 7]
    later._ALLOWED.pop(model, None)


def test_outputs_that_take_too_much_room_are_not_kept(
    tiny: Callable[[str], HookedModel], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = tiny("gpt2"), task.forget[:8]
    own = changes(model.cfg.d_model)
    plain = [score(model, asked, task, change=c) for c in own]
    monkeypatch.setattr(later, "_room", lambda model: 0.0)
    found = score_each(model, own, asked, task)
    assert all(np.array_equal(a.logits, b.logits) for a, b in zip(plain, found, strict=True))
    kept = Beginnings([1, 2, 3], 8.0, {n: [torch.zeros(1)] for n in (1, 2, 3)}, 12)
    kept._thin()
    assert (kept.blocks, kept.size, kept.before(3), kept.before(1)) == ([2], 4, 2, 0)


def test_batches_that_are_split_on_the_way_are_computed_whole(
    tiny: Callable[[str], HookedModel], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = tiny("llama"), task.forget[:24]
    own = changes(model.cfg.d_model)
    plain = [score(model, asked, task, change=c) for c in own]
    score_each(model, own, asked, task)
    begun_with, splits = Later.forward, iter([False, False, True])

    @contextmanager
    def short(self: Later, of: HookedModel, tokens: Tensor) -> Iterator[None]:
        if next(splits, False):
            raise torch.OutOfMemoryError
        with begun_with(self, of, tokens):
            yield

    monkeypatch.setattr(Later, "forward", short)
    found = score_each(model, own, asked, task)
    assert next(splits, None) is None
    for a, b in zip(plain, found, strict=True):
        assert np.allclose(a.logits, b.logits, atol=1e-5)


def test_what_a_place_leaves_unchanged() -> None:
    assert unchanged_blocks("blocks.3.hook_resid_post") == 4
    assert unchanged_blocks("blocks.3.hook_attn_out") == 3
    assert unchanged_blocks("blocks.12.mlp.hook_post") == 12
    assert unchanged_blocks("hook_embed") == 0
    assert unchanged_blocks("ln_final.hook_scale") == 0


def test_scores_that_differ_are_not_the_same() -> None:
    one = Score("a", np.array([[0.0, -np.inf], [1.0, 2.0]]), np.array([0, 1]))
    close = Score("b", one.logits + 1e-6, one.answers)
    far = Score("c", one.logits + np.array([[0.0, 0.0], [0.01, 0.0]]), one.answers)
    assert same_answers(one, close)
    assert not same_answers(one, far)
