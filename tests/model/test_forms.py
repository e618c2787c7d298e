"""Asking in another form: equal to asking so by hand, and refused where it cannot be honoured."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from mechunlearn.attacks import Seen
from mechunlearn.attacks.forms import AskedAs
from mechunlearn.bench import score
from mechunlearn.bench.generation import generate
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.registry import find
from mechunlearn.types import Change, Form, HookedModel, Question, Task, Turn


def test_a_form_is_the_question_asked_so_by_hand(
    tiny: Callable[..., HookedModel], task: Task
) -> None:
    """Choices moved, another measure, another template, other stems; answers in their own order."""
    model, asked = tiny("gpt2"), task.forget[:24]

    def under(form: Form) -> np.ndarray:
        return score(model, asked, task, change=Change("form", form=form)).logits

    moved = score(model, [q.rotated(1) for q in asked], task)
    assert np.allclose(under(Form("letter", moved=1)), np.roll(moved.logits, 1, axis=1))
    again = score(model, asked, task, change=Change("form", form=Form("letter", moved=1)))
    assert (again.correct == moved.correct).all()
    cloze = score(model, asked, task.prompt, scoring="cloze")
    assert np.allclose(under(Form("cloze")), cloze.logits)
    stems = score(model, with_other_stems(asked, 3), task)
    assert np.allclose(under(Form("letter", stems=3)), stems.logits)
    chat = Form("letter", turn=Turn("name : ", " letter :", " "))
    assert np.allclose(under(chat), score(model, asked, chat.format(task.prompt)).logits)


def test_questions_of_different_numbers_of_choices_keep_their_order() -> None:
    asked = [Question("a", ("x", "y", "z"), 2), Question("b", ("x", "y"), 1)]
    form = Form("letter", moved=1)
    said = np.array([[2.0, 3.0, 1.0], [2.0, 1.0, -np.inf]])  # Of y, z, x and of y, x.
    own = form.in_order(said, asked)
    assert own.tolist() == [[1.0, 2.0, 3.0], [1.0, 2.0, -np.inf]]
    assert [q.choices[q.answer] for q in form.asked(asked)] == ["z", "y"]


def test_a_form_is_refused_where_it_cannot_be_honoured(
    tiny: Callable[..., HookedModel], task: Task
) -> None:
    change = Change("asked otherwise", form=Form("cloze"))
    model = tiny("gpt2")
    refused = pytest.raises(ValueError, match="in another form, which is not part of a model")
    with refused, change.on(model):
        pass
    with pytest.raises(ValueError, match="asks questions in another form"):
        generate(model, ["the glow of"], 2, change)
    with pytest.raises(ValueError, match="both have a form"):
        change + change


def test_the_forms_of_a_task_are_all_but_its_own(
    tiny: Callable[..., HookedModel], task: Task
) -> None:
    model, attack = tiny("gpt2"), find("attack", "forms")
    config = attack.presets["organism"]
    search = attack.search(model, Seen.of(task, attack, config=config), None, config)
    (tried,) = search.variants()
    assert tried == [AskedAs("letter", 1), AskedAs("letter", 2), AskedAs("letter", 3),
                     AskedAs("cloze")]  # fmt: skip
    change, sham = search.change(tried[3]), search.sham(tried[3], seed=0)
    assert change.form == Form("cloze")
    assert sham.form == Form("cloze", stems=1)
    assert change.leaves_model
    in_chat = Task(**{f: getattr(task, f) for f in task.__dataclass_fields__} | {
        "prompt": Form("letter", turn=Turn("name : ", " letter")).format(task.prompt)})  # fmt: skip
    search = attack.search(model, Seen.of(in_chat, attack, config=config), None, config)
    (tried,) = search.variants()
    assert AskedAs("letter", 0, "plain") in tried
    assert search.change(AskedAs("letter", 0, "plain")).form == Form("letter", turn=Turn())
    # Where no form is asked for that the task has, it asks as the task does and finds nothing.
    none = dataclasses.replace(config, places=("chat",), measures=("letter",), moves=())
    search = attack.search(model, Seen.of(task, attack, config=none), None, none)
    (tried,) = search.variants()
    assert tried == [AskedAs("letter")]
    assert search.change(tried[0]).form == Form("letter")
