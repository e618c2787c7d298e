"""leak@k of an audit: what drawing an answer again and again tells, of every model and attack.

Each curve stands beside that of the never-knew model under the same attack; without one beside the
same samples held against other questions' gold answers, which says what the form gives away.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from mechunlearn.analysis.answers import questions_of, sources_of
from mechunlearn.analysis.leak import leak_at_k
from mechunlearn.analysis.records import Leak
from mechunlearn.audit.evidence import Evidence
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.registry import find
from mechunlearn.types import Question

Texts = Sequence[Sequence[str]]
LEAKS = 0.5
"""A sample leaks that is worth so much, or more."""


def leaks(evidence: Evidence) -> tuple[Leak, ...]:
    """The curves of the original, and of every unlearned model without and under its attacks."""
    if not evidence.setup.task.samples:
        return ()
    return tuple(_leaks(evidence))


def _leaks(evidence: Evidence) -> Iterator[Leak]:
    setup = evidence.setup
    yield _leak(evidence, setup.original.label, "", _drawn(evidence, setup.original.label), ())
    for entry in setup.unlearned:
        control = entry.control
        other = () if control is None else _drawn(evidence, control)
        yield _leak(evidence, entry.label, "", _drawn(evidence, entry.label), other)
        for attack in evidence.complete_on(entry.label):
            texts = evidence.attack(entry.label, attack).samples or ()
            twin = evidence.control(entry.label, attack)
            if texts:
                other = () if twin is None else twin.samples or ()
                yield _leak(evidence, entry.label, attack, texts, other)


def _drawn(evidence: Evidence, label: str) -> Texts:
    return evidence.baseline(label).samples or ()


def _leak(evidence: Evidence, model: str, attack: str, texts: Texts, other: Texts) -> Leak:
    """A curve beside another model's, or beside its own texts in other questions' places."""
    asked = questions_of(evidence.setup.task, "forget")
    own = _judged(evidence, texts, asked)
    if not other:
        at = {q.stem: i for i, q in enumerate(asked)}
        hidden = with_other_stems(asked)
        control = _judged(evidence, [texts[at[q.stem]] for q in hidden], hidden)
    else:
        control = _judged(evidence, other, asked)
    curve = leak_at_k(
        own, control, threshold=LEAKS, sources=sources_of(asked), seed=evidence.setup.plan.seed
    )
    counts = (own >= LEAKS).sum(axis=1)
    return Leak(
        model=model,
        attack=attack,
        against="never knew" if other else "other answers",
        curve=curve,
        leaking=tuple(map(int, counts)),
        said=tuple(text[int(x.argmax())] for text, x in zip(texts, own, strict=True)),
    )


def _judged(
    evidence: Evidence, texts: Texts, asked: Sequence[Question]
) -> Float[np.ndarray, "question sample"]:
    measure = find("measure", evidence.setup.task.scoring)
    pairs = zip(texts, asked, strict=True)
    return np.array([measure.judged(own, [question] * len(own)) for own, question in pairs])
