"""Memory that grows with the vocabulary: the estimate against what is measured.

Run with: pytest -m slow -n 0 -s tests/benchmarks/test_vocabulary_memory.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from mechunlearn.organisms.recipe import tokenizer
from mechunlearn.tasks.world import World

SCRIPT = Path(__file__).with_name("measure_vocabulary.py")
FREEING = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
"""What is freed is given back, so that a peak is what was needed at one time."""


def model_of(vocabulary: int, folder: Path) -> Path:
    """A random Llama of four blocks, with the organism's tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        vocab_size=vocabulary, tie_word_embeddings=False,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer(World(0)).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("vocabulary", [32_000, 64_000, 256_000])
def test_the_estimate_is_within_a_quarter(vocabulary: int, tmp_path: Path) -> None:
    folder, ratios = model_of(vocabulary, tmp_path), {}
    for job in ("scoring", "texts", "training", "saving"):
        for dtype in ("float32", "bfloat16"):
            command = [sys.executable, str(SCRIPT), str(folder), job, dtype]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=os.environ | FREEING
            )
            found = json.loads(done.stdout.splitlines()[-1])
            ratios[job, dtype] = found["estimate"] / found["peak"]
            print(  # noqa: T201
                f"| {vocabulary} | {job} | {dtype} | {found['peak'] / 1e6:.0f} | "
                f"{found['estimate'] / 1e6:.0f} | {ratios[job, dtype]:.2f} |"
            )
    assert {key: r for key, r in ratios.items() if not 0.75 <= r <= 1.25} == {}
