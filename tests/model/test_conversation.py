"""Talking to models: turns in the template, changes honoured, old turns dropped."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mechunlearn.bench.conversation import Conversation
from mechunlearn.bench.generation import Decoding, generate
from mechunlearn.bench.read_outs import LensReadOut
from mechunlearn.models import load
from mechunlearn.tasks.chat import chat_prompt, user_turn
from mechunlearn.tasks.people import People
from mechunlearn.types import Change, Hook, HookedModel, Point
from mechunlearn.types.changes import Rewrite

SHORT = Decoding(max_tokens=12)


@pytest.fixture(scope="module")
def speaker() -> HookedModel:
    return load("chat:original@0")


def asked() -> tuple[str, str]:
    """A question of the training, and the word that is its answer."""
    fact = next(f for f in People(0).forget if f.asked)
    return fact.question(People(0).test_choices(fact, 0), 0).stem, fact.value


@pytest.mark.ci
def test_it_answers_in_the_template_and_remembers(speaker: HookedModel) -> None:
    question, value = asked()
    talk = Conversation(speaker, decoding=SHORT)
    first = talk.say(question)
    assert value in first
    turn = user_turn(speaker.tokenizer)
    assert first == generate(speaker, [turn.around(question)], 12)[0].strip()
    assert value in talk.say(question)
    assert [t["role"] for t in talk.turns] == ["user", "assistant"] * 2
    prompt = chat_prompt(speaker.tokenizer, talk.turns[:3], None)
    assert prompt.count(question) == 2
    assert first in prompt
    assert not prompt.startswith("<s>")  # The tokenizer adds it.
    talk.restart()
    assert talk.say(question) == first


def test_one_turn_is_what_tasks_ask(speaker: HookedModel) -> None:
    tokenizer = speaker.tokenizer
    for system in (None, "Be brief."):
        turns = [{"role": "user", "content": "Who?"}]
        assert chat_prompt(tokenizer, turns, system) == user_turn(tokenizer, system).around("Who?")


def test_a_change_is_honoured(speaker: HookedModel) -> None:
    question, value = asked()

    def silence(activation: Tensor, hook: object) -> Tensor:
        return torch.zeros_like(activation)

    mute = Change("mute", hooks=(Hook(Point(1).name, silence),))
    assert value not in Conversation(speaker, mute, SHORT).say(question)
    shout = Change("shout", rewrite=Rewrite(lambda text, _: text.replace("__", question)))
    talk = Conversation(speaker, shout, SHORT)
    assert value in talk.say("__")
    assert talk.turns[0]["content"] == question
    assert value not in Conversation(speaker, decoding=SHORT).say("__")


def test_old_turns_go_when_the_context_is_full(speaker: HookedModel) -> None:
    question, value = asked()
    talk = Conversation(speaker, decoding=Decoding(max_tokens=450))
    for _ in range(5):
        assert value in talk.say(question)
    assert 0 < len(talk.turns) < 10
    assert talk.turns[0]["role"] == "user"


def test_what_cannot_talk_is_refused(
    speaker: HookedModel, tiny: Callable[..., HookedModel]
) -> None:
    with pytest.raises(ValueError, match="only reads or asks otherwise"):
        Conversation(speaker, Change("lens", read_out=LensReadOut(Point(0))))
    with pytest.raises(ValueError, match="nothing to answer"):
        Conversation(speaker).say("  ")
    talk = Conversation(speaker, decoding=SHORT)
    with pytest.raises(ValueError, match="there is room for"):
        talk.say("Who is it? " * 400)
    assert talk.turns == []
    plain = Conversation(tiny("gpt2"), decoding=Decoding(max_tokens=2))
    assert not plain.remembers
    plain.say("the")
    assert plain.turns == []
    with pytest.raises(ValueError, match="no system turn"):
        Conversation(tiny("gpt2"), system="Be brief.")
