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
from mechunlearn.tasks.exchange import deranged, listed
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
        targets = [t[: config.carried + config.matched] for t in targets]
    choices: list[int] = []
    if find("measure", seen.scoring).one_token:
        posed = (*seen.forget, *(seen.retain if config.retain_share else ()))
        most = max(posed, key=lambda q: len(q.choices))
        letters = seen.prompt.answers(most, seen.scoring)
        choices = single_tokens(model.tokenizer, prompts[0], letters)
    slot = Slot.of(seen.prompt, seen.scoring, config.place)
    return pose(model.tokenizer, slot, prompts, targets, forced=config.carried, choices=choices)


def shuffled(
    problem: Problem, reference: Reference, n: int, seed: int
) -> tuple[Problem, Reference]:
    """The placebo: the first ``n`` questions get each other's targets and reference states.

    Nobody gets what equals his own; letters, which are exchanged among questions with as many
    choices, are right as often as by guessing at most.

    Raises:
        ValueError: If all targets are alike.
    """
    order = list(range(len(problem.items)))
    rng, first = random.Random(seed), order[:n]
    lists = [len(listed(p)) if problem.choices else 0 for p in problem.prompts]
    forced = [item.target[: item.forced] for item in problem.items]
    for size in sorted({lists[i] for i in first}):
        group = [i for i in first if lists[i] == size]
        drawn = deranged([forced[i] for i in group], rng, len(group) // size if size else 0)
        for i, k in zip(group, drawn, strict=True):
            known = problem.choices[:size]
            others = [j for j in first if not size or forced[j][0] in known]
            order[i] = _unlike(i, others, forced, rng) if k is None else group[k]
    items = tuple(
        dataclasses.replace(item, target=problem.items[j].target, forced=problem.items[j].forced)
        for item, j in zip(problem.items, order, strict=True)
    )
    static = tuple(reference.static[j] for j in order) if reference.static else ()
    return dataclasses.replace(problem, items=items), dataclasses.replace(reference, static=static)


def _unlike(
    i: int, others: Sequence[int], forced: Sequence[tuple[int, ...]], rng: random.Random
) -> int:
    """One of the others with another target."""
    unlike = [j for j in others if forced[j] != forced[i]]
    if not unlike:
        raise ValueError(
            f"shuffled answers: of {len(others)} question(s) all have the same target, so that "
            "there is none to exchange; give the task more forget questions"
        )
    return rng.choice(unlike)


def _drawn(items: Sequence[Question], n: int, rng: random.Random) -> list[Question]:
    """At most ``n`` items at random; even spacing could pick one answer letter only."""
    return rng.sample(items, n) if len(items) > n else list(items)
