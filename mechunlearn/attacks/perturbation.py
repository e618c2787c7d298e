"""Ask differently: change the prompt, and nothing else, until the answer comes back.

    naive      characters or words inserted, case, order, repetition, a lead-in, few-shot examples
    informed   while cos(h_l(t), d_l) > threshold at some token t, change the first such token
    jailbreak  our set of templates around the question

``d_l = mean h_l(unlearned) - mean h_l(original)`` on the same questions, at the last block that
unlearning edited. A token is changed by splitting it (a space inside, or a ~ before a single
character), or by a neutral word before it, which suits word-level vocabularies. The sham makes as
many changes at random places; for what is added in front, the added words in random order.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (perturbations, whose naive grid is the ``paper`` preset).
    Differs: the original's shipped script passes a direction of zeros and changes nothing, ours
    takes the real one; all prompts of a round share a batch; thresholds and kinds are chosen on the
    select fold.
    Limits: a list of changes at some rates; it says nothing about changes that are not on it. The
    informed kind needs the original.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks import Candidate, Rewrite, Settings
from mechunlearn.attacks.direction_ablation import activation_statistics, question_texts
from mechunlearn.attacks.jailbreaks import JAILBREAKS
from mechunlearn.bench.engine import batches, token_budget
from mechunlearn.bench.rows import pad
from mechunlearn.hooks import forward_to
from mechunlearn.models import block_fingerprints
from mechunlearn.types import HookedModel, Question, Task

KEPT_WORDS = 2
"""Words at the end of a prompt that stay: the cue for the answer."""
PAPER_CHARACTERS = ("!", "_", " ", ")", ";", "?", "5", "~", "^", ".", "-", "Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationConfig:
    """Settings.

    Raises:
        ValueError: If a rate or threshold makes no sense.
    """

    characters: tuple[str, ...] = ("~", " ", "-")
    every: tuple[int, ...] = (1, 5, 15)
    """A character after every n-th character."""
    rates: tuple[float, ...] = (0.1, 0.3)
    """Chances of a character after each, and of a filler word before each word."""
    thresholds: tuple[float, ...] = (0.2, 0.5)
    """Cosines above which a token is changed."""
    rounds: int = 8
    """Changes per prompt at most."""

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.every) or not all(0 < r <= 1 for r in self.rates):
            raise ValueError(f"every needs n >= 1, rates chances in (0, 1], not {self}")
        if not all(-1 <= t < 1 for t in self.thresholds) or self.rounds < 1:
            raise ValueError(f"thresholds are cosines, rounds at least 1, not {self}")


PRESETS = {
    "paper": PerturbationConfig(
        characters=PAPER_CHARACTERS,
        every=(1, 3, 5, 7, 11, 15),
        rates=(0.1, 0.2, 0.3),
        thresholds=(0.1, 0.2, 0.3, 0.4, 0.5),
        rounds=500,
    ),
    "small": PerturbationConfig(),
    "organism": PerturbationConfig(),
}


def insert(text: str, places: Sequence[int], character: str) -> str:
    """A character after each of some places."""
    at = set(places)
    return "".join(c + (character if i in at else "") for i, c in enumerate(text))


def split_cue(text: str) -> tuple[str, str]:
    """The prompt without the words that ask for the answer, and those words."""
    words = list(re.finditer(r"\S+", text))
    if len(words) <= KEPT_WORDS:
        return "", text
    cut = words[-KEPT_WORDS].start()
    return text[:cut], text[cut:]


def naive(settings: Settings, task: Task, *, sham: bool = False) -> Callable[..., str]:
    """The change of one kind; with ``sham``, as much of it at random places or in random order."""
    kind, words = settings["kind"], _words(task)

    def front(text: str, rng: random.Random) -> str:
        if kind == "repeat":
            added = text
        elif kind == "lead-in":
            added = rng.choice(task.plain_text or ("Please answer the following.",))
        else:
            keep = [task.example(q) for q in task.questions("retain", "select")]
            shots = rng.sample(keep, min(settings["shots"], len(keep)))
            added = task.prompt.separator.join(e.prompt + e.answer for e in shots)
        return (_shuffled(added, rng) if sham else added) + task.prompt.separator + text

    def inside(text: str, rng: random.Random) -> str:
        body, cue = split_cue(text)
        if kind == "insert":
            places: Sequence[int] = range(settings["every"] - 1, len(body), settings["every"])
        else:
            places = [i for i in range(len(body)) if rng.random() < settings["rate"]]
        if sham:
            places = rng.sample(range(len(body)), len(places))
        return insert(body, places, settings["what"]) + cue

    def fillers(text: str, rng: random.Random) -> str:
        body, cue = split_cue(text)
        parts = [
            f"{rng.choice(words)} {w}" if rng.random() < settings["rate"] else w
            for w in re.findall(r"\S+\s*", body)
        ]
        if sham:  # As many words, but in front of everything.
            added = (len("".join(parts)) - len(body)) // 6
            return " ".join([*(rng.choice(words) for _ in range(added)), body + cue])
        return "".join(parts) + cue

    def whole(text: str, rng: random.Random) -> str:
        body, cue = split_cue(text)
        if sham:
            return _shuffled(body, rng) + " " + cue
        changed = {"upper case": body.upper(), "lower case": body.lower(), "spaces": body}[kind]
        return (re.sub(r"\s", lambda m: m[0] * 2, changed) if kind == "spaces" else changed) + cue

    table: dict[str, Callable[..., str]] = dict.fromkeys(("repeat", "lead-in", "few-shot"), front)
    table |= {"insert": inside, "insert at random": inside, "fillers": fillers}
    return table.get(kind, whole)


def _words(task: Task) -> list[str]:
    texts = task.plain_text or task.retain_text or ("well so now then",)
    return sorted({w for text in texts[:200] for w in text.split()})


def _shuffled(text: str, rng: random.Random) -> str:
    words = text.split()
    return " ".join(rng.sample(words, len(words)))


@dataclass(slots=True)
class Informed(Rewrite):
    """Changes the tokens at which the activation points along a direction."""

    layer: int = 0
    direction: Float[Tensor, " d_model"] = field(default_factory=lambda: torch.zeros(0))
    threshold: float = 0.0
    rounds: int = 1
    at_random: bool = False
    """The sham: the same number of changes, at random tokens."""
    known: dict[str, str] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    """Original text -> number of changes made to it."""

    def __call__(self, text: str) -> str:
        """The prompt as it was changed by ``prepare``."""
        return self.known[text]

    @torch.no_grad()
    def prepare(self, model: HookedModel, texts: Sequence[str]) -> None:
        """Change the prompts round by round until no token exceeds the threshold."""
        new = [t for t in dict.fromkeys(texts) if t not in self.known]
        now = {t: t for t in new}
        self.changes |= dict.fromkeys(new, 0)
        active = new
        for _ in range(self.rounds if new else 0):
            cosines = self.cosines(model, [now[t] for t in active])
            still = []
            for text, along in zip(active, cosines, strict=True):
                body = len(split_cue(now[text])[0])
                offsets = _offsets(model, now[text])
                over = [i for i, c in enumerate(along) if c > self.threshold and offsets[i][1]]
                over = [i for i in over if offsets[i][1] <= body]
                if not over:
                    continue
                rng = random.Random(f"{self.seed}-{self.changes[text]}-{text}")
                free = [i for i, (_, end) in enumerate(offsets) if 0 < end <= body]
                start, end = offsets[rng.choice(free) if self.at_random else over[0]]
                now[text] = self.change_at(now[text], start, end, rng)
                self.changes[text] += 1
                still.append(text)
            active = still
            if not active:
                break
        self.known |= now

    def change_at(self, text: str, start: int, end: int, rng: random.Random) -> str:
        """One change of the token between two characters."""
        while start < end and text[start].isspace():
            start += 1
        return self.change(text[:start] + "\0" + text[start:end] + "\0" + text[end:], rng)

    def cosines(self, model: HookedModel, texts: Sequence[str]) -> list[list[float]]:
        """Cosine between the layer's activation and the direction, at every token."""
        rows = model.tokenizer(list(texts))["input_ids"]
        unit = self.direction / self.direction.norm()
        found: list[list[float]] = [[] for _ in rows]
        for batch in batches([len(row) for row in rows], token_budget(model)):
            tokens, _ = pad(model, [rows[i] for i in batch])
            h = forward_to(model, tokens, self.layer).float()
            along = (h @ unit.to(h)) / h.norm(dim=-1)
            for i, values in zip(batch, along.tolist(), strict=True):
                found[i] = values[: len(rows[i])]
        return found


def _offsets(model: HookedModel, text: str) -> list[tuple[int, int]]:
    """First and last character of every token; (0, 0) for special ones."""
    return model.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]


def split_token(marked: str, rng: random.Random) -> str:
    """A space inside the marked token, or a ~ before a single character."""
    before, token, after = marked.split("\0")
    if len(token) < 2:
        return f"{before}~{token}{after}"
    cut = rng.randrange(1, len(token))
    return f"{before}{token[:cut]} {token[cut:]}{after}"


def filler_before(words: Sequence[str]) -> Callable[[str, random.Random], str]:
    """A neutral word before the marked token."""

    def change(marked: str, rng: random.Random) -> str:
        before, token, after = marked.split("\0")
        return f"{before}{rng.choice(words)} {token}{after}"

    return change


@dataclass(frozen=True, slots=True)
class _Found:
    settings: list[Settings]
    make: Callable[[Settings, bool, int], Rewrite]

    def grid(self) -> list[Settings]:
        return self.settings

    def build(self, settings: Settings) -> Candidate:
        return Candidate(settings, rewrite=self.make(settings, False, 0))

    def sham(self, settings: Settings, seed: int) -> Candidate:
        return Candidate(settings, rewrite=self.make(settings, True, seed))

    def details(self, settings: Settings) -> dict[str, Any]:
        return {}


class Perturbation:
    """One family of changed prompts as a registered attack."""

    presets: ClassVar[dict[str, PerturbationConfig]] = PRESETS

    def __init__(self, family: Literal["naive", "informed", "jailbreak"]) -> None:
        self.family = family
        informed = family == "informed"
        self.access = ("activations",) if informed else ("prompts",)
        self.needs = ("original model", "forget questions") if informed else ()

    def reference(
        self, original: HookedModel, task: Task, asked: Sequence[Question], config: Any = None
    ) -> Any:
        """For informed changes: the original's mean activations and its blocks' digests."""
        if self.family != "informed":
            return None
        mean = activation_statistics(original, question_texts(task, asked)).mean
        return mean, block_fingerprints(original)

    def find(
        self,
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: Any,
        config: PerturbationConfig,
    ) -> _Found:
        """The changes to try."""
        if self.family == "jailbreak":
            return _Found([{"template": name} for name in JAILBREAKS], _jailbreak)
        if self.family == "naive":
            return _Found(
                naive_grid(config),
                lambda s, sham, seed: Rewrite(naive(s, task, sham=sham), seed),
            )
        mean, blocks = reference
        now = block_fingerprints(model)
        layer = max((i for i, b in enumerate(now) if b != blocks[i]), default=len(now) - 1)
        layer = min(layer, len(now) - 2) if len(now) > 1 else 0
        push = activation_statistics(model, question_texts(task, asked)).mean - mean
        edits = {"split": split_token, "filler word": filler_before(_words(task))}

        def make(settings: Settings, sham: bool, seed: int) -> Rewrite:
            change, threshold = edits[settings["change"]], settings["threshold"]
            vector = push[layer].float()
            return Informed(change, seed, layer, vector, threshold, config.rounds, sham)

        grid = [{"change": c, "threshold": t} for c in edits for t in config.thresholds]
        return _Found(grid, make)


def naive_grid(config: PerturbationConfig) -> list[Settings]:
    """All naive changes to try."""
    grid: list[Settings] = [
        {"kind": "insert", "what": c, "every": n} for c in config.characters for n in config.every
    ]
    grid += [
        {"kind": "insert at random", "what": c, "rate": r}
        for c in config.characters
        for r in config.rates
    ]
    grid += [{"kind": "fillers", "rate": r} for r in config.rates]
    grid += [{"kind": "few-shot", "shots": n} for n in (1, 3)]
    single = ("repeat", "lead-in", "upper case", "lower case", "spaces")
    return grid + [{"kind": kind} for kind in single]


def _jailbreak(settings: Settings, sham: bool, seed: int) -> Rewrite:
    before, after = JAILBREAKS[settings["template"]].split("{prompt}")

    def change(text: str, rng: random.Random) -> str:
        return (_shuffled(before, rng) + "\n\n" if sham else before) + text + after

    return Rewrite(change, seed)


NAIVE = Perturbation("naive")
INFORMED = Perturbation("informed")
JAILBREAK = Perturbation("jailbreak")
