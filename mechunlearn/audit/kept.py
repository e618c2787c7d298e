"""What a search found and tried, as records to keep."""

from collections.abc import Sequence
from typing import Any

from mechunlearn.audit.records import Answers, BriefAnswers, Stage, Tried
from mechunlearn.audit.select import Measured
from mechunlearn.records import Plain, plain


def by_kind(traces: Sequence[Any]) -> dict[str, Plain]:
    """Traces as plain data."""
    return {trace.kind: plain(trace) for trace in traces}


def tried(attempt: Any) -> Tried:
    """A variant that was tried, and what it answered."""
    retain = attempt.retain
    return Tried(
        variant=plain(attempt.variant),
        forget=round(attempt.forget.accuracy, 4),
        retain=None if retain is None else round(retain.accuracy, 4),
        answers=BriefAnswers.of(Answers.of(attempt.forget)),
    )


def stages(measured: Measured) -> tuple[Stage, ...]:
    """What an attack that goes in steps answered on the way."""
    return tuple(
        Stage(
            variant=plain(m.variant),
            run=m.progress.run,
            steps=m.progress.steps,
            samples=m.progress.samples,
            tokens=m.progress.tokens,
            flops=m.progress.flops,
            retain=m.retain.accuracy,
            confirm=Answers.of(m.reported.confirm),
        )
        for m in measured.stages
    )
