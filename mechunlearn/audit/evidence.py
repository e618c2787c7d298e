"""What an audit has found out: its set-up and the finished cells."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.records import (
    Answers,
    AttackResult,
    BaselineResult,
    CeilingResult,
    CellFile,
    ControlResult,
    Kind,
    Result,
)

R = TypeVar("R", BaselineResult, AttackResult, ControlResult, CeilingResult)


@dataclass
class Evidence:
    """The finished cells of a set-up audit."""

    setup: Setup
    results: dict[str, CellFile]
    """By the cells' keys."""
    making: dict[str, float]
    """Measured seconds that models took to make."""

    @cached_property
    def cells(self) -> dict[tuple[Kind, str, str], Cell]:
        """By kind, model and attack."""
        return {(c.kind, c.model, c.attack): c for c in self.setup.cells}

    def file(self, kind: Kind, model: str, attack: str = "") -> CellFile | None:
        """A finished cell as it was kept; ``None`` where it is not finished."""
        cell = self.cells.get((kind, model, attack))
        return None if cell is None else self.results.get(cell.key)

    def _result(self, kind: Kind, expected: type[R], model: str, attack: str = "") -> R:
        found: Result = self.results[self.cells[kind, model, attack].key].result
        assert isinstance(found, expected)
        return found

    def baseline(self, model: str) -> BaselineResult:
        """A model without any attack."""
        return self._result("baseline", BaselineResult, model)

    def attack(self, model: str, attack: str) -> AttackResult:
        """An attack on an unlearned model."""
        return self._result("attack", AttackResult, model, attack)

    def control(self, model: str, attack: str) -> ControlResult | None:
        """The same on its control; ``None`` where there is no such model."""
        if ("control", model, attack) not in self.cells:
            return None
        return self._result("control", ControlResult, model, attack)

    def ceiling(self, model: str, attack: str) -> CeilingResult:
        """The same on the original."""
        return self._result("ceiling", CeilingResult, model, attack)

    def answers(self, model: str, questions: str) -> Answers:
        """A model's answers to a question set without any attack."""
        return self.baseline(model).sets[questions]

    def done(self, kind: Kind, model: str, attack: str = "") -> bool:
        """Whether a cell is finished, or not part of this audit."""
        cell = self.cells.get((kind, model, attack))
        return cell is None or cell.key in self.results

    @property
    def complete(self) -> list[tuple[str, str]]:
        """Unlearned models and attacks of which every arm is there."""
        kinds: tuple[Kind, ...] = ("attack", "control", "ceiling")
        return [
            (entry.label, attack)
            for entry in self.setup.unlearned
            for attack in self.setup.attacks
            if all(self.done(kind, entry.label, attack) for kind in kinds)
        ]
