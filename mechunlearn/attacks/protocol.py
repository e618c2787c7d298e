"""What an attack is: what it declares, what it may see, and how it is searched.

An attack is a class derived from ``Attack``, in a file of its own:

    class Mine(Attack[Config, None, Variant]):
        family, access, needs = "direction", frozenset({"activations"}), frozenset()
        presets = {"organism": Config()}
        def search(self, model, seen, reference, config): return Grid(variants, change, sham)

Everything that an audit has to know of it stands there; nothing else tests for its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import msgspec

from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import ACCESSES, FAMILIES, NEEDS, Access, Family, Need
from mechunlearn.cost.job import Cost, Job
from mechunlearn.errors import unknown
from mechunlearn.presets import Size
from mechunlearn.types import (
    Change,
    HookedModel,
    PromptFormat,
    Question,
    Role,
    Scoring,
    Task,
)

C = TypeVar("C")
R = TypeVar("R")
V = TypeVar("V")


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is worth drawing of an attack; a subclass declares the fields and a figure reads them.

    A report keeps it as plain data under ``kind``, so that it opens without the attack.
    """

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Confirm:
    """The questions that are reported, for pictures drawn once the choice is made."""

    forget: tuple[Question, ...]
    retain: tuple[Question, ...]
    prompt: PromptFormat
    scoring: Scoring


View = Callable[[HookedModel, Confirm], Trace]
"""Draws something of any model at a chosen variant; must not hold on to the model of its search."""


class Trials(tuple[V, ...], Generic[V]):
    """Variants that only tell an adaptive search where to look next; none of them is chosen.

    Of a set of forget questions that is split they are judged by the half that decides nothing, so
    that what is yielded at the end, without this word, is chosen by questions that no trial has
    been fitted to. Their value on as many retain questions is sent back, too.
    """


class Search(ABC, Generic[V]):
    """What an attack learned about one model; makes its variants."""

    @abstractmethod
    def variants(self) -> Generator[Sequence[V], Sequence[Scored], None]:
        """Variants to try, some at a time; what they are worth is sent back.

        A grid yields all at once; an adaptive search looks at what it is sent, and yields
        ``Trials`` before the variants that may be chosen. Everything is tried on the select fold.
        """

    @abstractmethod
    def change(self, variant: V) -> Change:
        """What this variant does to the model."""

    @abstractmethod
    def sham(self, variant: V, seed: int) -> Change | None:
        """A placebo of the same size; ``None`` only for read-outs, whose placebo is shuffling."""

    def size(self, variant: V) -> int:
        """Of two variants worth the same the smaller one is chosen."""
        return 0

    def eligible(self, variant: V) -> bool:
        """Whether it may be chosen; of others what they are worth only says what to try next."""
        return True

    def traces(self, variant: V) -> Sequence[Trace]:
        """What is worth drawing of this search and of the chosen variant."""
        return ()

    def view(self, variant: V) -> View | None:
        """What is worth drawing of the unlearned, the never-knew and the original model alike."""
        return None


@dataclass(frozen=True, slots=True)
class Grid(Search[V]):
    """The simplest search: given variants, and functions that make a change and its sham."""

    grid: Sequence[V]
    make: Callable[[V], Change]
    placebo: Callable[[V, int], Change | None]

    def variants(self) -> Generator[Sequence[V], Sequence[Scored], None]:
        """See ``Search``."""
        yield self.grid

    def change(self, variant: V) -> Change:
        """See ``Search``."""
        return self.make(variant)

    def sham(self, variant: V, seed: int) -> Change | None:
        """See ``Search``."""
        return self.placebo(variant, seed)


class Attack(ABC, Generic[C, R, V]):
    """An attack on an unlearned model; declares what it is and searches for variants.

    ``learn`` runs on the original, ``search`` on the model under test; the two never need both
    models at once.
    """

    family: ClassVar[Family]
    """What kind of evidence it gives."""
    access: frozenset[Access]
    """The threat model."""
    needs: frozenset[Need]
    """What else it takes; decides what ``Seen`` holds."""
    variant: type[V]
    """The frozen dataclass of its variants."""
    presets: Mapping[str, C]
    """Named settings; ``paper`` holds the published ones."""
    sizes: ClassVar[Mapping[Size, str]] = {
        "organism": "organism",
        "chat": "organism",
        "small": "small",
        "large": "paper",
    }
    """The preset that an audit takes for a size of model; another one falls back on the first."""
    limited: ClassVar[bool] = True
    """Whether a variant that costs too much retain accuracy is passed over."""

    adaptive: ClassVar[bool] = False
    """Whether it looks at what variants are worth before it tries the next; the never-knew model is
    then searched anew and attacked at its own choice, for many trials find something by luck."""

    speaks: ClassVar[bool] = False
    """Of a read-out: whether the model itself says what is read, so that text can be generated."""
    only_asks: ClassVar[bool] = False
    """Whether nothing changes but how the questions are asked: what comes back was open."""

    def check_declared(self, name: str) -> None:
        """Refuse a family, an access or a need that there is not.

        Args:
            name: Under which the attack is registered.

        Raises:
            ValueError: Naming the nearest one that there is.
        """
        for kind, given, known in (
            ("family", (self.family,), FAMILIES),
            ("access", self.access, ACCESSES),
            ("need", self.needs, NEEDS),
        ):
            for word in given:
                if word not in known:
                    raise unknown(f"{kind} of attack {name!r}:", str(word), known)

    @property
    def generates(self) -> bool:
        """Whether text can be generated under its changes; what only reads inside says nothing."""
        return self.speaks or self.family != "read-out"

    def suits(self, task: Task) -> bool:
        """Whether a task has what it works on; else it is left out unless an audit names it."""
        return True

    def by_name(self, config: C) -> bool:
        """Whether it changes matrices by their names (q k v o gate in out).

        The experts of a mixture have no such names, so that it is refused for one.
        """
        return False

    def reads(self, config: C) -> Sequence[str]:
        """Files, by path, and models, by name or folder, that the settings name and it will read.

        Finished results are kept for what is in them; without this they are kept for the name, and
        a file that has changed is not noticed.
        """
        return ()

    def splits(self, config: C) -> frozenset[Role]:
        """Sets of the select fold of which it learns from one half; the other half judges it.

        Of the forget questions it may learn no more than what its ``Trials`` are worth there.
        """
        return frozenset()

    def learn(self, original: HookedModel, seen: Seen, config: C) -> R | None:
        """What has to be known of the original model; called if that is among its needs."""
        return None

    def check(self, config: C, seen: Seen, layers: int) -> None:
        """Refuse settings that this task, or a model of so many blocks, does not allow.

        Called before anything is loaded or computed.

        Raises:
            ValueError: With what is allowed.
        """
        return

    @abstractmethod
    def search(self, model: HookedModel, seen: Seen, reference: R, config: C) -> Search[V]:
        """Look for the knowledge in ``model``, which is afterwards what it was."""

    def rebuild(
        self, model: HookedModel, seen: Seen, reference: R, variant: V, config: C
    ) -> Search[V]:
        """A search that can make a variant found earlier; cheaper than ``search`` if it can be."""
        return self.search(model, seen, reference, config)

    def repeat(
        self, model: HookedModel, seen: Seen, reference: R, variant: V, config: C
    ) -> Search[V]:
        """The search on a control, of which ``variant`` alone will be asked; cheaper if it can be.

        Unlike ``rebuild`` it is another model's search: what is learned is learned from ``model``.
        """
        return self.search(model, seen, reference, config)

    def cost(self, config: C, job: Job) -> Cost:
        """What it takes: arithmetic and bytes."""
        return Cost()

    def preset(self, size: Size) -> str:
        """Name of the settings for a size of model."""
        wanted = self.sizes[size]
        return wanted if wanted in self.presets else next(iter(self.presets))
