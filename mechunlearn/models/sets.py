"""Published models by a name: an original, what was unlearned from it, and what never knew."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mechunlearn.errors import unknown

TOFU_1B = "open-unlearning/tofu_Llama-3.2-1B-Instruct"
NEG_TOFU_1B = tuple(
    f"open-unlearning/neg_tofu_Llama-3.2-1B-Instruct_{data}_lr{rate}e-05_wd0.01_epoch{epochs}"
    for data in ("retain90", "retain90_forget10_pert", "retain90_celeb10_bio")
    for rate in range(1, 6)
    for epochs in (5, 10)
)
"""Retrained without a tenth of the authors; with wrong facts about them; with other people's."""


@dataclass(frozen=True, slots=True)
class ModelSet:
    """An original model, models that others made by unlearning it, and some that never knew."""

    original: str
    unlearned: tuple[str, ...]
    configuration: Mapping[str, Any]
    """The original's ``config.json`` as published: what memory is reckoned from before anything
    is downloaded."""
    never_knew: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By task, models trained like the original without the forget facts; an audit takes the first
    as its control."""
    pattern: str = ""
    """Regular expression of the ids of all models that were made from it; empty: only those
    named."""
    tasks: Mapping[str, str] = field(default_factory=dict)
    """What an unlearned model's id says of its task: a part of the id, and the task."""
    settings: tuple[str, ...] = ()
    """How these models are asked: ``--set`` of the task."""

    def holds(self, model: str) -> bool:
        """Whether a model is of this set."""
        known = (
            self.original,
            *self.unlearned,
            *(m for own in self.never_knew.values() for m in own),
        )
        return model in known or bool(self.pattern and re.fullmatch(self.pattern, model))

    def task(self, unlearned: Sequence[str]) -> str:
        """The task that the ids of some unlearned models name; empty where it is not one."""
        found = {task for model in unlearned for part, task in self.tasks.items() if part in model}
        return found.pop() if len(found) == 1 else ""

    def control(self, task: str) -> str:
        """The never-knew model of a task; empty where there is none."""
        return next(iter(self.never_knew.get(task, ())), "")

    def about(self, task: str) -> tuple[str, ...]:
        """The unlearned models of a task's domain: ``...-bio`` are left out of ``wmdp-cyber``."""
        domains = ("bio", "cyber", "chem")
        asked = task.rpartition("-")[2]
        others = tuple(f"-{d}" for d in domains if d != asked) if asked in domains else ()
        return tuple(name for name in self.unlearned if not name.endswith(others))


SETS = {
    "zephyr": ModelSet(
        "HuggingFaceH4/zephyr-7b-beta",
        (
            "cais/Zephyr_RMU",
            "J4Q8/zephyr-npo-bio",
            "J4Q8/zephyr-npo-cyber",
            "J4Q8/zephyr-dpo-bio",
            "J4Q8/zephyr-dpo-cyber",
        ),
        # config.json of HuggingFaceH4/zephyr-7b-beta, which is Mistral-7B-v0.1's.
        configuration={
            "model_type": "mistral",
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
            "tie_word_embeddings": False,
        },
    ),
    "tofu-1b": ModelSet(
        f"{TOFU_1B}_full",
        tuple(
            f"open-unlearning/unlearn_tofu_Llama-3.2-1B-Instruct_forget10_{x}"
            for x in (
                "NPO_lr1e-05_beta0.1_alpha1_epoch10",
                "RMU_lr1e-05_layer10_scoeff100_epoch10",
                "SimNPO_lr5e-05_b3.5_a1_d1_g0.25_ep5",
            )
        ),
        # config.json of meta-llama/Llama-3.2-1B-Instruct, from which all were trained.
        configuration={
            "model_type": "llama",
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
        },
        never_knew={
            "tofu": (f"{TOFU_1B}_retain90", *NEG_TOFU_1B),
            "tofu-forget05": (f"{TOFU_1B}_retain95",),
            "tofu-forget01": (f"{TOFU_1B}_retain99",),
        },
        pattern=r"open-unlearning/(unlearn_|neg_|pos_)?tofu_Llama-3\.2-1B-Instruct_.+",
        tasks={"_forget10": "tofu", "_forget05": "tofu-forget05", "_forget01": "tofu-forget01"},
        settings=("task.chat=system", "task.system=You are a helpful assistant."),
    ),
    "deep-ignorance": ModelSet(
        "EleutherAI/deep-ignorance-unfiltered",
        (
            "EleutherAI/deep-ignorance-unfiltered-cb",
            "EleutherAI/deep-ignorance-unfiltered-cb-lat",
        ),
        # A GPT-NeoX of 6.9B, as Pythia's.
        configuration={
            "model_type": "gpt_neox",
            "vocab_size": 50304,
            "hidden_size": 4096,
            "intermediate_size": 16384,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
        },
        never_knew={
            "wmdp-bio": (
                "EleutherAI/deep-ignorance-e2e-strong-filter",
                "EleutherAI/deep-ignorance-strong-filter-pt-weak-filter-anneal",
            )
        },
        pattern=r"EleutherAI/deep-ignorance-unfiltered-.+",
        tasks={"deep-ignorance-unfiltered": "wmdp-bio"},
    ),
}
"""Published models by a name: ``zephyr`` is what Łucki et al. attack (arXiv:2409.18025);
``tofu-1b`` are those of open-unlearning (arXiv:2506.12618), with thirty that never knew;
``deep-ignorance`` were pretrained on filtered text (arXiv:2508.06601)."""


def model_set(name: str) -> ModelSet:
    """A set of models by name.

    Raises:
        ValueError: For an unknown name.
    """
    if name not in SETS:
        raise unknown("set of models", name, SETS)
    return SETS[name]


def set_of(models: Sequence[str]) -> ModelSet | None:
    """The set that all of some models belong to, by their ids alone."""
    sets = (s for s in SETS.values() if s.pattern)
    return next((s for s in sets if models and all(s.holds(m) for m in models)), None)
