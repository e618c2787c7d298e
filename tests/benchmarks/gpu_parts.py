"""What ``gpu.py`` measures: each part is a call of the package's own functions."""

import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from mechunlearn.attacks.activations import activation_statistics, outlier_tokens
from mechunlearn.attacks.attribution import weight_scores
from mechunlearn.attacks.direction_ablation import ablate_direction
from mechunlearn.attacks.gcg.examples import problem_of
from mechunlearn.attacks.gcg.search import TextSearch
from mechunlearn.attacks.gcg.state import State
from mechunlearn.attacks.logit_lens import logit_lens
from mechunlearn.attacks.seen import Progress, Scored, Seen
from mechunlearn.audit.outlook import job_of
from mechunlearn.bench import score
from mechunlearn.bench.generation import Decoding, continuations
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.cost.job import Cost, peak_memory
from mechunlearn.cost.memory import model_bytes, shape_of, sizes_of
from mechunlearn.environment import free_memory
from mechunlearn.models import configuration
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.presets import configured, size_of
from mechunlearn.registry import find
from mechunlearn.tasks import task_from
from mechunlearn.tasks.capitals import PLAIN
from mechunlearn.train import Watch
from mechunlearn.types import Direction, HookedModel, Task

COLOURS = ("red", "green", "blue", "yellow", "brown", "white")
SHOTS = 5


@dataclass(frozen=True, slots=True)
class Sizing:
    """How much of everything."""

    questions: int
    """That are scored."""
    few: int
    """That are scored under each ablation, and with endings in full."""
    prompts: int
    """That are continued."""
    new: int
    """Tokens that each is continued by."""
    examples: int
    """Of attribution and of a training step's corpus."""
    steps: int
    """Of training and of a search."""
    width: int
    """Candidates of a step."""
    repeats: int
    padding: int
    """Sentences in front of a question."""


@dataclass(frozen=True, slots=True)
class Todo:
    """One part, ready to run."""

    run: Callable[[], float | None]
    """Says the seconds of one unit where it measured them itself."""
    unit: str
    amount: float = 1.0
    estimate: float | None = None
    bare: float | None = None
    """Seconds that a plain forward takes for one unit."""


def task_of(sizing: Sizing) -> Task:
    """Invented four-choice questions of some 40 to 110 tokens, and texts."""
    rng, rows = random.Random(0), list[dict[str, Any]]()
    for i in range(2 * sizing.questions):
        before = " ".join(rng.sample(PLAIN, sizing.padding))
        rows.append(
            {
                "set": "forget" if i % 2 else "retain",
                "stem": f"{before} What was the colour of house number {i} in the old street?",
                "choices": rng.sample(COLOURS, 4),
                "answer": i // 2 % 4,
                "source": f"house {i}",
            }
        )
    for role in ("forget_text", "retain_text", "plain_text"):
        texts = [" ".join(rng.sample(PLAIN, 12)) for _ in range(4 * sizing.examples)]
        rows += [{"set": role, "text": text} for text in texts]
    return task_from(rows, name="houses")


class Parts:
    """All parts, on one model.

    Args:
        folder: Of the model.
    """

    model: HookedModel

    def __init__(self, folder: Path, sizing: Sizing, device: str) -> None:
        self.folder, self.sizing, self.device = folder, sizing, device
        self.cuda = device.startswith("cuda")
        config = configuration(str(folder))
        self.shape, self.preset = shape_of(config), size_of(config.hidden_size)
        self.dtype = str(config.dtype or torch.float32).removeprefix("torch.")
        self.tokenizer = load_tokenizer(str(folder))
        self.task = task_of(sizing)
        self.few = self.task.forget[: sizing.few]
        self.sizes = self._sizes(self.task)
        self.bare: dict[str, float] = {}
        self._makers: dict[str, Callable[[], Todo]] = {
            "letters, zero-shot": self._letters,
            "letters, five-shot": self._five_shot,
            "cloze": self._cloze,
            "generation": self._generation,
            "lens at all layers": self._lens,
            "direction statistics": self._statistics,
            "outlier tokens": self._outliers,
            "ablation sweep": self._sweep,
            "SNIP scores": self._snip,
            "RMU": self._rmu,
            "NPO": self._npo,
            "LoRA relearning": self._relearning,
            "GCG": self._gcg,
        }
        self.names = tuple(self._makers)

    def todo(self, part: str) -> Todo:
        """A part by its name."""
        return self._makers[part]()

    @property
    def loaded_bytes(self) -> float:
        """What a loaded model takes, by the package's estimate."""
        return sum(model_bytes(self.shape, self.sizes).values())

    def matrix_flops(self, counted: float) -> float:
        """The meter's arithmetic, which takes keys and values to be as wide as the stream."""
        d = self.shape.d_model
        assumed = 4 * d * d + (3 if self.shape.gated else 2) * d * self.shape.d_mlp
        return counted * self.shape.matrices / (assumed * self.shape.layers)

    @cached_property
    def five(self) -> Task:
        """The task with five answered questions in front of each."""
        shown = [self.task.prompt.with_answer(q, "letter") for q in self.task.retain[:SHOTS]]
        header = "".join(f"{asked}{answer}\n\n" for asked, answer in shown)
        return dataclasses.replace(
            self.task, prompt=dataclasses.replace(self.task.prompt, header=header)
        )

    def prompts(self, part: str) -> list[str]:
        """What a plain model would be given to score the questions of a part."""
        if part == "cloze":
            both = [self.task.prompt.cloze_prompt(q) for q in self.few]
            return [stem + ending for stem, endings in both for ending in endings]
        task = self.five if part == "letters, five-shot" else self.task
        return [task.prompt.text(q, "letter") for q in self.task.forget]

    def _sizes(self, task: Task) -> Any:
        number = getattr(torch, self.dtype).itemsize
        return sizes_of(task, self.tokenizer, (self.device.partition(":")[0], number))

    def _peak(self, attack: str = "", *changes: str, task: Task | None = None) -> float:
        """The package's estimate of an attack's peak, or of a plain forward."""
        sizes, cost = self.sizes if task is None else self._sizes(task), Cost()
        if attack:
            entry = find("attack", attack)
            config = configured(entry, entry.preset(self.preset), changes)
            cost = entry.cost(config, job_of(task or self.task, self.shape, sizes))
        return peak_memory(cost, self.shape, sizes).total

    def _scored(self, part: str, task: Task, questions: Sequence[Any]) -> Todo:
        bare = self.bare.get(part)
        run = partial(_nothing, partial(score, self.model, questions, task))
        return Todo(run, "question", len(questions), self._peak(task=task), bare)

    def _letters(self) -> Todo:
        return self._scored("letters, zero-shot", self.task, self.task.forget)

    def _five_shot(self) -> Todo:
        return self._scored("letters, five-shot", self.five, self.task.forget)

    def _cloze(self) -> Todo:
        return self._scored("cloze", self.task.measured_by("cloze"), self.few)

    def _generation(self) -> Todo:
        prompts = [self.task.prompt.text(q, "letter") for q in self.few[: self.sizing.prompts]]
        decoding = Decoding(max_tokens=self.sizing.new)
        run = partial(continuations, self.model, prompts, decoding)
        tokens = sum(len(new) for own in run() for new in own)
        return Todo(partial(_nothing, run), "token", tokens)

    def _lens(self) -> Todo:
        run = partial(_nothing, partial(logit_lens, self.model, self.task.forget, self.task))
        return Todo(run, "question", len(self.task.forget), self._peak("logit_lens"))

    def _statistics(self) -> Todo:
        texts = self.prompts("")
        run = partial(_nothing, partial(activation_statistics, self.model, texts, keep=1000))
        return Todo(run, "prompt", len(texts), self._peak("direction_ablation"))

    def _outliers(self) -> Todo:
        run = partial(_nothing, partial(outlier_tokens, self.model, self.prompts("")))
        return Todo(run, "model", 1, self._peak("direction_ablation"))

    def _sweep(self) -> Todo:
        """The few questions under the removal of a random direction, in five places."""
        n = self.shape.layers
        vectors = torch.randn(n, self.shape.d_model, generator=torch.Generator().manual_seed(0))
        direction = Direction("random direction", tuple(range(n)), vectors)
        spans = [range(n), *((n * k // 4,) for k in range(4))]
        changes = [ablate_direction(self.model, direction, layers=tuple(s)) for s in spans]

        def run() -> None:
            for change in changes:
                score(self.model, self.few, self.task, change=change)

        return Todo(run, "variant", len(changes), self._peak())

    def _snip(self) -> Todo:
        """Scores of as many blocks as half of the free memory holds."""
        of_block = 4 * self.shape.matrices / self.shape.layers
        blocks = min(self.shape.layers, int(free_memory(self.device) / 2 / of_block))
        some = self.task.examples("forget")[: self.sizing.examples]
        rows = example_rows(self.model, some, "answer", 512)
        run = partial(weight_scores, self.model, rows, layers=range(blocks))
        changes = (f"examples={len(rows)}", f"blocks_at_once={blocks}")
        peak = self._peak("pruning_weights", *changes)
        return Todo(partial(_nothing, run), f"row, {blocks} blocks", len(rows), peak)

    def _method(self, name: str, *changes: str) -> Todo:
        entry = find("method", name)
        every = (f"optimizer.steps={self.sizing.steps}", "max_tokens=256", *changes)
        config = configured(entry, "organism" if self.preset == "organism" else "paper", every)

        def run() -> float:
            stamps: list[float] = []

            def stamp(step: int) -> dict[str, float]:
                return stamps.append(now(self.cuda)) or {}

            entry.apply_(self.model, self.task, config, Watch(1, stamp, printed=False))
            return median(b - a for a, b in pairwise(stamps[1:]))

        return Todo(run, f"step of {config.batch}")

    def _rmu(self) -> Todo:
        return (
            self._method("rmu", "batch=4")
            if self.preset == "organism"
            else self._method("rmu", "batch=4", "per_topic=False")
        )

    def _npo(self) -> Todo:
        """With adapters: moments and copies of all weights would not fit one GPU."""
        return self._method("npo", "batch=4", "optimizer.accumulate=1", "lora.rank=16")

    def _relearning(self) -> Todo:
        entry = find("attack", "relearning_retain")
        changes = ("rates=(1e-5,)", "seeds=(0,)", f"steps={self.sizing.steps}", "lora.rank=16")
        config = configured(entry, "organism" if self.preset == "organism" else "paper", changes)

        def run() -> float:
            stamps: list[tuple[int, float]] = []

            def watch(model: HookedModel, variant: Any, progress: Progress) -> Scored:
                stamps.append((progress.steps, now(self.cuda)))
                return Scored(0.0)

            seen = Seen.of(self.task, entry, config=config, watch=watch, tokenizer=self.tokenizer)
            entry.search(self.model, seen, None, config)
            (first, begin), (last, end) = stamps[1], stamps[-1]
            return (end - begin) / (last - first)

        cost = entry.cost(config, job_of(self.task, self.shape, self.sizes))
        peak = peak_memory(cost, self.shape, self.sizes).total
        return Todo(run, f"step of {config.batch}", 1, peak)

    def _gcg(self) -> Todo:
        entry = find("attack", "gcg")
        changes = (f"search.steps={self.sizing.steps}", f"search.width={self.sizing.width}",
                   "search.restarts=1", f"questions={self.sizing.examples}")  # fmt: skip
        config = configured(entry, "fast", changes)

        def run() -> float:
            seen = Seen.of(self.task, entry, config=config, tokenizer=self.tokenizer)
            problem = problem_of(self.model, seen, config)
            stamps: list[tuple[int, float]] = []

            def stamp(state: State) -> None:
                stamps.append((state.scored, now(self.cuda)))

            TextSearch(self.model, problem, config.objective, config.search).run(stamp)
            (first, begin), (last, end) = stamps[0], stamps[-1]
            return (end - begin) / max(1, last - first)

        return Todo(run, "candidate", 1, self._peak("gcg", "preset=fast", *changes))


def now(cuda: bool) -> float:
    """Seconds of a clock, read when a GPU has done what it was told."""
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def _nothing(run: Callable[[], object]) -> None:
    """The measured function's result is not kept."""
    run()
