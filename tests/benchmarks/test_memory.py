"""Memory foretold from a configuration against memory measured, in a process of its own.

Run with: pytest -m slow -n 0 -s tests/benchmarks/test_memory.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from mechunlearn.organisms.recipe import tokenizer
from mechunlearn.tasks.world import World

SCRIPT = Path(__file__).with_name("measure_memory.py")
SIZES = {"hidden_size": 512, "intermediate_size": 768, "num_hidden_layers": 8, "vocab_size": 8192,
         "num_attention_heads": 4}  # fmt: skip
GROUPED = SIZES | {"num_key_value_heads": 2, "head_dim": 128}
FAMILIES = {
    "llama": LlamaConfig(tie_word_embeddings=True, **GROUPED),
    "gpt2": GPT2Config(n_embd=512, n_layer=8, n_head=4, n_positions=192, vocab_size=8192),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    "mistral": MistralConfig(**GROUPED),
    "gemma2": Gemma2Config(**GROUPED),
    "qwen3": Qwen3Config(tie_word_embeddings=True, **GROUPED),
}
"""20 to 30 million parameters."""
ATTACKS = {
    "baseline": (),
    "direction_ablation": (),
    "ablation_search": ("trials=2", "random=1"),
    "steering_vectors": ("strengths=(1.0,)",),
    "latent_perturbation": ("steps=2",),
    "logit_lens": (),
    "tuned_lens": ("tokens=2048", "steps=2"),
    "probes": (),
    "probes_retain": (),
    "patching": (),
    "patchscope": (),
    "pruning_weights": ("levels=(0.05,0.2)", "examples=16"),
    "pruning_neurons": ("levels=(0.05,0.2)", "examples=16"),
    "pruning_heads": ("levels=(0.05,0.2)", "examples=16"),
    "quantization": (),
    "deployed": ("formats=('nf4','q4_0')",),
    "merging": ("lambdas=(0.5,)", "ranks=(1,)"),
    "fewshot_retain": ("shots=(1,)", "draws=1"),
    "rewording": (),
    **{
        f"relearning_{data}": ("rates=(1e-5,)", "seeds=(0,)", "steps=2")
        for data in ("disjoint", "tested", "retain", "text")
    },
    "perturbation_naive": (),
    "perturbation_informed": ("rounds=2",),
    "jailbreak": (),
    "gcg": ("search.steps=2", "search.restarts=1"),
    "soft_prompt": ("steps=2",),
}
"""All but ``relearning_questions``, which is ``relearning_disjoint`` with other examples and which
a question file has no data for; few steps, since memory does not grow with them."""
FREEING = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
"""What is freed is given back, so that a peak is what was needed at one time."""


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four questions of each set and a few texts."""
    task = World(0).task()
    lines: list[dict[str, object]] = [
        {"set": role, "stem": q.stem, "choices": q.choices, "answer": q.answer, "source": q.source}
        for role in ("forget", "retain")
        for q in getattr(task, role)[::8][:24]
    ]
    for role in ("forget_text", "plain_text"):
        lines += [{"set": role, "text": text} for text in getattr(task, role)[:16]]
    file = tmp_path_factory.mktemp("questions") / "task.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_estimate_is_near(family: str, questions: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(tmp_path)
    tokenizer(World(0)).save_pretrained(tmp_path)
    changes = json.dumps(ATTACKS)
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(questions), changes]
    environment = os.environ | FREEING
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    ratios = {}
    for line in done.stdout.splitlines():
        found = json.loads(line)
        ratios[found["attack"]] = found["estimate"] / found["peak"]
        print(  # noqa: T201
            f"| {family} | {found['attack']} | {found['seconds']} | {found['peak'] / 1e6:.0f} | "
            f"{found['estimate'] / 1e6:.0f} | {ratios[found['attack']]:.2f} |"
        )
    assert set(ratios) == set(ATTACKS)
    assert {a: r for a, r in ratios.items() if not 0.75 <= r <= 1.34} == {}
