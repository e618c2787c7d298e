"""The questions that GCG optimises for, and the placebo: the same with each other's answers."""

import dataclasses
import random
from collections.abc import Sequence

from mechunlearn.attacks.gcg.objective import Reference
from mechunlearn.attacks.gcg.problem import Problem, Slot, answer_targets, pose
from mechunlearn.attacks.gcg.settings import GCGConfig
from mechunlearn.attacks.seen import Seen
from mechunlearn.bench.rows import single_tokens
from mechunlearn.registry import find
from mechunlearn.types import Example, HookedModel, Question


def examples_of(seen: Seen, config: GCGConfig) -> list[Example]:
    """Forget questions with their answers, then retain questions with theirs."""
    rng = random.Random(config.seed)
    forget = _drawn(seen.asked, config.questions, rng)
    count = round(len(forget) * config.retain_share / (1 - config.retain_share))
    return [seen.example(q) for q in (*forget, *_drawn(seen.retain, count, rng))]


def problem_of(
    model: HookedModel,
    seen: Seen,
    config: GCGConfig,
    examples: Sequence[Example] | None = None,
    targets: Sequence[Sequence[int]] = (),
) -> Problem:
    """The problem of making the model answer the examples as they are answered.

    Args:
        examples: Default: ``examples_of(seen, config)``.
        targets: Tokens that should follow each; default: its answer's.

    Raises:
        ValueError: If there are no examples, or a letter is not one token.
    """
    examples = examples_of(seen, config) if examples is None else examples
    if not examples:
        raise ValueError("GCG needs at least one question to optimise for")
    prompts = [e.prompt for e in examples]
    targets = targets or answer_targets(model.tokenizer, prompts, [e.answer for e in examples])
    if config.target == "original":
        targets = [t[: (config.forced or 1) + config.matched] for t in targets]
    choices: list[int] = []
    if find("measure", seen.scoring).one_token:
        most = max(seen.forget, key=lambda q: len(q.choices))
        letters = seen.prompt.answers(most, seen.scoring)
        choices = single_tokens(model.tokenizer, prompts[0], letters)
    slot = Slot.of(seen.prompt, seen.scoring, config.place)
    return pose(model.tokenizer, slot, prompts, targets, forced=config.forced, choices=choices)


def shuffled(
    problem: Problem, reference: Reference, n: int, seed: int
) -> tuple[Problem, Reference]:
    """The placebo: the first ``n`` questions get each other's targets and reference states."""
    order = list(range(min(n, len(problem.items))))
    random.Random(seed).shuffle(order)
    order += range(len(order), len(problem.items))
    items = tuple(
        dataclasses.replace(item, target=problem.items[j].target, forced=problem.items[j].forced)
        for item, j in zip(problem.items, order, strict=True)
    )
    static = tuple(reference.static[j] for j in order) if reference.static else ()
    return dataclasses.replace(problem, items=items), dataclasses.replace(reference, static=static)


def _drawn(items: Sequence[Question], n: int, rng: random.Random) -> list[Question]:
    """At most ``n`` items at random; even spacing could pick one answer letter only."""
    return rng.sample(items, n) if len(items) > n else list(items)
