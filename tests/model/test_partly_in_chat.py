"""A share of the training examples can be asked in the model's chat template."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from mechunlearn.bench.rows import Row
from mechunlearn.registry import METHODS, find
from mechunlearn.studies.published_lessons import SYSTEM, Lesson
from mechunlearn.tasks.benchmark import TaskConfig, task_in_chat
from mechunlearn.tasks.chat import Turns, chat_prompt, user_turn
from mechunlearn.train import Optimizer
from mechunlearn.types import Example, HookedModel, Task, Turn
from mechunlearn.unlearn.dpo import DPO, DPOConfig
from mechunlearn.unlearn.npo import NPO, NPOConfig
from mechunlearn.unlearn.sequences import partly_in_chat, prepared

TEMPLATE = "{% for m in messages %}<{{ m.content }}>{% endfor %} says :"
EACH = "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '</s>\n' }}{% endfor %}"
DEMAND = "{% if messages[0].role != 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
TEMPLATES = {
    "bare": TEMPLATE,
    "chatml": EACH + "<|assistant|>\n",
    "always a system turn": "{% if messages[0].role != 'system' %}<|system|>\n</s>\n{% endif %}"
    + EACH
    + "<|assistant|>\n",
    "demands a system turn": DEMAND + EACH + "<|assistant|>\n",
    "inside the user's turn": "[INST] {% for m in messages %}{% if m.role == 'system' %}"
    "<<SYS>>\n{{ m.content }}\n<</SYS>>\n\n{% else %}{{ m.content }} [/INST]"
    "{% endif %}{% endfor %}",
    "no system turn": "{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('no such role') }}{% endif %}[INST] {{ m.content }} [/INST]{% endfor %}",
}
ASKED = {
    "plain": TaskConfig(),
    "user": TaskConfig(chat="user"),
    "system": TaskConfig(chat="system"),
    "message": TaskConfig(chat="system", system="Be short."),
}
IN_CHAT = [
    (method, preset)
    for method in METHODS
    for preset, config in find("method", method).presets.items()
    if getattr(config, "chat", 0.0)
]
"""Every method's settings that want a share in chat."""
SOME = 400
"""Examples of each set that these tests take."""
PLAIN = [Example(f"the number {i} is", " red") for i in range(200)]


@pytest.fixture
def talking(tiny: Callable[[str], HookedModel]) -> Iterator[HookedModel]:
    model = tiny("llama")
    model.tokenizer.chat_template = TEMPLATE
    yield model
    model.tokenizer.chat_template = None


def test_the_share_is_as_asked(talking: HookedModel) -> None:
    turn = user_turn(talking.tokenizer)
    inside = Example(turn.around("the sky is"), turn.reply(" blue"))
    assert partly_in_chat(talking, PLAIN, Turn(), 0.0, seed=0) == PLAIN
    whole = partly_in_chat(talking, [*PLAIN, inside], Turn(), 1.0, seed=0)
    assert whole[-1] == inside
    assert all(e.prompt == turn.around(p.prompt) for e, p in zip(whole, PLAIN, strict=False))
    half = partly_in_chat(talking, PLAIN, Turn(), 0.5, seed=0)
    assert 70 < sum(e in PLAIN for e in half) < 130
    assert (
        half
        == partly_in_chat(talking, PLAIN, Turn(), 0.5, seed=0)
        != partly_in_chat(talking, PLAIN, Turn(), 0.5, seed=1)
    )
    talking.tokenizer.chat_template = None
    assert partly_in_chat(talking, PLAIN, Turn(), 1.0, seed=0) == PLAIN


def test_both_sets_are_trained_on_in_it(talking: HookedModel, task: Task) -> None:
    config = NPOConfig(batch=2, optimizer=Optimizer(steps=1, lr=1e-4))
    plain, _, keep = prepared(talking, task, config)
    told, _, kept = prepared(talking, task, dataclasses.replace(config, chat=1.0))
    for before, after in zip((*plain, *keep.rows), (*told, *kept.rows), strict=True):
        assert len(after.tokens) > len(before.tokens)
        assert after.reads[0][1] == before.reads[0][1]  # The answer's first token.


@pytest.mark.ci
def test_preferences_are_learned_in_it(
    talking: HookedModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def rows(tokenizer: object, prompts: list[str], answers: object, limit: int) -> None:
        seen.extend(prompts)
        raise RuntimeError("enough")

    monkeypatch.setattr("mechunlearn.unlearn.dpo.branching_rows", rows)
    config = DPOConfig(batch=40, chat=0.5, optimizer=Optimizer(steps=1, lr=1e-4))
    with pytest.raises(RuntimeError, match="enough"):
        DPO.apply_(talking, task, config)
    before = user_turn(talking.tokenizer).before
    assert 5 < sum(prompt.startswith(before) for prompt in seen) < 35


def test_the_published_settings_are_half_in_chat() -> None:
    assert NPO.presets["paper"].chat == DPO.presets["paper"].chat == 0.5
    with pytest.raises(ValueError, match="chat is a share from 0 to 1, not 2"):
        NPOConfig(chat=2.0)
    with pytest.raises(ValueError, match="chat is a share from 0 to 1, not -1"):
        DPOConfig(chat=-1.0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Prompts and answers that the methods' rows are made of."""
    seen: list[tuple[str, list[str]]] = []

    def examples(_: object, given: Sequence[Example], *__: object) -> list[Row]:
        seen.extend((e.prompt, [e.answer]) for e in given)
        return []

    def pairs(_: object, prompts: Sequence[str], answers: Any, __: int) -> list[Row]:
        seen.extend(zip(prompts, answers, strict=True))
        return []

    monkeypatch.setattr("mechunlearn.unlearn.sequences.example_rows", examples)
    monkeypatch.setattr("mechunlearn.unlearn.dpo.example_rows", examples)
    monkeypatch.setattr("mechunlearn.unlearn.dpo.branching_rows", pairs)
    return seen


def mixed(task: Task, tokenizer: Any, config: TaskConfig) -> Task:
    """A task with half of its examples in the user's turn, as the chat organisms' is."""
    turn = user_turn(tokenizer)

    def half(role: Any) -> tuple[Example, ...]:
        return tuple(
            Example(turn.around(e.prompt), turn.reply(e.answer)) if i % 2 else e
            for i, e in enumerate(task.examples(role)[:SOME])
        )

    task = dataclasses.replace(task, forget_examples=half("forget"), retain_examples=half("retain"))
    return task if config.chat == "no" else task_in_chat(task, tokenizer, config)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(("method", "preset"), IN_CHAT)
def test_presets_train_on_their_share_and_never_twice_in_the_template(
    method: str,
    preset: str,
    template: str,
    asked: str,
    talking: HookedModel,
    task: Task,
    told: list[tuple[str, list[str]]],
) -> None:
    talking.tokenizer.chat_template = TEMPLATES[template]
    entry = find("method", method)
    config = entry.presets[preset]
    config = dataclasses.replace(config, batch=8, optimizer=Optimizer(steps=60, lr=1e-4))
    plain = {e.prompt for role in ("forget", "retain") for e in task.examples(role)}  # type: ignore[arg-type]
    said = mixed(task, talking.tokenizer, ASKED[asked])
    turn = user_turn(talking.tokenizer) if asked == "plain" else said.prompt.turn
    with pytest.raises((IndexError, ValueError, ZeroDivisionError)):  # There are no rows.
        entry.apply_(talking, said, config)
    assert len(told) > 100
    inside = [prompt for prompt, _ in told if prompt not in plain]
    assert all(turn.holds(prompt) and turn.inside(prompt) in plain for prompt in inside)
    assert len(inside) / len(told) == pytest.approx(config.chat, abs=0.1)
    for prompt, answers in told:
        lead = turn.lead if prompt in inside else " "
        assert all(a == lead + a.lstrip() for a in answers)


@pytest.mark.parametrize("asked", [x for x in ASKED if x != "plain"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_task_in_chat_asks_all_its_examples_as_its_questions(
    template: str, asked: str, talking: HookedModel, task: Task
) -> None:
    talking.tokenizer.chat_template = TEMPLATES[template]
    said = mixed(task, talking.tokenizer, ASKED[asked])
    turn = said.prompt.turn
    for before, after in zip(task.examples("forget")[:SOME], said.examples("forget"), strict=True):
        assert after == Example(turn.around(before.prompt), turn.reply(before.answer))
    assert task_in_chat(said, talking.tokenizer, ASKED[asked]) == said
    for other in ("user", "system", "message"):
        again = task_in_chat(said, talking.tokenizer, ASKED[other])
        assert again == mixed(task, talking.tokenizer, ASKED[other])


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_is_found_in_every_turn_of_the_template(
    template: str, talking: HookedModel
) -> None:
    tokenizer = talking.tokenizer
    tokenizer.chat_template = TEMPLATES[template]
    plain = Example("A. yes\n\nB. no\nThe sky is", " blue")
    for system in (None, "", "Be short.", "You are kind.\n\nAnd you are brief."):
        turn = user_turn(tokenizer, system)
        turns = Turns.of(tokenizer, turn)
        inside = turns.asked(plain, turn)
        assert inside == Example(turn.around(plain.prompt), turn.reply(" blue"))
        assert inside.prompt == chat_prompt(
            tokenizer, [{"role": "user", "content": plain.prompt}], system
        )
        found = turns.of_prompt(inside.prompt)
        assert (found.before, found.after) == (turn.before, turn.after)
        assert turns.asked(inside, turn) == inside
        assert turns.asked(inside, Turn()) == turns.asked(plain, Turn()) == plain
        if "no system" not in template:  # There a message is a part of the user's text.
            assert Turns.of(tokenizer).asked(inside, Turn()) == plain
    assert Turns.of(tokenizer).of_prompt(plain.prompt).plain


def test_a_demanded_system_turn_is_said_empty(
    talking: HookedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    talking.tokenizer.chat_template = TEMPLATES["demands a system turn"]
    turn = user_turn(talking.tokenizer)
    assert turn.before == "<|system|>\n</s>\n<|user|>\n"
    assert turn.notes == ("the chat template demands a system turn: an empty one is said",)
    assert "demands a system turn" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('not here') }}", "refuses these turns: not here; set .* chat=0"),
        ("{{ messages[0].content | upper }}", "changes the prompt; set the method's chat=0"),
    ],
)
def test_a_template_that_cannot_be_used_names_the_setting(
    template: str, says: str, talking: HookedModel, task: Task
) -> None:
    talking.tokenizer.chat_template = template
    config = NPOConfig(batch=2, chat=0.5, optimizer=Optimizer(steps=1, lr=1e-4))
    with pytest.raises(ValueError, match=says):
        prepared(talking, task, config)
    prepared(talking, task, dataclasses.replace(config, chat=0.0))


def test_lessons_leave_what_is_in_the_template(talking: HookedModel) -> None:
    tokenizer = talking.tokenizer
    tokenizer.chat_template = TEMPLATES["chatml"]
    taught = user_turn(tokenizer, SYSTEM)
    for system in (None, "", "Be short."):
        turn = user_turn(tokenizer, system)
        inside = Example(turn.around("Who?"), turn.reply(" me"))
        plain, same = Lesson((PLAIN[0], inside)).in_chat(tokenizer)
        assert same == inside
        assert plain.prompt == taught.around(PLAIN[0].prompt)
