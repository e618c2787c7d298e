"""RMU: push the forget set's activations onto a random vector, hold the retain set's in place.

    L =         mean_t ||h_l(x_f; theta) - c u||^2 / d
        + alpha mean_t ||h_l(x_r; theta) - h_l(x_r; theta_0)||^2 / d

with ``u = r / |r|``, ``r_i ~ Uniform[0, 1)``, ``h_l`` the output of block ``l``, means over real
tokens, and AdamW on a few weight matrices of a few blocks.

Reference:
    Li et al. 2024, The WMDP Benchmark, arXiv:2403.03218, section 4 (Representation Misdirection for
    Unlearning); settings of the released Zephyr_RMU in the preset ``paper``.
    Differs: padding does not count towards the means; forget and retain texts are drawn at random
    instead of in file order; ``c`` can be given in units of the median activation norm, because a
    ``c`` below about twice that norm does nothing on small models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.engine import batches, token_budget
from mechunlearn.bench.rows import pad
from mechunlearn.hooks import check_layers, forward_to, mlp_parameters
from mechunlearn.train import Optimizer, TrainLog, fit
from mechunlearn.types import HookedModel, Task


@dataclass(frozen=True, slots=True)
class RMUConfig:
    """Settings; the defaults are those of the released Zephyr_RMU."""

    layer: int = 7
    """Block whose output is steered; the forward stops there."""
    blocks: tuple[int, ...] = (5, 6, 7)
    """Blocks that are trained."""
    weights: Literal["down_proj", "mlp"] = "down_proj"
    """The MLP's output matrix alone, or all of its parameters."""
    coefficient: float = 6.5
    """Length c of the target vector."""
    relative: bool = False
    """Whether ``coefficient`` counts in median activation norms of the layer."""
    alpha: float = 1200.0
    """Weight of the retain term."""
    batch: int = 4
    """Forget texts, and retain texts, per step."""
    max_tokens: int = 512
    optimizer: Optimizer = Optimizer(steps=150, lr=5e-5, weight_decay=0.01)
    seed: int = 42


class RMU:
    """Representation Misdirection for Unlearning; see the module's text."""

    presets: ClassVar[dict[str, RMUConfig]] = {
        "paper": RMUConfig(),
        # Found on the shipped organisms: c = 2.4 leaves 39 % on one of the two seeds.
        "organism": RMUConfig(
            layer=1,
            blocks=(0, 1),
            weights="mlp",
            coefficient=4.0,
            relative=True,
            alpha=2.0,
            batch=32,
            optimizer=Optimizer(steps=500, lr=3e-3),
        ),
        # Found on SmolLM2-135M (30 blocks).
        "small": RMUConfig(
            layer=9,
            blocks=(7, 8, 9),
            weights="mlp",
            coefficient=3.0,
            relative=True,
            alpha=40.0,
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=180, lr=5e-4),
        ),
    }

    @staticmethod
    def apply_(model: HookedModel, task: Task, config: RMUConfig) -> TrainLog:
        """Train the model in place; see ``rmu_``."""
        return rmu_(model, task, config)


def rmu_(model: HookedModel, task: Task, config: RMUConfig) -> TrainLog:
    """Unlearn ``task.forget_text`` in place, keeping ``task.retain_text``.

    No second model is needed: the retain texts' activations are stored before training
    (``tokens x d_model`` numbers in the model's dtype).

    Raises:
        ValueError: If a layer does not exist, no trained block comes before or at the steered
            one, or a corpus is empty.
    """
    check_layers(model, [config.layer, *config.blocks])
    if max(config.blocks) > config.layer:
        raise ValueError(
            f"blocks {config.blocks} reach past layer {config.layer}, where the loss is read; "
            "train blocks up to that layer"
        )
    if not task.forget_text or not task.retain_text:
        raise ValueError(f"RMU needs forget and retain texts, and task {task.name!r} lacks some")
    generator = torch.Generator().manual_seed(config.seed)
    steps = config.optimizer.steps
    forget = _token_rows(model, task.forget_text, config.max_tokens)
    retain = _token_rows(model, task.retain_text, config.max_tokens)
    forget_order = _draws(len(forget), steps * config.batch, generator)
    retain_order = _draws(len(retain), steps * config.batch, generator)
    frozen = _activations(model, retain, sorted(set(retain_order)), config.layer)
    unit = torch.rand(model.cfg.d_model, generator=generator).to(model.cfg.device)
    unit = unit / unit.norm()
    scale = config.coefficient
    if config.relative:
        norms = _activations(model, forget, sorted(set(forget_order[:256])), config.layer)
        scale *= float(torch.cat(list(norms.values())).float().norm(dim=-1).median())
    target = scale * unit

    def distance(rows: list[list[int]], goal: Tensor | None, picked: Sequence[int]) -> Tensor:
        tokens, real = pad(model, [rows[i] for i in picked])
        reached = forward_to(model, tokens, config.layer)[real].float()
        if goal is None:
            goal = torch.cat([frozen[i] for i in picked]).to(reached.device).float()
        return (reached - goal).pow(2).mean()

    def loss(step: int) -> dict[str, Tensor]:
        window = slice(step * config.batch, (step + 1) * config.batch)
        return {
            "forget": distance(forget, target, forget_order[window]),
            "retain": config.alpha * distance(retain, None, retain_order[window]),
        }

    parameters = [p for i in config.blocks for p in mlp_parameters(model, i, config.weights)]
    return fit(parameters, loss, config.optimizer, label="RMU")


def _token_rows(model: HookedModel, texts: Sequence[str], limit: int) -> list[list[int]]:
    rows = [ids[:limit] for ids in model.tokenizer(list(texts))["input_ids"]]
    return [row for row in rows if len(row) > 1]


def _draws(n: int, count: int, generator: torch.Generator) -> list[int]:
    """``count`` indices below ``n``: shuffled passes, so that each is drawn equally often."""
    passes = [torch.randperm(n, generator=generator) for _ in range(-(-count // n))]
    return torch.cat(passes)[:count].tolist()


@torch.no_grad()
def _activations(
    model: HookedModel, rows: list[list[int]], wanted: Sequence[int], layer: int
) -> dict[int, Float[Tensor, "pos d_model"]]:
    """Output of block ``layer`` at every token of the wanted rows, kept on the CPU."""
    found = {}
    for batch in batches([len(rows[i]) for i in wanted], token_budget(model)):
        picked = [wanted[j] for j in batch]
        tokens, _ = pad(model, [rows[i] for i in picked])
        out = forward_to(model, tokens, layer).cpu()
        for i, activation in zip(picked, out, strict=True):
            found[i] = activation[: len(rows[i])].clone()
    return found
