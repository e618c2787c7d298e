"""What a model answers without any attack."""

from collections.abc import Sequence

from mechunlearn.audit.also import Asked, further
from mechunlearn.audit.records import Answers, BaselineResult, Guessing
from mechunlearn.bench import majority_letter, no_question, score
from mechunlearn.bench.hidden import with_other_stems
from mechunlearn.environment import machine, versions
from mechunlearn.models import describe
from mechunlearn.types import HookedModel, Question, Task


def baseline(
    model: HookedModel,
    task: Task,
    *,
    guessing: bool,
    twins: Sequence[Question] = (),
    seed: int = 0,
) -> BaselineResult:
    """Answers to every question set, without any attack.

    Args:
        guessing: Whether to measure also what is right without knowing.
        twins: Questions that nobody can know, to be asked too.
        seed: Of samples.
    """
    sets: dict[str, Sequence[Question]] = {
        "forget": task.questions("forget", "confirm"),
        "retain": task.questions("retain", "confirm"),
        "forget_select": task.questions("forget", "select"),
        "retain_select": task.questions("retain", "select"),
        **task.extra,
        **({"twins": twins} if twins else {}),
    }
    disguised, card = with_other_stems(sets["forget"]), describe(model)
    also: Asked = {
        "forget": sets["forget"],
        "hidden": disguised,
        "select": sets["forget_select"],
        "twins": twins,
    }
    return BaselineResult(
        sets={name: Answers.of(score(model, asked, task)) for name, asked in sets.items()},
        model=card,
        versions=versions(),
        machine=machine(card.device),
        guessing=_guessing(model, sets["forget"], task) if guessing else None,
        hidden=Answers.of(score(model, disguised, task)),
        **further(model, task, also, seed)._asdict(),
    )


def _guessing(model: HookedModel, asked: Sequence[Question], task: Task) -> Guessing:
    hidden = no_question(model, asked, task.prompt, task.scoring)
    return Guessing(
        no_question=round(hidden.accuracy, 4),
        majority_position=round(majority_letter(asked), 4),
        chance=round(task.chance, 4),
    )
