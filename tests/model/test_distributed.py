"""Two processes take the same steps as one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
import torch
from accelerate import PartialState
from mechunlearn import load, load_task
from mechunlearn.attacks.relearning_data import Lessons
from mechunlearn.attacks.relearning_runs import relearn_
from mechunlearn.attacks.relearning_settings import RelearningConfig, Run
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.models import fingerprint
from mechunlearn.registry import find
from mechunlearn.presets import configured

task, found = load_task("organism"), {}
for name in ("npo", "rmu", "circuit_breakers"):
    method, model = find("method", name), load("organism:original", device="cpu")
    config = configured(method, "organism", ["optimizer.steps=3", "batch=8", "lora.dropout=0.0"])
    found[name] = method.apply_(model, task, config).terms
    found[name + " weights"] = fingerprint(model)
model = load("organism:never_knew", device="cpu")
rows = example_rows(model, [task.example(q) for q in task.forget[:16]], "answer", 100)
with torch.no_grad():
    before = log_likelihoods(model, rows).mean().item()
    with torch.enable_grad():
        config = RelearningConfig(rates=(1e-3,), steps=3, batch=8)
        relearn_(model, Lessons(rows), config, Run(1e-3, 0, 3))
    answers = log_likelihoods(model, rows)[:, 0].tolist()
found["relearning"] = {"gained": [sum(answers) / len(answers) - before], "answers": answers}
found["relearning weights"] = fingerprint(model)
state = PartialState(cpu=True)
open(f"{sys.argv[1]}-{state.num_processes}-{state.process_index}", "w").write(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    script, out = tmp_path / "script.py", tmp_path / "found"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, out], check=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *launch, script, out], check=True, env=env)
    read = {p.name.removeprefix("found-"): json.loads(p.read_text()) for p in tmp_path.glob("f*-*")}
    assert sorted(read) == ["1-0", "2-0", "2-1"]
    assert read["2-0"] == read["2-1"]
    assert read["1-0"]["relearning"]["gained"][0] > 0.1
    for name in ("npo", "rmu", "circuit_breakers", "relearning"):
        for term, values in read["1-0"][name].items():
            assert read["2-0"][name][term] == pytest.approx(values, rel=1e-4, abs=1e-4)
