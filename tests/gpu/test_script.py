"""The script that measures a GPU, with a tiny model, wherever the tests run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
PARTS = {
    "loading", "letters, zero-shot", "letters, five-shot", "cloze", "generation",
    "lens at all layers", "direction statistics", "outlier tokens", "ablation sweep", "SNIP scores",
    "RMU", "NPO", "LoRA relearning", "GCG",
}  # fmt: skip


@pytest.mark.slow
def test_every_part_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--config", "tiny", "--out", str(out), "--profile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(out.read_text())
    rows = {row["part"]: row for row in report["rows"]}
    assert {part: row["error"] for part, row in rows.items() if row["error"]} == {}
    assert done.returncode == 0
    assert set(rows) == PARTS
    about = {"card", "driver", "cuda", "torch", "transformers", "transformer-lens", "mechunlearn"}
    assert set(report) == about | {"threads", "config", "dtype", "seconds", "rows"}
    assert report["config"] == "tiny"
    for row in rows.values():
        assert row["rate"] > 0
        assert row["seconds"] > 0
    bare = {part for part, row in rows.items() if row["of_bare"] is not None}
    assert bare == {"letters, zero-shot", "letters, five-shot", "cloze"}
    assert all(rows[part]["tflops"] > 0 for part in (*bare, "generation", "SNIP scores"))
    assert all(rows[part]["estimate"] > 0 for part in ("loading", *bare, "GCG"))
    assert all(part in done.stdout for part in PARTS)
    assert "Self CPU" in done.stdout
