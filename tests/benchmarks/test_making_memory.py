"""Memory of making models: foretold from a configuration against measured, as ``test_memory``.

Run with: pytest -m slow -n 0 -s tests/benchmarks/test_making_memory.py
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_memory import FAMILIES, FREEING
from transformers import AutoModelForCausalLM

from mechunlearn.organisms.recipe import tokenizer
from mechunlearn.tasks.world import World

SCRIPT = Path(__file__).with_name("measure_making.py")
LORA = ("lora.rank=16",)
RUNS = {
    "rmu": ("layer=3", "blocks=(1,2,3)", "batch=16"),
    "rmu down_proj": ("layer=7", "blocks=(5,6,7)", "weights=down_proj", "batch=16"),
    "npo": (),
    "npo lora": (*LORA, "batch=24"),
    "npo lora recompute": (*LORA, "optimizer.recompute=True", "batch=48"),
    "npo accumulate": ("optimizer.accumulate=4", "batch=32"),
    "npo kl": ("retain=kl", "batch=16"),
    "dpo": ("batch=12",),
    "dpo lora": (*LORA, "batch=16"),
    "simnpo": (),
    "simnpo lora": (*LORA, "batch=16"),
    "undial lora": (*LORA, "batch=16"),
    "circuit_breakers": ("layers=(2,4)", "batch=8"),
    "circuit_breakers recompute": (
        "layers=(2,4)", "batch=16", "counts=published", "optimizer.recompute=True",
    ),
}  # fmt: skip
"""Few steps, since memory does not grow with them."""


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions with all letters for answers, and texts of unlike lengths."""
    task, rng = World(0).task(), random.Random(0)
    lines: list[dict[str, object]] = [
        {"set": role, "stem": q.stem, "choices": q.choices, "answer": q.answer, "source": q.source}
        for role in ("forget", "retain")
        for q in rng.sample(getattr(task, role), 64)
    ]
    for role in ("forget_text", "retain_text", "plain_text"):
        texts = getattr(task, role)
        lines += [
            {"set": role, "text": " ".join(texts[i : i + 2 + i % 7])} for i in range(0, 380, 6)
        ]
    file = tmp_path_factory.mktemp("questions") / "task.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_estimate_is_a_twentieth_below_to_a_quarter_above(
    family: str, questions: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(tmp_path)
    tokenizer(World(0)).save_pretrained(tmp_path)
    runs = json.dumps({name: ("optimizer.steps=3", *changes) for name, changes in RUNS.items()})
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), str(questions), runs],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | FREEING,
    )
    ratios = {}
    for found in map(json.loads, done.stdout.splitlines()):
        ratios[found["name"]] = found["estimate"] / found["peak"]
        print(  # noqa: T201
            f"| {family} | {found['name']} | {found['seconds']} | {found['peak'] / 1e6:.0f} | "
            f"{found['estimate'] / 1e6:.0f} | {ratios[found['name']]:.2f} |"
        )
    assert set(ratios) == set(RUNS)
    assert {name: r for name, r in ratios.items() if not 0.95 <= r <= 1.25} == {}
