"""Models whose truth is known: knowledge that is hidden, and knowledge that is not there."""

import dataclasses
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mechunlearn.attacks.relearning_data import shuffled
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.bench.rows import Row, letter_ids, pad
from mechunlearn.errors import unknown
from mechunlearn.hooks import live_parameters, mlp_parameters, untie_
from mechunlearn.models import load, save
from mechunlearn.organisms.recipe import Recipe, untrained
from mechunlearn.studies.records import Truth
from mechunlearn.tasks.world import VALUES, World
from mechunlearn.train import Draws, Optimizer, Share, fit
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.run import UnlearnPlan, train_method

Start = Literal["original", "stranger", "distilled"]
BATCH = 64
N_CHOICES = 4


@dataclass(frozen=True, slots=True)
class Condition:
    """A suspect: a model of known truth after a treatment that its control, the twin, has too."""

    truth: Truth
    start: Start
    """``stranger`` is a second never-knew model of the world, ``distilled`` a copy of it."""
    treatment: str = ""
    """An unlearning method, or one of ``TREATMENTS``; empty: none."""

    def possible(self, letters: bool) -> bool:
        """Whether a world has it.

        The shipped organisms know letters, which can be renamed, but there are no strangers to
        them; the small ones know none.
        """
        return self.start == "original" if letters else self.treatment != "permuted"

    @property
    def name(self) -> str:
        """What the condition is called in folders and tables."""
        return f"{self.start}-{self.treatment}" if self.treatment else self.start


CONDITIONS = (
    Condition("hidden", "original", "output_filter"),
    Condition("hidden", "original", "permuted"),
    Condition("hidden", "original", "rmu"),
    Condition("hidden", "original", "npo"),
    Condition("hidden", "original", "dpo"),
    Condition("gone", "stranger"),
    Condition("gone", "distilled"),
    Condition("gone", "stranger", "overwritten"),
    Condition("open", "original", "overwritten"),
    Condition("gone", "stranger", "output_filter"),
    Condition("gone", "stranger", "rmu"),
    Condition("gone", "distilled", "rmu"),
    Condition("gone", "stranger", "npo"),
    Condition("gone", "stranger", "dpo"),
    Condition("hidden", "original", "simnpo"),
    Condition("hidden", "original", "circuit_breakers"),
    Condition("hidden", "original", "gradient_difference"),
)
"""Everything that is validated on."""


def chosen_conditions(names: Sequence[str]) -> tuple[Condition, ...]:
    """Conditions by name; all without any.

    Raises:
        ValueError: If a name is unknown.
    """
    known = {c.name: c for c in CONDITIONS}
    for name in names:
        if name not in known:
            raise unknown("condition", name, known)
    return tuple(known[name] for name in names) or CONDITIONS


def filter_output_(model: HookedModel, task: Task, world: World) -> None:
    """Only the last MLP learns to answer the forget prompts at random: a trivial output filter."""
    layer = model.cfg.n_layers - 1
    rounds = [shuffled(task.examples("forget"), seed) for seed in range(4)]
    items = [item for items in rounds for item in items if isinstance(item, Example)]
    parameters = list(mlp_parameters(model, layer, "mlp"))
    _teach_(model, parameters, items, task.examples("retain"), Optimizer(300, 5e-3, decay=0.5))


def overwrite_(model: HookedModel, task: Task, world: World) -> None:
    """The whole model learns another value for every forget fact."""
    rng = random.Random(f"overwritten-{world.seed}")
    items = []
    for fact in world.forget:
        values = [v for v in VALUES[fact.attribute].split() if v != fact.value]
        wrong = dataclasses.replace(fact, value=rng.choice(values))
        for text in wrong.statements():
            prompt, answer = text.rsplit(" ", 1)
            items.append(Example(prompt, f" {answer}"))
    _teach_(
        model,
        live_parameters(model),
        items,
        task.examples("retain"),
        Optimizer(400, 1e-3, decay=0.5),
    )


@torch.no_grad()
def permute_(model: HookedModel, task: Task, world: World) -> None:
    """Every answer letter says the next one: nothing is forgotten, and nothing is right."""
    untie_(model)
    unembedding = model.unembed.original_component.weight
    rows = letter_ids(model.tokenizer, task.prompt.letter_prompt(task.forget[0]), N_CHOICES)
    unembedding[rows[1:] + rows[:1]] = unembedding[rows].clone()


TREATMENTS: dict[str, Callable[[HookedModel, Task, World], None]] = {
    "output_filter": filter_output_,
    "overwritten": overwrite_,
    "permuted": permute_,
}
"""Treatments that are no unlearning method."""


def make_suspect(
    source: str, treatment: str, target: Path, task: Task, world: World, changes: Sequence[str]
) -> None:
    """Treat a model and save the result; a finished ``target`` is kept.

    Args:
        changes: ``METHOD.key=value`` settings of unlearning methods.
    """
    if target.exists():
        return
    model = load(source)
    if treatment in TREATMENTS:
        TREATMENTS[treatment](model, task, world)
    elif treatment:
        prefix = f"{treatment}."
        settings = tuple(c.removeprefix(prefix) for c in changes if c.startswith(prefix))
        train_method(model, task, UnlearnPlan(treatment, source, changes=settings))
    save(model, target)


def distil(teacher: str, seed: int, recipe: Recipe, target: Path) -> None:
    """Pretrain a fresh model on a teacher's distributions alone, never on a right answer.

    It sees the prompts of all facts, forget facts too, and only what the teacher says to them.
    """
    if target.exists():
        return
    model = load(teacher)
    student, words = untrained(seed, dataclasses.replace(recipe, start=recipe.start + 2))
    world = World(seed)
    facts = world.forget + world.retain + world.harmless
    rows = [words(s)["input_ids"] for fact in facts for s in fact.statements()]
    generator = torch.Generator().manual_seed(seed)
    draws = Draws(len(rows), recipe.statements, recipe.optimizer.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        tokens, real = pad(model, [rows[i] for i in share(draws[step])])
        with torch.no_grad():
            wanted = _logits(model, tokens)
        found = student(tokens).logits.log_softmax(-1)
        apart = torch.nn.functional.kl_div(found, wanted, reduction="none", log_target=True)
        before_last = real & real.roll(-1, dims=1)
        before_last[:, -1] = False
        return {"divergence": apart.sum(dim=-1)[before_last].mean()}

    student.train()
    fit(list(student.parameters()), loss, recipe.optimizer, label="distilling")
    with tempfile.TemporaryDirectory(dir=target.parent) as staging:
        student.eval().save_pretrained(staging)
        words.save_pretrained(staging)
        shutil.copytree(staging, f"{target}.partial", dirs_exist_ok=True)
    Path(f"{target}.partial").rename(target)


@torch.no_grad()
def _logits(model: HookedModel, tokens: Tensor) -> Tensor:
    return model(tokens).float().log_softmax(-1)


def _teach_(
    model: HookedModel,
    parameters: Sequence[torch.nn.Parameter],
    items: Sequence[Example],
    keep: Sequence[Example],
    optimizer: Optimizer,
) -> None:
    """Train on some answers while the retain answers are kept."""
    limit = model.cfg.n_ctx or 512
    generator = torch.Generator().manual_seed(0)
    sets: dict[str, tuple[list[Row], Draws]] = {}
    for name, examples in (("taught", items), ("kept", keep)):
        rows = example_rows(model, examples, "answer", limit)
        sets[name] = rows, Draws(len(rows), BATCH, optimizer.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        return {
            name: -log_likelihoods(model, [rows[i] for i in share(draws[step])]).mean()
            for name, (rows, draws) in sets.items()
        }

    fit(parameters, loss, optimizer, label="teaching")
