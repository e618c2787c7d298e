"""The values of an attack's answers to the confirm fold in every arm, letters renamed or not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import UnsetType

from mechunlearn.analysis.answers import choices, deciding, questions_of, values
from mechunlearn.analysis.letters import Choices
from mechunlearn.attacks.grades import TAUGHT, grade
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.records import TIE, Answers, AttackResult
from mechunlearn.bench.renaming import suggested, under
from mechunlearn.registry import find
from mechunlearn.stats import Values
from mechunlearn.types import Question


@dataclass(frozen=True, slots=True)
class Arms:
    """The values of one attack's answers to the confirm fold, in every arm."""

    attacked: Values
    retain: Values
    """On the retain questions, under the attack."""
    sham: Values
    """The sham of median value; of a read-out, shuffled answers."""
    original: Values
    control: Values | None
    """``None`` where there is no model that never knew; of several the mean of each answer."""
    guessing: Values
    """What is right without knowing; see ``guessing_level``."""
    unlearned: Values | None = None
    """Without the attack, where the letters are renamed; ``None``: as in ``Before``."""
    controls: tuple[Values, ...] = ()
    """Of every model that never knew."""
    untreated_controls: tuple[Values, ...] = ()
    """Of these models without the attack, where the letters are renamed."""
    twins: Values | None = None
    """What the attack gains on each question that nobody can know, where there are such."""
    taught: bool = False
    """Whether the attack states forget facts, so that a model may learn them from it."""
    renaming: tuple[int, ...] | None = None
    """The letters under which the answers count."""

    def compared(self, unlearned: Values) -> Values:
        """The attacked control, else the best of sham, guessing and the unlearned model itself."""
        if self.control is not None:
            return self.control
        own = unlearned if self.unlearned is None else self.unlearned
        return max((self.sham, self.guessing, own), key=lambda arm: float(arm.mean()))


@dataclass(frozen=True, slots=True)
class Key:
    """How answers to the confirm fold count: as they were said, or also with letters renamed.

    The attacked model's answers count under the names that the select fold suggests. Everything
    that they have to exceed counts under the names that suit it better.
    """

    names: tuple[int, ...] | None
    asked: Sequence[Question]

    def renamed(self, answers: Answers) -> Values:
        """What answers are worth under the names."""
        if self.names is None:
            return values(answers)
        return Choices.of(answers, self.asked).under(np.array(self.names))

    def highest(self, answers: Answers) -> Values:
        """What they are worth as they were said or renamed, whichever is more."""
        return max((values(answers), self.renamed(answers)), key=lambda arm: float(arm.mean()))

    def shuffled(self, answers: Answers, seed: int) -> Values:
        """Whether they are right held against other questions' answers."""
        own = Choices.of(answers, self.asked)
        if self.names is not None:
            own = Choices(under(np.array(self.names), own.said), own.right, own.n)
        return own.shuffled(seed).astype(float)


def arms_of(evidence: Evidence, model: str, attack: str) -> Arms:
    """Every arm of a finished attack."""
    result = evidence.attack(model, attack)
    key = Key(
        _suggested(evidence, model, attack, result), questions_of(evidence.setup.task, "forget")
    )
    known = key.names is not None
    models = evidence.setup.entry(model).controls if known else ()
    controls = tuple(key.highest(c.forget) for c in evidence.controls(model, attack))
    return Arms(
        attacked=key.renamed(result.forget),
        retain=values(result.retain),
        sham=_sham(evidence, result, key),
        original=values(evidence.ceiling(model, attack).forget),
        control=np.mean(controls, axis=0) if controls else None,
        guessing=guessing_level(evidence, model, result.hidden, key=key),
        unlearned=key.highest(evidence.answers(model, "forget")) if known else None,
        twins=_twins(evidence, model, result, key),
        controls=controls,
        untreated_controls=tuple(key.highest(evidence.answers(m, "forget")) for m in models),
        taught=grade(find("attack", attack)) in TAUGHT,
        renaming=key.names,
    )


def _twins(evidence: Evidence, model: str, result: AttackResult, key: Key) -> Values | None:
    """What the attack gains on each question that nobody can know."""
    if isinstance(result.twins, UnsetType):
        return None
    asked = Key(key.names, evidence.setup.twins(model))
    return asked.renamed(result.twins) - asked.renamed(evidence.answers(model, "twins"))


def _suggested(
    evidence: Evidence, model: str, attack: str, result: AttackResult
) -> tuple[int, ...] | None:
    """The names of the letters that the select fold suggests for an attacked model.

    ``None`` where no letter was said: texts of choices have no names.
    """
    if not find("measure", _measure(evidence, attack, result)).one_token:
        return None
    task = evidence.setup.task
    asked = deciding(task, result)
    # The names hold for questions with more choices too.
    every = (
        *questions_of(task, "forget_select"),
        *questions_of(task, "forget"),
        *evidence.setup.twins(model),
    )
    tried = next((t for t in result.tried if t.variant == result.variant), None)
    if tried is None:
        return None
    marks = tried.answers.said
    said = [TIE if x == "-" else int(x) if isinstance(marks, str) else x for x in marks]
    if not all(isinstance(x, int) for x in said):
        return None
    right = np.array([q.answer for q in asked])
    return suggested(np.array(said), right, max(len(q.choices) for q in every))


def _measure(evidence: Evidence, attack: str, result: AttackResult) -> str:
    """The measure of the attacked answers: the task's, or that of the form which was chosen."""
    of = result.variant.get("measure") if isinstance(result.variant, dict) else None
    if find("attack", attack).only_asks and isinstance(of, str):
        return of
    return evidence.setup.task.scoring


def guessing_level(
    evidence: Evidence, model: str, *hidden: Answers | UnsetType, key: Key | None = None
) -> Values:
    """The highest of chance, the majority letter and hidden questions, on the confirm fold.

    Args:
        hidden: Further answers to hidden questions beside the model's own, where there are any.
        key: How answers count.
    """
    task = evidence.setup.task
    asked = questions_of(task, "forget")
    key = key or Key(None, asked)
    measure = find("measure", task.scoring)
    levels: list[Values] = [np.array([measure.chance(q) for q in asked])]
    if measure.one_token:
        select, confirm = (choices(evidence, model, name) for name in ("forget_select", "forget"))
        levels.append(select.majority(confirm))
    for answers in (evidence.baseline(model).hidden, *hidden):
        if not isinstance(answers, UnsetType):
            levels.append(key.highest(answers))
    return max(levels, key=lambda level: float(level.mean()))


def _sham(evidence: Evidence, result: AttackResult, key: Key) -> Values:
    if result.shams:
        ordered = sorted(map(key.highest, result.shams), key=lambda arm: float(arm.mean()))
        return ordered[len(ordered) // 2]
    measure = find("measure", evidence.setup.task.scoring)
    if not measure.compares and not isinstance(result.hidden, UnsetType):
        return values(result.hidden)  # Other questions' gold answers, read in the same way.
    return key.shuffled(result.forget, evidence.setup.plan.seed)
