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
    repeats: "tuple[Evidence, ...]" = ()
    """The same audit with each further seed."""

    @cached_property
    def cells(self) -> dict[tuple[Kind, str, str], Cell]:
        """By kind, model and attack; of a control's cells the first control's."""
        return {(c.kind, c.model, c.attack): c for c in self.setup.cells if not c.further}

    @cached_property
    def further(self) -> dict[tuple[str, str], list[Cell]]:
        """Cells of the controls after the first one, by model and attack."""
        cells: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.setup.cells:
            if cell.further:
                cells.setdefault((cell.model, cell.attack), []).append(cell)
        return cells

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

    def controls(self, model: str, attack: str) -> tuple[ControlResult, ...]:
        """The same on every control."""
        first = self.control(model, attack)
        if first is None:
            return ()
        others = [self.results[c.key].result for c in self.further.get((model, attack), [])]
        return (first, *(r for r in others if isinstance(r, ControlResult)))

    def ceiling(self, model: str, attack: str) -> CeilingResult:
        """The same on the original."""
        return self._result("ceiling", CeilingResult, model, attack)

    def answers(self, model: str, questions: str) -> Answers:
        """A model's answers to a question set without any attack."""
        return self.baseline(model).sets[questions]

    def done(self, kind: Kind, model: str, attack: str = "") -> bool:
        """Whether a cell is finished, or not part of this audit."""
        cell = self.cells.get((kind, model, attack))
        more = self.further.get((model, attack), []) if kind == "control" else []
        return all(c.key in self.results for c in (cell, *more) if c is not None)

    @property
    def complete(self) -> list[tuple[str, str]]:
        """Unlearned models and attacks of which every arm is there."""
        unlearned = self.setup.unlearned
        return [(e.label, attack) for e in unlearned for attack in self.complete_on(e.label)]

    def complete_on(self, model: str) -> list[str]:
        """Attacks on one model, unlearned or planted, of which every arm is there."""
        return [attack for attack in self.setup.attacks if self.whole(model, attack)]

    def whole(self, model: str, attack: str) -> bool:
        """Whether every arm of an attack is there."""
        kinds: tuple[Kind, ...] = ("attack", "control", "ceiling")
        return all(self.done(kind, model, attack) for kind in kinds)
