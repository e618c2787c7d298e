"""A share of the training examples can be asked in the model's chat template."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from mechunlearn.tasks.chat import user_turn
from mechunlearn.train import Optimizer
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.dpo import DPO, DPOConfig
from mechunlearn.unlearn.npo import NPO, NPOConfig
from mechunlearn.unlearn.sequences import partly_in_chat, prepared

TEMPLATE = "{% for m in messages %}<{{ m.content }}>{% endfor %} says :"
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
    assert partly_in_chat(talking, PLAIN, 0.0, seed=0) == PLAIN
    whole = partly_in_chat(talking, [*PLAIN, inside], 1.0, seed=0)
    assert whole[-1] == inside
    assert all(e.prompt == turn.around(p.prompt) for e, p in zip(whole, PLAIN, strict=False))
    half = partly_in_chat(talking, PLAIN, 0.5, seed=0)
    assert 70 < sum(e in PLAIN for e in half) < 130
    assert (
        half
        == partly_in_chat(talking, PLAIN, 0.5, seed=0)
        != partly_in_chat(talking, PLAIN, 0.5, seed=1)
    )
    talking.tokenizer.chat_template = None
    assert partly_in_chat(talking, PLAIN, 1.0, seed=0) == PLAIN


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
