"""Attacks: each finds something and returns it as a value; nobody here scores or prints."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

from mechunlearn.hooks import Point
from mechunlearn.results import Score
from mechunlearn.types import NO_CHANGE, HookedModel, Intervention, Question, Task

Settings = dict[str, Any]
"""What distinguishes one variant of an attack from another; plain data."""


@dataclass(slots=True)
class Rewrite:
    """A change of prompts: the same text always becomes the same text."""

    change: Callable[[str, random.Random], str]
    seed: int = 0

    def prepare(self, model: HookedModel, texts: Sequence[str]) -> None:
        """Look at prompts before they are asked; only informed changes need to."""

    def __call__(self, text: str) -> str:
        """The prompt to ask instead."""
        return self.change(text, random.Random(f"{self.seed}-{text}"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant of an attack, ready to be scored."""

    settings: Settings
    intervention: Intervention = NO_CHANGE
    point: Point | None = None
    """Where the answer is read instead of at the output."""
    norm: bool = True
    """Whether the final norm is applied at ``point``."""
    rewrite: Rewrite | None = None
    """What is done to every finished prompt."""
    measured: Mapping[str, Score] = field(default_factory=dict)
    """Scores that the search for it took already, such as ``forget select``."""


@runtime_checkable
class Found(Protocol):
    """What an attack learned about one model; makes its variants.

    Where it measured variants on part of the select fold only, ``chosen_by`` holds those forget
    questions, and ``retain_before`` the accuracy on those retain questions without the attack.
    ``unlimited = True`` says that the loss of retain accuracy is reported, but does not decide.
    """

    def grid(self) -> list[Settings]:
        """All settings to try on the select fold, in a fixed order."""
        ...

    def build(self, settings: Settings) -> Candidate:
        """The variant with these settings."""
        ...

    def sham(self, settings: Settings, seed: int) -> Candidate | None:
        """A placebo of the same size; ``None`` where shuffled answers are the placebo."""
        ...

    def details(self, settings: Settings) -> dict[str, Any]:
        """What is worth drawing of the search and of the variant with these settings."""
        ...


@dataclass(frozen=True, slots=True)
class Variants:
    """The simplest ``Found``: settings, and functions that make a variant and its sham."""

    settings: Sequence[Settings]
    make: Callable[[Settings], Candidate]
    placebo: Callable[[Settings, int], Candidate | None] = lambda settings, seed: None

    def grid(self) -> list[Settings]:
        """See ``Found``."""
        return list(self.settings)

    def build(self, settings: Settings) -> Candidate:
        """See ``Found``."""
        return self.make(settings)

    def sham(self, settings: Settings, seed: int) -> Candidate | None:
        """See ``Found``."""
        return self.placebo(settings, seed)

    def details(self, settings: Settings) -> dict[str, Any]:
        """See ``Found``."""
        return {}


@runtime_checkable
class Attack(Protocol):
    """A registered attack. ``reference`` runs on the original, ``find`` on the model under test.

    The two calls never need both models at once. Where ``find`` takes long, an attack may also have
    ``rebuild(model, task, settings, config)``, the variant with these settings without the search;
    an audit that goes on after a stop calls it. One whose search can go on says ``resumes = True``,
    and ``find`` takes a ``state_file``. ``preferred`` maps a size's preset to another one.

    An attack may derive from this class, which then has no presets and needs no ``reference``;
    ``mechunlearn.registry.register`` makes it known by name.
    """

    presets: Mapping[str, Any] = MappingProxyType({})
    """Named settings by model size, as for unlearning methods; empty: there is nothing to set."""

    access: ClassVar[tuple[str, ...]]
    """What the attacker must see or change: prompts, logits, activations, weights."""
    needs: ClassVar[tuple[str, ...]]
    """What else it takes: the original model, forget questions, benign text."""

    @staticmethod
    def reference(original: HookedModel, task: Task, asked: Sequence[Question], config: Any) -> Any:
        """What has to be known of the original model.

        Args:
            asked: Select-fold questions the original answers and the unlearned model does not.
            config: As for ``find``.
        """
        return None

    @staticmethod
    def find(
        model: HookedModel, task: Task, asked: Sequence[Question], reference: Any, config: Any
    ) -> Found:
        """Look for the knowledge in ``model``, using the select fold only.

        Args:
            config: One of ``presets``, perhaps changed; ``None`` where there are none.
        """
        ...
