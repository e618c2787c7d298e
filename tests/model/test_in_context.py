"""Few-shot prompts: what is shown, in which fold, with which answers; a hiding that they undo."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.in_context import (
    DISJOINT,
    RETAIN,
    InContext,
    InContextConfig,
    Shots,
    drawn,
    mislabelled,
)
from mechunlearn.bench import score
from mechunlearn.models import load
from mechunlearn.types import Change, Example, HookedModel, Task, Turn

POOL = [Example(f"question {i} answer :", f" {'ABCD'[i % 4]}") for i in range(12)]


def test_examples_are_drawn_once_and_fewer_are_the_nearest() -> None:
    many, few = drawn(POOL, Shots(5, 0)), drawn(POOL, Shots(2, 0))
    assert many[-2:] == few
    assert len(set(many)) == 5
    assert drawn(POOL, Shots(5, 1)) != many
    assert drawn(POOL, Shots(5, 0), seed=1) != many
    with pytest.raises(ValueError, match="no questions to show"):
        drawn([], Shots(1, 0))


def test_wrong_answers_have_the_form_of_right_ones() -> None:
    wrong = mislabelled(POOL, POOL, seed=0)
    assert [e.prompt for e in wrong] == [e.prompt for e in POOL]
    assert all(a.answer != b.answer for a, b in zip(wrong, POOL, strict=True))
    assert set(Counter(e.answer for e in wrong)) == {" A", " B", " C", " D"}
    alike = [Example("is it ?", " yes")] * 2
    assert mislabelled(alike, alike, seed=0) == tuple(alike)


@pytest.mark.parametrize("attack", [DISJOINT, RETAIN], ids=["disjoint", "retain"])
def test_what_is_shown_is_of_the_half_that_does_not_judge(
    attack: InContext, organism: HookedModel, task: Task
) -> None:
    config = InContextConfig(shots=(3,), draws=1)
    seen = Seen.of(task, attack, config=config)
    search = attack.search(organism, seen, None, config)
    rewrite, sham = search.change(Shots(3, 0)).rewrite, search.sham(Shots(3, 0), 0).rewrite
    assert rewrite is not None
    assert sham is not None
    asked = task.questions("forget", "confirm")[0]
    text = task.prompt.text(asked, task.scoring)
    prompt, other = rewrite(text), sham(text)
    assert prompt.endswith(text)
    assert len(prompt.split()) == len(other.split())
    half = seen.forget if attack is DISJOINT else seen.retain
    shown = [q for q in half if q.stem in prompt]
    assert len(shown) == 3
    right = [seen.shown(q) for q in shown]
    assert all(e.prompt + e.answer in prompt and e.prompt in other for e in right)
    assert not any(e.prompt + e.answer in other for e in right)
    judging = {q.source for q in task.questions(attack.role, "select")} - {q.source for q in half}
    assert judging


def test_examples_stand_inside_the_turn(organism: HookedModel, task: Task) -> None:
    turn = Turn(before="the ", after=" .")
    chat = replace(task, prompt=replace(task.prompt, turn=turn))
    config = InContextConfig(shots=(1,), draws=1)
    search = RETAIN.search(organism, Seen.of(chat, RETAIN, config=config), None, config)
    rewrite = search.change(Shots(1, 0)).rewrite
    assert rewrite is not None
    text = chat.prompt.text(chat.forget[0], chat.scoring)
    (prompt,) = rewrite.prompts(organism, [text], turn)
    assert prompt.startswith("the ")
    assert prompt.endswith(" .")
    assert prompt.count(" .") == text.count(" .")  # Only the question's own turn is closed.


def test_as_many_examples_as_the_context_holds(organism: HookedModel, task: Task) -> None:
    config = InContextConfig(shots=(1, 40), draws=1)
    seen = Seen.of(task, DISJOINT, config=config)
    assert DISJOINT.search(organism, seen, None, config).grid == [Shots(1, 0)]
    with pytest.raises(ValueError, match="no example fits in front of a question"):
        DISJOINT.search(organism, seen, None, InContextConfig(shots=(40,)))
    with pytest.raises(ValueError, match="shots and draws of at least 1"):
        InContextConfig(shots=(0,))


def test_hiding_at_the_start_of_a_prompt_is_found_and_called_form(task: Task) -> None:
    """Known truth: the first places are destroyed, so that a question further on is answered."""
    model = load("organism:original")
    with torch.no_grad():
        table = model.pos_embed.original_component.weight
        generator = torch.Generator().manual_seed(0)
        table[:40] += 3 * torch.randn(table[:40].shape, generator=generator)
    config = InContextConfig(shots=(3,), draws=1)
    search = DISJOINT.search(model, Seen.of(task, DISJOINT, config=config), None, config)
    asked = task.questions("forget", "confirm")[:80]

    def right(change: Change) -> float:
        return score(model, asked, task, change=change).accuracy

    assert right(Change("none")) < 0.45
    assert right(search.change(Shots(3, 0))) > 0.7
    assert right(search.sham(Shots(3, 0), 0)) > 0.7


def test_nothing_is_shown_to_a_model_that_never_knew(task: Task) -> None:
    model, config = load("organism:never_knew"), InContextConfig(shots=(3,), draws=1)
    search = DISJOINT.search(model, Seen.of(task, DISJOINT, config=config), None, config)
    asked = task.questions("forget", "confirm")[:120]
    assert score(model, asked, task, change=search.change(Shots(3, 0))).accuracy < 0.42
