"""What an attacker had to know: the grade of an attack's evidence."""

from collections.abc import Sequence
from typing import Any

from mechunlearn.attacks.protocol import Attack
from mechunlearn.attacks.vocabulary import Need
from mechunlearn.registry import find
from mechunlearn.types import Task

GRADES = (
    "no forget information",
    "benign data",
    "other facts of the domain",
    "the tested facts",
    "the original's weights",
)
"""From the strongest evidence to the weakest; no verdict rests on the last."""
TAUGHT = GRADES[2:]
"""Of attacks that are taught forget facts, or handed what knew them."""
HANDED = GRADES[4]
"""What is answered with the original's weights says nothing of the model under test."""
_TESTED: frozenset[Need] = frozenset({"the tested facts", "forget text"})


def grade(attack: Attack[Any, Any, Any]) -> str:
    """Grade of an attack's evidence, from what it declares to need.

    Text about the forget domain states the tested facts. Questions without their answers carry no
    forget information, and benign data counts only where the model is trained on it. Whoever has
    the original's weights has all that was forgotten.
    """
    if "original weights" in attack.needs:
        return HANDED
    if attack.needs & _TESTED:
        return GRADES[3]
    if "other facts of the forget domain" in attack.needs:
        return GRADES[2]
    return GRADES[1] if attack.needs and "weights" in attack.access else GRADES[0]


def shows(grade: str, tier: str) -> bool:
    """Whether what an attack of this grade brings back can show that the model knew it.

    A model that never knew (tier A) is taught the same; twin questions (B) are not, so that they
    show what other facts teach, and not what the tested facts do.

    Args:
        tier: Of the control: ``A``, ``B`` or ``C``.
    """
    if grade == HANDED:
        return False
    return tier == "A" or grade not in TAUGHT or (tier == "B" and grade != GRADES[3])


def usable(names: Sequence[str], task: Task) -> tuple[str, ...]:
    """Those of some attacks that have something to work on in a task."""
    generates = find("measure", task.scoring).generates

    def works(attack: Attack[Any, Any, Any]) -> bool:
        return attack.suits(task) and (attack.generates or not generates)

    return tuple(name for name in names if works(find("attack", name)))


def fitting(names: Sequence[str], tier: str, task: Task) -> tuple[str, ...]:
    """Those of some attacks that can say something of a task beside a control of this tier.

    At tier C nothing clears a model, so that what cannot show that it knew is left out. At tier B
    it is tried: what it brings back forbids to say that there is no evidence.
    """
    return tuple(
        name
        for name in usable(names, task)
        if tier == "B" or shows(grade(find("attack", name)), tier)
    )
