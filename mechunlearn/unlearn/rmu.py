"""RMU: push the forget set's activations onto a random vector, hold the retain set's in place.

    L =         mean_t ||h_l(x_f; theta) - c u||^2 / d
        + alpha mean_t ||h_l(x_r; theta) - h_l(x_r; theta_0)||^2 / d

with ``u = r / |r|``, ``r_i ~ Uniform[0, 1)``, ``h_l`` the output of block ``l``, means over real
tokens, and AdamW on a few weight matrices of a few blocks. The length ``c`` is a number, a multiple
of the layer's median activation norm, or (adaptive RMU) a multiple of each token's own norm in the
original. With ``per_topic`` every forget domain has a vector ``u`` of its own, and steps alternate
between the domains.

Reference:
    Li et al. 2024, The WMDP Benchmark, arXiv:2403.03218, section 4 (Representation Misdirection for
    Unlearning); settings of the released Zephyr_RMU in the preset ``paper``. Adaptive:
    Huu-Tien et al. 2024, arXiv:2408.06223.
    Differs: padding does not count towards the means; forget and retain texts are drawn at random
    instead of in file order; the adaptive variant's released code takes one scalar, the mean norm
    of the first batch, in place of each token's norm; ``c`` can be given in units of the median
    activation norm, because a ``c`` below about twice that norm does nothing on small models.
    ``paper`` further differs from the run that gave Zephyr_RMU in its data: that one alternated
    between biology and cybersecurity, cut at 512 and 768 tokens, where a task here is one domain
    cut at 512; its retain text was Wikitext-2's test split, here a task's ``plain_text``, which is
    the train split in the WMDP tasks.
    Limits: it disturbs what later blocks read and removes nothing: moving the activations back
    along ``u`` can undo it. ``c``, ``alpha`` and the blocks have to be found anew for every model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.batches import batches, in_batches, token_budget
from mechunlearn.bench.rows import pad, placed, real_places
from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.hooks import check_blocks, forward_to, mlp_parameters
from mechunlearn.train import Draws, Optimizer, Share, TrainLog, Watch, fit
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.sequences import corpus, token_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RMUConfig(Settings):
    """Settings; the defaults are those of the released Zephyr_RMU."""

    layer: int = 7
    """Block whose output is steered; the forward stops there."""
    blocks: tuple[int, ...] = (5, 6, 7)
    """Blocks that are trained."""
    weights: Literal["down_proj", "mlp"] = "down_proj"
    """The MLP's output matrix alone, or all of its parameters."""
    coefficient: float = 6.5
    """Length c of the target vector."""
    length: Literal["absolute", "median_norm", "token_norm"] = "absolute"
    """What ``coefficient`` multiplies: 1, the layer's median activation norm, or (adaptive RMU)
    the norm of each token's activation in the original."""
    per_topic: bool = False
    """A target vector for each of ``task.forget_topics``; steps alternate between them. Refused
    where a task does not say the topic of every text."""
    retain_corpus: Literal["retain", "plain"] = "retain"
    """What is held in place: text that states the retain facts, or text about neither set."""
    alpha: float = 1200.0
    """Weight of the retain term."""
    optimizer: Optimizer = Optimizer(steps=150, lr=5e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        self.refuse_below_zero("coefficient", "alpha")

    def check(self, layers: int) -> None:
        """Refuse blocks that do not exist or reach past the steered layer, and adapters."""
        if not self.blocks:
            raise ValueError("blocks is empty; name at least one block to train")
        check_blocks(layers, [self.layer, *self.blocks])
        if max(self.blocks) > self.layer:
            raise ValueError(
                f"blocks {self.blocks} reach past layer {self.layer}, where the loss is read; "
                "train blocks up to that layer"
            )
        if self.lora.rank:
            raise ValueError("RMU trains a few weight matrices and has no use for lora.rank")

    def work(self, shape: Shape) -> Work:
        """A few matrices of a few blocks; the forward ends at the steered one.

        The first of the blocks keeps its MLP alone, or what goes into its output matrix.
        """
        plain = self.retain_corpus == "plain"
        matrices = 1 if self.weights == "down_proj" else 3 if shape.gated else 2
        return Work(
            weights=float(len(self.blocks) * matrices * shape.d_mlp * shape.d_model),
            adapters=False,
            rows=(("texts", "forget"), ("plain" if plain else "texts", "retain")),
            forward=self.layer + 1,
            backward=self.layer - min(self.blocks) + (0.1 if matrices == 1 else 0.5),
            recorded=0.5,
            kept=0.5,
            states=4.0,
        )


class RMU:
    """Representation Misdirection for Unlearning; see the module's text."""

    presets: ClassVar[dict[str, RMUConfig]] = {
        "paper": RMUConfig(per_topic=True, retain_corpus="plain"),
        "adaptive": RMUConfig(
            coefficient=5.0,
            length="token_norm",
            per_topic=True,
            optimizer=Optimizer(steps=500, lr=5e-5, weight_decay=0.01),
        ),
        # Found on the shipped organisms: c = 2.4 leaves 39 % on one of the two seeds.
        "organism": RMUConfig(
            layer=1,
            blocks=(0, 1),
            weights="mlp",
            coefficient=4.0,
            length="median_norm",
            alpha=2.0,
            batch=32,
            optimizer=Optimizer(steps=500, lr=3e-3),
        ),
        # Retain answers in chat suffer first: with c = 4 and alpha = 4 they fall to 40 %.
        "chat": RMUConfig(
            layer=1,
            blocks=(0, 1),
            weights="mlp",
            coefficient=2.0,
            length="median_norm",
            alpha=12.0,
            batch=32,
            optimizer=Optimizer(steps=350, lr=3e-3, decay=0.5),
        ),
        # Found on SmolLM2-135M (30 blocks).
        "small": RMUConfig(
            layer=9,
            blocks=(7, 8, 9),
            weights="mlp",
            coefficient=3.0,
            length="median_norm",
            alpha=40.0,
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=180, lr=5e-4),
        ),
    }
    stronger = "coefficient, optimizer.lr or optimizer.steps"
    gentler = "raise alpha or lower optimizer.lr"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: RMUConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place; see ``rmu_``."""
        return rmu_(model, task, config, watch)


def rmu_(model: HookedModel, task: Task, config: RMUConfig, watch: Watch | None = None) -> TrainLog:
    """Unlearn ``task.forget_text`` in place, keeping ``task.retain_text`` or ``plain_text``.

    Where a task has no such texts, its questions with their answers stand in.

    No second model is needed: the retain texts' activations are stored before training
    (``tokens x d_model`` numbers in the model's dtype).

    Raises:
        ValueError: If a layer does not exist, no trained block comes before or at the steered
            one, a corpus is empty, topics are asked for and missing, or adapters are asked for.
    """
    config.check(model.cfg.n_layers)
    generator = torch.Generator().manual_seed(config.seed)
    steps, batch = config.optimizer.steps, config.batch
    forget = token_rows(model, task, "forget", config.max_tokens)
    retain = token_rows(model, task, config.retain_corpus, config.max_tokens)
    order = _forget_order(task, config, generator)
    retain_draws = Draws(len(retain), batch, steps, generator)
    frozen = activations(model, retain, retain_draws.all, config.layer)
    topics = dict.fromkeys(topic for topic, _ in order)
    vectors = {topic: _unit(model, generator) for topic in topics}
    goals = _goals(model, forget, order, config)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        topic, picked = order[step]
        forget_rows, retain_rows = share(picked), share(retain_draws[step])
        vector = vectors[topic]
        lengths = placed(torch.cat([goals[i] for i in forget_rows]), vector.device)[:, None]
        held = placed(torch.cat([frozen[i] for i in retain_rows]), vector.device)
        rows = [forget[i] for i in forget_rows] + [retain[i] for i in retain_rows]
        reached = _reached(model, rows, config.layer)
        forgetting, keeping = reached.split([len(lengths), len(held)])
        n_forget = sum(len(forget[i]) for i in picked)
        n_retain = sum(len(retain[i]) for i in retain_draws[step])
        return {
            "forget": _distance(forgetting, lengths * vector, n_forget),
            "retain": config.alpha * _distance(keeping, held, n_retain),
        }

    parameters = [p for i in config.blocks for p in mlp_parameters(model, i, config.weights)]
    return fit(parameters, loss, config.optimizer, label="RMU", watch=watch, model=model)


def _reached(
    model: HookedModel, rows: Sequence[list[int]], layer: int
) -> Float[Tensor, "token d_model"]:
    """Output of block ``layer`` at the rows' tokens, row after row, in float32; differentiable.

    Rows of different lengths are computed apart, since padding costs as much as words.
    """
    lengths = torch.tensor([len(row) for row in rows])
    starts = lengths.cumsum(0) - lengths
    parts, places = [], []
    for batch in batches(lengths.tolist(), token_budget(model)):
        own = [rows[i] for i in batch]
        tokens, _ = pad(model, own)
        there = placed(real_places(own), tokens.device)
        parts.append(forward_to(model, tokens, layer).flatten(0, 1)[there].float())
        places += [torch.arange(len(rows[i])) + starts[i] for i in batch]
    found = torch.cat(parts)
    return found[placed(torch.cat(places).argsort(), found.device)]


def _distance(reached: Tensor, goal: Tensor, tokens: int) -> Float[Tensor, ""]:
    """This share's part of the mean square, over all ``tokens`` of the step."""
    return (reached - goal.to(reached)).pow(2).sum() / (tokens * reached.shape[-1])


def _unit(model: HookedModel, generator: torch.Generator) -> Float[Tensor, " d_model"]:
    """A random vector of the positive orthant, of length 1."""
    vector = torch.rand(model.cfg.d_model, generator=generator).to(model.cfg.device)
    return vector / vector.norm()


def _forget_order(
    task: Task, config: RMUConfig, generator: torch.Generator
) -> list[tuple[str, list[int]]]:
    """Topic and forget texts of every step."""
    steps, batch = config.optimizer.steps, config.batch
    members: dict[str, list[int]] = {}
    topics = task.forget_topics if config.per_topic else {}
    texts = corpus(task, "forget")
    untold = sum(text not in topics for text in texts)
    if config.per_topic and untold:
        raise ValueError(
            f"per_topic needs the topic of every forget text, and task {task.name!r} has none for "
            f"{untold} of {len(texts)}; set per_topic=False for one vector for all"
        )
    for i, text in enumerate(texts):
        members.setdefault(topics.get(text, ""), []).append(i)
    draws = {t: Draws(len(own), batch, steps, generator) for t, own in members.items()}
    names = list(members)
    order = []
    for step in range(steps):
        topic, turn = names[step % len(names)], step // len(names)
        order.append((topic, [members[topic][i] for i in draws[topic][turn]]))
    return order


def _goals(
    model: HookedModel,
    forget: list[list[int]],
    order: list[tuple[str, list[int]]],
    config: RMUConfig,
) -> Mapping[int, Float[Tensor, " pos"]]:
    """Length of the target vector at every token of every forget text that is drawn."""
    drawn = [i for _, picked in order for i in picked]
    wanted = sorted(set(drawn))
    if config.length == "token_norm":
        states = activations(model, forget, wanted, config.layer)
        return {i: config.coefficient * states[i].float().norm(dim=-1) for i in wanted}
    length = config.coefficient
    if config.length == "median_norm":
        sample = activations(model, forget, drawn[:256], config.layer)
        length *= float(torch.cat(list(sample.values())).float().norm(dim=-1).median())
    return {i: torch.full((len(forget[i]),), length) for i in wanted}


@torch.no_grad()
def activations(
    model: HookedModel, rows: list[list[int]], wanted: Sequence[int], layer: int
) -> dict[int, Float[Tensor, "pos d_model"]]:
    """Output of block ``layer`` at every token of the wanted rows, kept on the CPU."""
    states, chosen = {}, sorted(set(wanted))

    def compute(batch: Sequence[int]) -> None:
        picked = [chosen[j] for j in batch]
        tokens, _ = pad(model, [rows[i] for i in picked])
        out = forward_to(model, tokens, layer).cpu()
        for i, activation in zip(picked, out, strict=True):
            states[i] = activation[: len(rows[i])].clone()

    in_batches(model, [len(rows[i]) for i in chosen], compute)
    return states
