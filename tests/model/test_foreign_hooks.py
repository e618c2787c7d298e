"""Somebody's own hooks, which may look at places: the numbers are those of forwards by hand."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from mechunlearn.bench import perplexity, score
from mechunlearn.bench.generation import Decoding, generate, sample
from mechunlearn.bench.later import score_each
from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.bench.rows import branching_rows
from mechunlearn.bench.states import states_at
from mechunlearn.hooks import capture, foreign_hooks, metered, move_along
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.types import Change, Hook, HookedModel, Point, PromptFormat, Rows, Task

Way = Callable[[HookedModel], Any]
PLACE = Point(1).name
LETTERED = PromptFormat(letter="the " * 30 + "{stem}{choices}", choice=" {letter} {text}")
CLOZE = PromptFormat(cloze="the " * 20 + "{statement}")


def last_turned(activation: Tensor, hook: object = None) -> Tensor:
    """Turns the last three tokens of the first row round, as a hook for one prompt does."""
    moved = activation.clone()
    moved[0, -3:] = moved[0, -3:].flip(-1)
    return moved


def last_turned_in_rows(activation: Tensor, hook: object, rows: Rows) -> Tensor:
    """The same for every row, as a sequence hook."""
    last = rows.real & (rows.positions >= rows.real.sum(1, keepdim=True) - 3)
    return torch.where(last[..., None], activation.flip(-1), activation)


TURNED = Hook(PLACE, last_turned_in_rows, scope="sequence")
UNIT = torch.nn.functional.normalize(torch.arange(-9.0, 23.0), dim=0)
OWN = Change("own", (Hook(PLACE, partial(move_along, unit=UNIT)),))


@contextmanager
def registered(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def added(model: HookedModel, hook: Callable[..., Any]) -> Iterator[None]:
    model.add_hook(PLACE, hook, is_permanent=True)
    try:
        yield
    finally:
        model.reset_hooks(including_permanent=True)


def point(model: HookedModel) -> Any:
    return model.hook_dict[PLACE]


def of_block(module: object, args: object, out: Any) -> Any:
    return (last_turned(out[0]), *out[1:]) if isinstance(out, tuple) else last_turned(out)


class Turn(torch.nn.Module):
    """The same as a module, whose ``__call__`` is written in PyTorch."""

    def forward(self, module: object, args: object, out: Any) -> Any:
        return of_block(module, args, out)


def plain(model: HookedModel) -> Any:
    """The block's own module, which TransformerLens wraps."""
    return model.blocks[1].original_component


WAYS: dict[str, Way] = {
    "hooks": lambda m: m.hooks(fwd_hooks=[(PLACE, last_turned)]),
    "partial": lambda m: m.hooks(fwd_hooks=[(PLACE, partial(last_turned))]),
    "permanent": lambda m: added(m, last_turned),
    "sequence hook without its change": lambda m: added(m, TURNED.bound(m)),
    "torch": lambda m: registered(point(m).register_forward_hook(of_block)),
    "torch, in front": lambda m: registered(
        point(m).register_forward_pre_hook(lambda module, args: (last_turned(args[0]),))
    ),
    "torch, block": lambda m: registered(plain(m).register_forward_hook(of_block)),
    "torch, a module's call": lambda m: registered(plain(m).register_forward_hook(Turn().__call__)),
    "torch, all modules": lambda m: registered(
        register_module_forward_hook(
            lambda module, args, out: of_block(module, args, out) if module is plain(m) else None
        )
    ),
}


def by_hand(model: HookedModel, task: Task, endings: bool) -> np.ndarray:
    rows = []
    for q in task.forget[:12]:
        if not endings:
            prompt = model.tokenizer(LETTERED.letter_prompt(q))["input_ids"]
            ids = [model.tokenizer.get_vocab()[x] for x in "ABCD"]
            rows.append(model(torch.tensor([prompt]))[0, -1, ids].tolist())
            continue
        stem, texts = CLOZE.cloze_prompt(q)
        start, own = len(model.tokenizer(stem)["input_ids"]), []
        for text in texts:
            ids = torch.tensor([model.tokenizer(stem + text)["input_ids"]])
            logs = model(ids).log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
            own.append(float(logs[start - 1 :].mean()))
        rows.append(own)
    return np.array(rows)


@pytest.mark.ci
@pytest.mark.parametrize("way", ["hooks", "torch"])
@pytest.mark.parametrize("scoring", ["letter", "cloze"])
def test_scores_are_those_by_hand(
    any_tiny: HookedModel, task: Task, scoring: Any, way: str
) -> None:
    """Under a prefix that own changes share, with packed endings."""
    compare(any_tiny, task, scoring, WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_whatever_way_a_hook_came(tiny: Callable[[str], HookedModel], task: Task, way: str) -> None:
    compare(tiny("llama"), task, "cloze", WAYS[way])


@torch.no_grad()
def compare(model: HookedModel, task: Task, scoring: Any, way: Way) -> None:
    form = CLOZE if scoring == "cloze" else LETTERED
    before = score(model, task.forget[:12], form, scoring=scoring).logits
    with way(model):
        assert foreign_hooks(model)
        found = score(model, task.forget[:12], form, scoring=scoring).logits
        expected = by_hand(model, task, endings=scoring == "cloze")
    assert not foreign_hooks(model)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found - before).max() > 1e-3
    assert np.array_equal(score(model, task.forget[:12], form, scoring=scoring).logits, before)


def test_beside_a_change(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model, both = tiny("llama"), OWN + Change("turned", (TURNED,))
    expected = score(model, task.forget[:12], CLOZE, scoring="cloze", change=both)
    with ExitStack() as stack:
        stack.enter_context(OWN.on(model))
        stack.enter_context(WAYS["hooks"](model))
        found = score(model, task.forget[:12], CLOZE, scoring="cloze")
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_texts_and_likelihoods_are_those_by_hand(any_tiny: HookedModel) -> None:
    model = any_tiny
    texts = ["the song of the bird is", "the bird", "the song is a wail of"]
    rows = branching_rows(model.tokenizer, texts, [[" wail", " moss moss"]] * 3)
    free = generate(model, texts, 5)
    with WAYS["hooks"](model):
        ends = (model.tokenizer.eos_token_id, model.tokenizer.pad_token_id)
        said, losses, sums, states = [], [], [], []
        for text in texts:
            ids = model.tokenizer(text)["input_ids"]
            said.append(model.tokenizer.decode(greedy(model, ids, 5, ends)))
            tokens = torch.tensor([ids])
            logs = model(tokens).log_softmax(-1)[0, :-1]
            losses.append(-logs.gather(1, tokens[0, 1:, None]))
            with capture(model, [Point(1)]) as kept:
                model(tokens)
            states.append(kept[Point(1)][0, -1])
            own = [model.tokenizer(text + more)["input_ids"] for more in (" wail", " moss moss")]
            each = [model(torch.tensor([o])).log_softmax(-1)[0] for o in own]
            sums.append(
                [
                    float(sum(log[i - 1, o[i]] for i in range(len(ids), len(o))))
                    for log, o in zip(each, own, strict=True)
                ]
            )
        assert generate(model, texts, 5) == said
        found = log_likelihoods(model, rows)
        value = perplexity(model, texts).nats_per_token
        tokens_of = [model.tokenizer(text)["input_ids"] for text in texts]
        last = states_at(model, tokens_of, [[len(t) - 1] for t in tokens_of], [Point(1)])
        draws = Decoding(max_tokens=5, samples=2, temperature=1.0)
        drawn = [sample(model, [text], draws)[0] for text in texts]
        assert sample(model, texts, draws) == drawn
    assert free != said
    assert torch.allclose(found, torch.tensor(sums, dtype=found.dtype), atol=1e-4)
    assert value == pytest.approx(float(torch.cat(losses).mean()), abs=1e-4)
    assert torch.allclose(last[Point(1)], torch.stack(states), atol=1e-4)


def greedy(model: HookedModel, row: list[int], steps: int, ends: tuple[int, ...]) -> list[int]:
    """The likeliest tokens, by whole forwards of one text."""
    new: list[int] = []
    while len(new) < steps:
        token = int(model(torch.tensor([row + new]))[0, -1].argmax())
        if token in ends:
            break
        new.append(token)
    return new


def test_many_changes_are_computed_whole(tiny: Callable[[str], HookedModel], task: Task) -> None:
    """A hook that only looks sees what it sees without the shortcut."""
    model, asked = tiny("gpt2"), task.forget[:6]
    last = Change("last", (Hook(Point(2).name, partial(move_along, unit=UNIT)),))
    seen: list[float] = []
    watch = model.hooks(fwd_hooks=[(Point(0).name, lambda x, hook: seen.append(float(x.sum())))])
    with watch:
        expected = [score(model, asked, task, change=c).logits for c in (last, OWN, last)]
        alone = list(seen)
        seen.clear()
        found = [s.logits for s in score_each(model, [last, OWN, last], asked, task)]
    assert seen == alone
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_own_hooks_keep_the_shortcuts(any_tiny: HookedModel, task: Task) -> None:
    """Changes, permanent ones and what is kept, cost what the plain model costs."""

    def cost() -> float:
        with metered() as meter:
            score(any_tiny, task.forget[:12], CLOZE, scoring="cloze")
        return meter.flops

    plain = cost()
    with OWN.on(any_tiny):
        assert not foreign_hooks(any_tiny)
        assert cost() == plain
    with added(any_tiny, OWN.hooks[0].bound(any_tiny)):
        assert cost() == plain
    with metered() as meter:
        score(any_tiny, task.forget[:12], CLOZE, scoring="cloze", change=OWN)
    assert meter.flops == plain
    with capture(any_tiny, [Point(0)]):
        assert cost() == plain
    with Change("turned", (TURNED,)).on(any_tiny):
        assert not foreign_hooks(any_tiny)
    with WAYS["hooks"](any_tiny):
        assert cost() > plain


def test_an_adapter_is_no_hook_of_somebody(tiny: Callable[[str], HookedModel]) -> None:
    adapter = Adapter(tiny("llama"), LoRA(rank=2))
    assert not foreign_hooks(tiny("llama"))
    adapter.remove(merge=False)
