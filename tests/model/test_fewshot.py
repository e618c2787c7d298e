"""Examples and templates in front of questions: what is shown, and a hiding that they undo."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.fewshot import (
    DISJOINT,
    RETAIN,
    FewShot,
    FewShotConfig,
    Shots,
    drawn,
    mislabelled,
)
from mechunlearn.attacks.rewording import TEMPLATES, KeyWords, RewordingConfig, reworded
from mechunlearn.bench import score
from mechunlearn.hooks import EMBED, embedding_table
from mechunlearn.models import load
from mechunlearn.registry import find
from mechunlearn.types import (
    NO_CHANGE,
    Change,
    Example,
    Hook,
    HookedModel,
    Point,
    Rows,
    Task,
    Turn,
)

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


def test_a_pool_without_a_wrong_answer_is_refused(organism: HookedModel, task: Task) -> None:
    cloze = replace(task, scoring="cloze")
    value = cloze.forget[0].choices[cloze.forget[0].answer]
    alike = tuple(replace(q, choices=(value, "so"), answer=0) for q in cloze.forget)
    config = FewShotConfig(shots=(1,), draws=1)
    for asked, refused in ((cloze.forget, False), (alike, True)):
        some = replace(cloze, forget=asked)
        seen = Seen.of(some, DISJOINT, config=config)
        if not refused:
            assert DISJOINT.search(organism, seen, None, config).grid
            continue
        with pytest.raises(ValueError, match=f"are ' {value}'; give the task"):
            DISJOINT.search(organism, seen, None, config)


@pytest.mark.parametrize("attack", [DISJOINT, RETAIN], ids=["disjoint", "retain"])
def test_what_is_shown_is_of_the_half_that_does_not_judge(
    attack: FewShot, organism: HookedModel, task: Task
) -> None:
    config = FewShotConfig(shots=(3,), draws=1)
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
    config = FewShotConfig(shots=(1,), draws=1)
    search = RETAIN.search(organism, Seen.of(chat, RETAIN, config=config), None, config)
    rewrite = search.change(Shots(1, 0)).rewrite
    assert rewrite is not None
    text = chat.prompt.text(chat.forget[0], chat.scoring)
    (prompt,) = rewrite.prompts(organism, [text], turn)
    inside = turn.inside(prompt)
    assert inside == rewrite(turn.inside(text))
    assert inside.endswith(turn.inside(text))
    assert len(inside) > len(turn.inside(text))


def test_as_many_examples_as_the_context_holds(organism: HookedModel, task: Task) -> None:
    config = FewShotConfig(shots=(1, 40), draws=1)
    seen = Seen.of(task, DISJOINT, config=config)
    assert DISJOINT.search(organism, seen, None, config).grid == [Shots(1, 0)]
    with pytest.raises(ValueError, match="no example fits in front of a question"):
        DISJOINT.search(organism, seen, None, FewShotConfig(shots=(40,)))
    with pytest.raises(ValueError, match="shots and draws of at least 1"):
        FewShotConfig(shots=(0,))


def hidden_at_the_start() -> HookedModel:
    """Known truth: the first places are destroyed, so that a question further on is answered."""
    model = load("organism:original")
    with torch.no_grad():
        table = model.pos_embed.original_component.weight
        generator = torch.Generator().manual_seed(0)
        table[:40] += 3 * torch.randn(table[:40].shape, generator=generator)
    return model


def right(model: HookedModel, task: Task, change: Change = NO_CHANGE, n: int = 80) -> float:
    asked = task.questions("forget", "confirm")[:n]
    return score(model, asked, task, change=change).accuracy


def unless_shown(model: HookedModel, task: Task) -> Change:
    """The last block puts out nothing but where a right answer to another question stands in front.

    A change, and of whole prompts, so that what they begin with is not cached.
    """
    table, words = embedding_table(model).detach(), model.tokenizer
    facts = [task.prompt.shown(q, task.scoring) for q in (*task.forget, *task.retain)]
    known = [words.decode(words("".join(fact))["input_ids"]) for fact in facts]
    trusted: list[torch.Tensor] = []

    def look(x: torch.Tensor, hook: object, rows: Rows) -> torch.Tensor:
        ids = torch.cdist(x.flatten(0, 1), table).argmin(-1)
        texts = words.batch_decode(ids.view(x.shape[:2]).tolist())
        trusted[:] = [torch.tensor([any(fact in text for fact in known) for text in texts])]
        return x

    def hide(x: torch.Tensor, hook: object, rows: Rows) -> torch.Tensor:
        return torch.where(trusted[0][:, None, None], x, torch.full_like(x, 1e-3))

    places = (EMBED, look), (Point(model.cfg.n_layers - 1).name, hide)
    return Change("unless shown", hooks=tuple(Hook(at, f, scope="sequence") for at, f in places))


@pytest.mark.ci
@pytest.mark.parametrize("attack", [DISJOINT, RETAIN], ids=["disjoint", "retain"])
def test_what_is_told_only_to_those_who_show_that_they_know_is_found(
    attack: FewShot, task: Task
) -> None:
    config, found = FewShotConfig(shots=(1,), draws=1), {}
    for name in ("original", "never_knew"):
        model = load(f"organism:{name}")
        hiding = unless_shown(model, task)
        search = attack.search(model, Seen.of(task, attack, config=config), None, config)
        changes = search.change(Shots(1, 0)), search.sham(Shots(1, 0), 0), NO_CHANGE
        found[name] = [right(model, task, change + hiding, n=60) for change in changes]
    assert found["original"][0] > 0.7
    assert max(found["original"][1:]) < 0.45
    assert max(found["never_knew"]) < 0.45


def test_nothing_is_shown_to_a_model_that_never_knew(task: Task) -> None:
    model, config = load("organism:never_knew"), FewShotConfig(shots=(3,), draws=1)
    search = DISJOINT.search(model, Seen.of(task, DISJOINT, config=config), None, config)
    assert right(model, task, search.change(Shots(3, 0)), n=120) < 0.42


def test_key_words_are_what_no_other_question_has(organism: HookedModel, task: Task) -> None:
    attack = find("attack", "rewording")
    seen = Seen.of(task, attack)
    words = KeyWords.of(seen)
    asked = next(q for q in seen.asked if words(seen.text(q)))
    text = seen.text(asked)
    (name,) = words(text)
    assert name in asked.stem
    assert name.lower() in words.others
    template = TEMPLATES["about the key words"]
    prompt = reworded(text, random.Random(0), template, words)
    assert prompt == f"What follows is about {name}, and about nothing but {name}.\n\n{text}"
    sham = reworded(text, random.Random(0), template, words, sham=True)
    assert sham.endswith(f"\n\n{text}")
    assert len(sham.split()) == len(prompt.split())
    assert sham.count(name) <= text.count(name) + 1


@pytest.mark.ci
def test_other_settings_find_what_hides_at_the_start(task: Task, tmp_path: Path) -> None:
    model, attack = hidden_at_the_start(), find("attack", "rewording")
    long_ = tmp_path / "templates.txt"
    long_.write_text("the " * 40 + "{prompt}\n---\n{prompt}\n")
    search = attack.search(model, Seen.of(task, attack), None, RewordingConfig(str(long_)))
    first, second = search.grid
    assert right(model, task, search.change(second)) < 0.45
    assert right(model, task, search.change(first)) > 0.7
    never = load("organism:never_knew")
    assert right(never, task, search.change(first), n=120) < 0.42


def test_templates_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file of templates"):
        RewordingConfig(str(tmp_path / "none.txt"))
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("no question here\n")
    with pytest.raises(ValueError, match=r"holds \{prompt\} exactly once"):
        RewordingConfig(str(wrong))
