"""Soft prompts: they teach, touch nothing but their placeholders, and leave the model alone."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from mechunlearn.attacks import Seen
from mechunlearn.attacks.gcg.examples import problem_of, shuffled
from mechunlearn.attacks.gcg.forward import Forwards
from mechunlearn.attacks.gcg.objective import Objective, Reference
from mechunlearn.attacks.soft_prompt import (
    SoftPrompt,
    SoftPromptConfig,
    Training,
    placeholders,
    train_soft_prompt,
)
from mechunlearn.bench import score
from mechunlearn.bench.rows import encode
from mechunlearn.hooks import replaced_embeddings
from mechunlearn.models import fingerprint
from mechunlearn.types import Change, HookedModel, Task

FEW = SoftPromptConfig(length=2, steps=8, batch=8, questions=8, retain_share=0.0)


@pytest.mark.ci
def test_vectors_lower_the_loss_of_wrong_answers(organism: HookedModel, task: Task) -> None:
    seen = Seen.of(task, SoftPrompt(), tokenizer=organism.tokenizer)
    problem, _ = shuffled(problem_of(organism, seen, FEW.problem), Reference(), 8, 0)
    ids = placeholders(organism, problem, seen.used_tokens, 2)
    before = fingerprint(organism)
    kept = train_soft_prompt(organism, problem, ids, FEW)
    assert list(kept) == [2, 4, 8]
    assert fingerprint(organism) == before
    forwards = Forwards(organism, problem, Objective())
    start = float(forwards.losses((), [tuple(ids)], range(8)).mean())
    with organism.hooks(fwd_hooks=[replaced_embeddings(organism, ids, kept[8])]):
        assert float(forwards.losses((), [tuple(ids)], range(8)).mean()) < start - 0.2


@pytest.mark.ci
def test_candidate_changes_only_prompts_with_placeholders(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    model, few = tiny("gpt2"), dataclasses.replace(FEW, steps=4, questions=4)
    seen = Seen.of(task, SoftPrompt(), tokenizer=model.tokenizer)
    search = SoftPrompt().search(model, seen, None, few)
    assert list(search.variants()) == [[Training(1), Training(2), Training(4)]]
    change = search.change(Training(4))
    assert change.rewrite is not None
    prompt = task.prompt.letter_prompt(task.forget[0])
    used = {t for q in task.forget for t in encode(model.tokenizer, task.prompt.letter_prompt(q))}
    assert not used & set(search.ids)
    ids = encode(model.tokenizer, change.rewrite(prompt))
    assert [t for t in ids if t in search.ids] == search.ids
    some = task.forget[:8]
    plain = score(model, some, task.prompt)
    hooked = score(model, some, task.prompt, change=Change("hooks", hooks=change.hooks))
    assert np.array_equal(plain.logits, hooked.logits)
    words = score(model, some, task.prompt, change=Change("words", rewrite=change.rewrite))
    vectors = score(model, some, task.prompt, change=change)
    assert not np.array_equal(words.logits, vectors.logits)
    sham = score(model, some, task.prompt, change=search.sham(Training(4), 0))
    assert not np.array_equal(sham.logits, vectors.logits)
    with pytest.raises(ValueError, match="looks at tested, but does not declare"):
        _ = seen.tested


@pytest.mark.ci
def test_vectors_stand_in_models_with_other_embeddings_too(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    """The original's placeholders have other embeddings where all weights were trained."""
    model, other = tiny("gpt2"), tiny("gpt2", 1)
    few = dataclasses.replace(FEW, steps=4, questions=4)
    seen = Seen.of(task, SoftPrompt(), tokenizer=model.tokenizer)
    change = SoftPrompt().search(model, seen, None, few).change(Training(4))
    some = task.forget[:8]
    bare = Change("words", rewrite=change.rewrite)
    for one in (model, other):
        with_words, with_vectors = (score(one, some, task.prompt, change=c) for c in (bare, change))
        assert (with_words.logits != with_vectors.logits).all()


def test_bad_input(organism: HookedModel, task: Task) -> None:
    with pytest.raises(ValueError, match="length, steps, batch"):
        SoftPromptConfig(steps=0)
    many = dataclasses.replace(FEW, length=160)
    seen = Seen.of(task, SoftPrompt(), tokenizer=organism.tokenizer)
    with pytest.raises(ValueError, match=r"unused tokens; there are \d+"):
        SoftPrompt().search(organism, seen, None, many)
