"""Settings of a search, and of the whole attack."""

from dataclasses import dataclass, field
from typing import Literal

from mechunlearn.attacks.gcg.objective import Objective
from mechunlearn.attacks.gcg.problem import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """A length in tokens that grows with the steps."""

    start: int
    per_step: float = 0.0
    most: int = 1_000_000

    def at(self, step: int) -> int:
        """The length at a step."""
        return min(int(self.start + self.per_step * step), self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Settings of a search.

    Raises:
        ValueError: If a number makes no sense.
    """

    steps: int
    """Of each restart."""
    length: int = 20
    """Tokens of a random start."""
    shortest: Length = Length(start=1)
    """A text that is not longer is only made longer."""
    longest: Length = Length(start=20)
    """A text that is not shorter is not made longer."""
    width: int = 64
    """Children per step."""
    top_k: int = 64
    """Tokens considered at each place."""
    buffer: int = 1
    elitist: bool = True
    """Whether the parent stays in the buffer when its children are worse."""
    substitute: float = 1.0
    insert: float = 0.0
    delete: float = 0.0
    swap: float = 0.0
    """Chances of the kinds of edits."""
    adaptive: bool = False
    """Change places the more often the better earlier changes there did, and the fewer tokens have
    to be run for it; otherwise all equally often."""
    screen: float = 0.0
    """Share of children that a first pass in bfloat16 lets through to the exact one; 0: no such
    pass."""
    races: tuple[int, ...] = ()
    """Numbers of questions after which the worse children are dropped; empty: all see all."""
    keep: float = 0.5
    """Share of children that stay after each of them."""
    gradient_questions: int = 0
    """Questions behind each gradient; 0: all."""
    combine: int = 1
    """Most edits that are also tried together: a step's best two, three, ... at different places
    (Jia et al. 2024, arXiv:2405.21018)."""
    restarts: int = 1
    starts: tuple[str, ...] = ()
    """Texts to start from instead of random ones, one a restart."""
    printable: bool = True
    """Whether only printable ASCII may be used."""
    memory_gib: float = 0.0
    """Most memory a batch may take, by an estimate; 0: batches as large as is fastest."""
    goal: float = 0.0
    """Loss at which a restart ends early."""

    def __post_init__(self) -> None:
        counts = ("steps", "length", "width", "top_k", "buffer", "combine", "restarts")
        numbers = [getattr(self, name) for name in counts]
        if (
            min(numbers) < 1
            or not 0 < self.keep < 1
            or not 0 <= self.screen < 1
            or self.gradient_questions < 0
        ):
            raise ValueError(
                f"a search needs {', '.join(counts)} of at least 1, keep in (0, 1), screen in "
                f"[0, 1) and gradient_questions >= 0, not {self}"
            )
        if list(self.races) != sorted(set(self.races)) or min(self.races, default=1) < 1:
            raise ValueError(f"races are rising numbers of questions, not {self.races}")
        if min(self.chances) < 0 or not sum(self.chances):
            raise ValueError(f"chances of edits must not be negative or all 0: {self.chances}")

    def forwards(self, n: int) -> float:
        """Question forwards of a search over ``n`` questions; a gradient counts as three."""
        alive, seen, children = float(self.width), 0, 0.0
        stages = (*(r for r in self.races if r < n), n)
        if self.screen:
            children, alive = alive * stages[0], self.screen * alive
        for until in stages:
            children += alive * (until - seen)
            alive, seen = alive * self.keep, until
        gradient = 3 * min(self.gradient_questions or n, n)
        share = self.substitute / sum(self.chances)
        step = children + (self.combine - 1) * n + share * gradient
        return self.restarts * (children + self.steps * step)

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest text that may come up."""
        if not self.insert:
            return self.length
        return max(self.length, self.longest.at(self.steps), self.shortest.at(self.steps))

    @property
    def chances(self) -> tuple[float, ...]:
        """Chances of the operators, in their order."""
        return (self.substitute, self.insert, self.delete, self.swap)


@dataclass(frozen=True, slots=True, kw_only=True)
class GCGConfig:
    """Settings.

    Raises:
        ValueError: If there are no questions, or a share is out of range.
    """

    search: SearchConfig
    objective: Objective = field(default_factory=Objective)
    place: Place = "prefix"
    target: Literal["answer", "original"] = "answer"
    """What should follow a question: its right answer, or how the original goes on."""
    forced: int = 0
    """Tokens of the target that carry cross-entropy; 0: all of an answer, one of a continuation."""
    matched: int = 0
    """Further tokens of the original's continuation whose hidden states are compared."""
    questions: int = 32
    """Forget questions to optimise for."""
    retain_share: float = 0.2
    """Retain questions beside them, as a share of all."""
    shuffled_search: bool = False
    """Also search for shuffled answers, and report what that text brings back: it may well bring
    back something where the right form of an answer is enough to undo the suppression."""
    seed: int = 0

    @property
    def carried(self) -> int:
        """``forced`` with what its 0 stands for; 0: all tokens of a target."""
        return self.forced or int(self.target == "original")

    def __post_init__(self) -> None:
        if self.questions < 1 or not 0 <= self.retain_share < 1:
            raise ValueError(
                "GCG needs questions >= 1 and a retain_share in [0, 1), not "
                f"questions={self.questions}, retain_share={self.retain_share}"
            )
        if self.matched and self.target != "original":
            raise ValueError("only the original's continuation can be matched: target='original'")
