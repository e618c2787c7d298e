"""RMU: its loss is the formula, it moves the forget set alone, and its controls do nothing."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from mechunlearn.models import block_fingerprints, load
from mechunlearn.presets import configured, preset_for
from mechunlearn.types import HookedModel, Point, Task
from mechunlearn.unlearn.rmu import RMU, RMUConfig, _forget_order, rmu_
from mechunlearn.unlearn.sequences import corpus

SHORT = dataclasses.replace(
    RMU.presets["organism"],
    optimizer=dataclasses.replace(RMU.presets["organism"].optimizer, steps=2),
)


def test_the_loss_is_the_formula(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model = tiny("llama")
    texts = dataclasses.replace(
        task, forget_text=task.forget_text[:1], retain_text=task.retain_text[-1:]
    )
    config = RMUConfig(layer=1, blocks=(1,), coefficient=3.0, alpha=7.0, batch=1, seed=5)
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, steps=2, lr=1e-2)
    )

    def at(text: str) -> torch.Tensor:
        tokens = torch.tensor([model.tokenizer(text)["input_ids"]])
        return model.run_with_cache(tokens)[1][Point(1).name][0]

    before_forget, before_retain = at(texts.forget_text[0]), at(texts.retain_text[0])
    log = rmu_(model, texts, config)
    generator = torch.Generator().manual_seed(5)
    torch.randperm(1, generator=generator), torch.randperm(1, generator=generator)
    for _ in range(2):  # One-text passes for the second step of each corpus.
        torch.randperm(1, generator=generator)
    unit = torch.rand(32, generator=generator)
    target = 3.0 * unit / unit.norm()
    expected = (before_forget - target).pow(2).mean().item()
    assert log.terms["forget"][0] == pytest.approx(expected, rel=1e-4)
    assert log.terms["retain"][0] == pytest.approx(0.0, abs=1e-9)
    assert log.terms["retain"][1] > 0
    assert (at(texts.retain_text[0]) - before_retain).abs().max() > 0


@pytest.mark.ci
def test_only_the_chosen_blocks_change(organism: HookedModel, task: Task) -> None:
    before = block_fingerprints(organism)
    rmu_(organism, task, dataclasses.replace(SHORT, blocks=(1,)))
    same = [a == b for a, b in zip(before, block_fingerprints(organism), strict=True)]
    assert same == [True, False, True, True]
    assert not any(p.requires_grad for p in organism.parameters())


@pytest.mark.ci
def test_same_seed_same_weights(task: Task) -> None:
    prints = []
    for seed in (1, 1, 2):
        model = load("organism:original")
        rmu_(model, task, dataclasses.replace(SHORT, seed=seed))
        prints.append(block_fingerprints(model))
    assert prints[0] == prints[1] != prints[2]


def test_adaptive_lengths_are_each_tokens_own(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    model = tiny("llama")
    one = dataclasses.replace(task, forget_text=task.forget_text[:1], retain_text=("the",))
    config = dataclasses.replace(
        SHORT, layer=1, blocks=(1,), batch=1, length="token_norm", coefficient=5.0, seed=5
    )
    tokens = torch.tensor([model.tokenizer(one.forget_text[0])["input_ids"]])
    before = model.run_with_cache(tokens)[1][Point(1).name][0]
    log = rmu_(model, one, config)
    generator = torch.Generator().manual_seed(5)
    for _ in range(4):
        torch.randperm(1, generator=generator)
    unit = torch.rand(32, generator=generator)
    target = 5.0 * before.norm(dim=-1, keepdim=True) * unit / unit.norm()
    assert log.terms["forget"][0] == pytest.approx((before - target).pow(2).mean().item(), rel=1e-4)


def test_topics_alternate_and_have_vectors_of_their_own(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    texts = ("the glow of amber", "the glow of coral", "the craft of bells")
    topics = {texts[0]: "glow", texts[1]: "glow", texts[2]: "craft"}
    two = dataclasses.replace(task, forget_text=texts, forget_topics=topics)
    config = dataclasses.replace(
        SHORT, batch=1, per_topic=True, optimizer=dataclasses.replace(SHORT.optimizer, steps=6)
    )
    order = _forget_order(two, config, torch.Generator().manual_seed(0))
    assert [topic for topic, _ in order] == ["glow", "craft"] * 3
    assert all(topics[texts[i]] == topic for topic, picked in order for i in picked)
    together = _forget_order(
        two, dataclasses.replace(config, per_topic=False), torch.Generator().manual_seed(0)
    )
    assert {topic for topic, _ in together} == {""}
    logs = [
        rmu_(tiny("gpt2"), two, dataclasses.replace(config, per_topic=on)).terms["forget"]
        for on in (True, False)
    ]
    assert logs[0] != logs[1]


def test_topics_that_a_task_does_not_say_are_refused(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    """Rather than one vector for all texts, silently."""
    config = dataclasses.replace(SHORT, per_topic=True)
    n = len(task.forget_text)
    for topics, count in (({}, n), ({task.forget_text[0]: "glow"}, n - 1)):
        untold = dataclasses.replace(task, forget_topics=topics)
        with pytest.raises(ValueError, match=f"has none for {count} of {n}; set per_topic=False"):
            rmu_(tiny("gpt2"), untold, config)


@pytest.mark.ci
def test_plain_text_is_held_in_place_where_asked(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    config = dataclasses.replace(SHORT, retain_corpus="plain")
    few = dataclasses.replace(task, forget_text=task.forget_text[:4], plain_text=("the glow",))
    logs = [rmu_(tiny("gpt2"), few, c).terms["retain"][1] for c in (config, SHORT)]
    assert logs[0] != logs[1]
    without = dataclasses.replace(few, plain_text=(), retain_text=())
    questions = rmu_(tiny("gpt2"), without, config).terms["retain"][1]
    assert questions == rmu_(tiny("gpt2"), without, SHORT).terms["retain"][1] != logs[0]


def test_refusals(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model = tiny("gpt2")
    with pytest.raises(ValueError, match=r"layers \[7, 5, 6, 7\] do not exist"):
        rmu_(model, task, RMU.presets["paper"])
    with pytest.raises(ValueError, match="reach past layer 0"):
        rmu_(model, task, RMUConfig(layer=0, blocks=(1,)))
    with pytest.raises(ValueError, match="blocks is empty"):
        rmu_(model, task, RMUConfig(layer=0, blocks=()))


def test_settings_from_text(tiny: Callable[[str], HookedModel]) -> None:
    assert preset_for(RMU, tiny("gpt2")) == "organism"
    config = configured(RMU, "organism", ["alpha=5", "optimizer.steps=7", "blocks=(0,)"])
    assert (config.alpha, config.optimizer.steps, config.blocks) == (5.0, 7, (0,))
    with pytest.raises(ValueError, match="did you mean 'alpha'"):
        configured(RMU, "organism", ["alhpa=1"])
    with pytest.raises(ValueError, match="not of the same type"):
        configured(RMU, "organism", ["layer=first"])
    with pytest.raises(ValueError, match="key=value"):
        configured(RMU, "organism", ["layer"])
    with pytest.raises(ValueError, match="unknown preset"):
        configured(RMU, "huge")


def test_without_texts_the_answered_questions_stand_in(task: Task) -> None:
    bare = dataclasses.replace(task, forget_text=(), retain_text=(), plain_text=())
    asked, kept = corpus(bare, "forget"), corpus(bare, "plain")
    example = bare.examples("forget")[0]
    assert asked[0] == example.prompt + example.answer
    assert len(asked) == len(bare.examples("forget"))
    assert kept == corpus(bare, "retain") != asked
    assert corpus(task, "forget") == task.forget_text
