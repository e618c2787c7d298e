"""Soft prompts: they teach, touch nothing but their placeholders, and leave the model alone."""

import dataclasses

import numpy as np
import pytest

from mechunlearn.attacks.gcg.attack import examples_of, posed, shuffled
from mechunlearn.attacks.gcg.forward import Forwards
from mechunlearn.attacks.gcg.objective import Objective, Reference
from mechunlearn.attacks.soft_prompt import (
    SoftPrompt,
    SoftPromptConfig,
    placeholders,
    train_soft_prompt,
)
from mechunlearn.bench import score
from mechunlearn.bench.rows import encode
from mechunlearn.hooks import replaced_embeddings
from mechunlearn.models import fingerprint
from mechunlearn.types import HookedModel, Task

FEW = SoftPromptConfig(length=2, steps=12, batch=8, questions=8, retain_share=0.0)


def test_vectors_lower_the_loss_of_wrong_answers(organism: HookedModel, task: Task) -> None:
    asked = task.questions("forget", "select")
    problem = posed(organism, task, examples_of(task, asked, FEW.problem), FEW.problem)
    problem, _ = shuffled(problem, Reference(), 8, 0)
    ids = placeholders(organism, task, problem, 2)
    before = fingerprint(organism)
    kept = train_soft_prompt(organism, problem, ids, FEW)
    assert list(kept) == [3, 6, 12]
    assert fingerprint(organism) == before
    forwards = Forwards(organism, problem, Objective())
    start = float(forwards.losses((), [tuple(ids)], range(8)).mean())
    with organism.hooks(fwd_hooks=[replaced_embeddings(organism, ids, kept[12])]):
        assert float(forwards.losses((), [tuple(ids)], range(8)).mean()) < start - 0.2


def test_candidate_changes_only_prompts_with_placeholders(
    organism: HookedModel, task: Task
) -> None:
    asked = task.questions("forget", "select")
    known = SoftPrompt.reference(organism, task, asked, FEW)
    found = SoftPrompt.find(organism, task, asked, known, FEW)
    candidate = found.build({"steps": 12})
    prompt = task.prompt.letter_prompt(task.forget[0])
    used = {
        t for q in task.forget for t in encode(organism.tokenizer, task.prompt.letter_prompt(q))
    }
    assert not used & set(found.ids)
    ids = encode(organism.tokenizer, candidate.rewrite(prompt))
    assert [t for t in ids if t in found.ids] == found.ids
    some = task.forget[:20]
    plain = score(organism, some, task.prompt)
    hooked = score(organism, some, task.prompt, change=candidate.change)
    assert np.array_equal(plain.logits, hooked.logits)
    rewritten = dataclasses.replace(task.prompt, rewrite=candidate.rewrite)
    words = score(organism, some, rewritten)
    vectors = score(organism, some, rewritten, change=candidate.change)
    assert not np.array_equal(words.logits, vectors.logits)


def test_bad_input(organism: HookedModel, task: Task) -> None:
    with pytest.raises(ValueError, match="length, steps, batch"):
        SoftPromptConfig(steps=0)
    many = dataclasses.replace(FEW, length=160)
    with pytest.raises(ValueError, match=r"unused tokens; there are \d+"):
        SoftPrompt.find(
            organism,
            task,
            task.questions("forget", "select"),
            examples_of(task, task.questions("forget", "select"), many.problem),
            many,
        )
