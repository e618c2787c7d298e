"""The logit lens: what an independent reading gives, and ties that are no answer."""

from collections.abc import Callable

import numpy as np
import torch
from transformer_lens.tools.analysis.logit_lens import logit_lens as peer_lens

from mechunlearn.attacks import Confirm, NoSettings, Seen
from mechunlearn.attacks.logit_lens import (
    LogitLens,
    answer_ranks,
    lens_points,
    logit_lens,
    token_lens,
)
from mechunlearn.bench import score
from mechunlearn.hooks import softcapped
from mechunlearn.types import HookedModel, Point, Score, Task


def test_the_last_layer_is_the_answer(any_tiny: HookedModel, task: Task) -> None:
    questions = task.forget[:20]
    last = logit_lens(any_tiny, questions, task)[Point(2)]
    assert np.abs(last.logits - score(any_tiny, questions, task.prompt).logits).max() < 1e-5
    parallel = any_tiny.original_model.config.model_type == "gpt_neox"
    assert len(lens_points(any_tiny)) == (9 if parallel else 12)


def test_without_the_norm_other_numbers_are_read(any_tiny: HookedModel, task: Task) -> None:
    questions = task.forget[:5]
    raw = logit_lens(any_tiny, questions, task, norm=False)
    tokens = torch.tensor([any_tiny.tokenizer(task.prompt.letter_prompt(questions[0])).input_ids])
    _, cache = any_tiny.run_with_cache(tokens)
    ids = [any_tiny.tokenizer.get_vocab()[x] for x in "ABCD"]
    for point in lens_points(any_tiny):
        expected = softcapped(any_tiny, any_tiny.unembed(cache[point.name])[0, -1, ids])
        assert np.abs(raw[point].logits[0] - expected.detach().numpy()).max() < 1e-4


def test_ranks_count_better_tokens(any_tiny: HookedModel, task: Task) -> None:
    questions = task.forget[:6]
    ranks = answer_ranks(any_tiny, questions, task)
    for i, question in enumerate(questions):
        prompt = task.prompt.letter_prompt(question)
        logits = any_tiny(torch.tensor([any_tiny.tokenizer(prompt).input_ids]))[0, -1]
        right = logits[any_tiny.tokenizer.get_vocab()["ABCD"[question.answer]]]
        assert ranks[Point(2)][i] == int((logits > right + 1e-6).sum())


def test_the_last_token_of_a_prompt_has_the_same_ranks(any_tiny: HookedModel, task: Task) -> None:
    question = task.forget[0]
    ranks = answer_ranks(any_tiny, [question], task)
    view = token_lens(any_tiny, task.example(question))
    assert view.ranks[:, -1].tolist() == [ranks[Point(layer)][0] for layer in range(3)]
    logits = any_tiny(torch.tensor([any_tiny.tokenizer(task.example(question).prompt).input_ids]))
    right = any_tiny.tokenizer.get_vocab()["ABCD"[question.answer]]
    expected = logits[0].softmax(-1)[:, right].detach().numpy()
    assert np.abs(view.probabilities[-1] - expected).max() < 1e-5
    assert len(view.tokens) == view.ranks.shape[1]
    assert view.n_vocabulary == logits.shape[-1]


def test_agrees_with_transformer_lens(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model, question = tiny("gpt2"), task.forget[0]
    ours = logit_lens(model, [question], task)
    tokens = torch.tensor([model.tokenizer(task.prompt.letter_prompt(question)).input_ids])
    ids = [model.tokenizer.get_vocab()[x] for x in "ABCD"]
    theirs = peer_lens(model, tokens, vocab=ids).values.reshape(4, 4)  # Embedding, three blocks.
    for layer in range(3):
        difference = ours[Point(layer)].logits[0] - theirs[layer + 1].detach().numpy()
        assert np.abs(difference).max() < 1e-4


def test_the_attack_reads_every_place_and_has_no_sham(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    model, attack = tiny("gpt2"), LogitLens()
    search = attack.search(model, Seen.of(task, attack), None, NoSettings())
    (points,) = search.variants()
    assert list(points) == lens_points(model)
    assert search.sham(points[0], 0) is None
    asked = task.questions("forget", "confirm")[:30]
    lens = logit_lens(model, asked, task)
    for point in points[::5]:
        scored = score(model, asked, task, change=search.change(point))
        assert (scored.logits == lens[point].logits).all()
    trace = search.view(points[0])(model, Confirm(asked, (), task.prompt, task.scoring))
    assert [(p.layer, p.stream) for p in trace.places] == [(p.layer, p.stream) for p in points]
    assert [p.value for p in trace.places] == [round(lens[p].accuracy, 4) for p in points]


def test_exact_ties_are_no_answer() -> None:
    logits = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = Score("x", logits, np.array([0, 1, 0]))
    assert found.predictions.tolist() == [-1, 1, -1]
    assert found.accuracy == 1 / 3
