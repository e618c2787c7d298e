"""What the methods take on a task: the rule is ``mechunlearn.cost.training``'s."""

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any, TypeVar, get_args

from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.training import Corpora, Lengths, making_cost
from mechunlearn.tasks.refusals import REFUSALS
from mechunlearn.types import Example, Role, Task
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.sequences import corpus

T = TypeVar("T")
LOOKED_AT = 400
"""Rows of a set whose lengths are counted, at even distances."""


def method_cost(config: Settings, job: Job, corpora: Corpora) -> Cost:
    """What making one model takes: question forwards (``search``), and bytes beside the weights.

    Args:
        corpora: Empty where the task is not there; then rows have ``max_tokens`` tokens.
    """
    work = config.work(job.shape)
    return making_cost(work, config.optimizer, config.batch, config.max_tokens, job, corpora)


def corpora_of(task: Task, tokenizer: Any) -> Corpora:
    """The lengths of what the methods train on, and of the questions that are asked."""
    roles: tuple[Role, ...] = get_args(Role)
    refusals = task.refusals or REFUSALS
    further = fmean(_counted(tokenizer, refusals))
    found: dict[tuple[str, Role], Lengths] = {}
    for role in roles:
        examples = _some(task.examples(role))
        count = len(task.examples(role))
        found["examples", role] = _lengths(tokenizer, examples, 0.0, count)
        found["pairs", role] = _lengths(tokenizer, examples, further, count)
        found["texts", role] = _of(tokenizer, corpus(task, role))
        asked = _some(task.questions(role, "select"))
        found["questions", role] = _of(
            tokenizer, [task.prompt.text(q, task.scoring) for q in asked]
        )
    found["plain", "retain"] = _of(tokenizer, corpus(task, "plain"))
    return found


def _some(rows: Sequence[T]) -> Sequence[T]:
    return rows[:: -(-len(rows) // LOOKED_AT)] if rows else rows


def _counted(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    return [len(ids) for ids in tokenizer(list(texts))["input_ids"]]


def _of(tokenizer: Any, texts: Sequence[str]) -> Lengths:
    counted = _counted(tokenizer, _some(texts))
    return _summed(counted, fmean(counted), len(texts))


def _lengths(tokenizer: Any, examples: Sequence[Example], further: float, count: int) -> Lengths:
    """Of examples with their answers, each perhaps with another one of ``further`` tokens."""
    stems = _counted(tokenizer, [e.prompt for e in examples])
    wholes = _counted(tokenizer, [e.prompt + e.answer for e in examples])
    read = fmean(wholes) - fmean(stems) + further
    return _summed([n + round(further) for n in wholes], read, count)


def _summed(counted: Sequence[int], read: float, count: int) -> Lengths:
    return Lengths(fmean(counted), pstdev(counted), max(counted), read, count)
