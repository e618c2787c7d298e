"""Low-rank adapters on a hooked model: inject, switch off, merge, save for PEFT.

Reference:
    Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685;
    the adapters themselves are PEFT's.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor

from mechunlearn.errors import unknown
from mechunlearn.hooks import LINEAR_MAPS, check_layers, linear_maps
from mechunlearn.models.weights import FUSED, fuse, plain_names
from mechunlearn.types import HookedModel

INSIDE = "_original_component"
"""Attribute under which a bridge keeps the module that it wraps."""


@dataclass(frozen=True, slots=True)
class LoRA:
    """Settings of the adapters.

    Raises:
        ValueError: For a negative rank or an unknown target.
    """

    rank: int = 0
    """0: no adapters, train the weights themselves."""
    alpha: float = 16.0
    """The update is ``alpha / rank * B A``."""
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEAR_MAPS
    """Weight matrices by TransformerLens' names: q k v o gate in out."""

    def __post_init__(self) -> None:
        if self.rank < 0 or not self.targets:
            raise ValueError(f"LoRA needs rank >= 0 and targets, not {self}")
        for target in self.targets:
            if target not in LINEAR_MAPS:
                raise unknown("LoRA target", target, LINEAR_MAPS)


class Adapter:
    """Adapters that sit in a hooked model until they are merged into its weights.

    Raises:
        ValueError: If no weight matrix of the chosen blocks matches the targets.
    """

    def __init__(
        self, model: HookedModel, settings: LoRA, blocks: Sequence[int] = (), seed: int = 0
    ) -> None:
        """Inject fresh adapters in float32, which change nothing until they are trained.

        Args:
            blocks: Default: all.
        """
        layers = list(blocks) or list(range(model.cfg.n_layers))
        check_layers(model, layers)
        self.model, self.settings, self.names = model, settings, plain_names(model)
        wanted = {id(b) for i in layers for b in linear_maps(model, i, settings.targets).values()}
        plain = model.original_model
        self.bridges = {name: m for name, m in plain.named_modules() if id(m) in wanted}
        if not self.bridges:
            raise ValueError(f"LoRA targets {settings.targets} match nothing in blocks {layers}")
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            lora_dropout=settings.dropout,
            target_modules=[f"{name}.{INSIDE}" for name in self.bridges],
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Conv1D is recognised by itself.
            torch.manual_seed(seed)
            inject_adapter_in_model(config, plain)
        self.layers: dict[str, Any] = {n: getattr(b, INSIDE) for n, b in self.bridges.items()}
        """PEFT's ``LoraLayer`` in place of each weight matrix, by the name of its bridge."""
        for layer in self.layers.values():
            layer.train()  # Dropout; the model itself stays in eval mode.
        for parameter in self.parameters:  # PEFT gives them the weights' type.
            parameter.data = parameter.data.float()

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained."""
        return [
            part["default"].weight
            for layer in self.layers.values()
            for part in (layer.lora_A, layer.lora_B)
        ]

    @contextmanager
    def off(self) -> Iterator[None]:
        """The original model inside a ``with`` block."""
        for layer in self.layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.enable_adapters(True)

    def remove(self, *, merge: bool) -> None:
        """Take the adapters out of the model; with ``merge``, their update stays in its weights."""
        for name, bridge in self.bridges.items():
            layer = self.layers[name].eval()
            if merge:
                layer.merge()
            setattr(bridge, INSIDE, layer.get_base_layer())
            layer.get_base_layer().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors`` for PEFT.

        Fused queries, keys and values, which the hooked model splits, get one adapter of three
        times the rank.
        """
        scale = self.settings.alpha / self.settings.rank
        fused = FUSED.get(self.model.original_model.config.model_type, "").rpartition(".")[2]
        pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for name, layer in self.layers.items():
            split = re.sub(r"\.[qkv]$", f".{fused}", name.replace(f"{INSIDE}.", ""))
            a, b = (part["default"].weight.detach() for part in (layer.lora_A, layer.lora_B))
            target = self.names.get(id(layer.get_base_layer().weight), split)
            pairs.setdefault(target.removesuffix(".weight"), []).append((a, b))
        tensors, ranks = {}, {}
        for target, parts in pairs.items():
            prefix = f"base_model.model.{target}"
            tensors[f"{prefix}.lora_A.weight"] = torch.cat([a for a, _ in parts])
            wide = torch.block_diag(*(b for _, b in parts))
            if len(parts) > 1:
                wide = fuse(self.model, list(wide.chunk(len(parts))))
            tensors[f"{prefix}.lora_B.weight"] = wide
            ranks[target] = self.settings.rank * len(parts)
        folder.mkdir(parents=True, exist_ok=True)
        LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,  # type: ignore[arg-type]
            lora_dropout=self.settings.dropout,
            target_modules=list(ranks),
            rank_pattern=ranks,
            alpha_pattern={target: scale * rank for target, rank in ranks.items()},
            fan_in_fan_out=any(target.endswith(".c_attn") for target in ranks),
            task_type="CAUSAL_LM",
        ).save_pretrained(str(folder))
        contiguous = {k: v.contiguous().cpu() for k, v in tensors.items()}
        save_file(contiguous, folder / "adapter_model.safetensors", metadata={"format": "pt"})
