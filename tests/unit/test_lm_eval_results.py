"""Results files of lm-eval, in and out."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mechunlearn.bench.lm_eval_results import Result, read_results, write_results
from mechunlearn.types import Score

THEIRS = {
    "results": {
        "wmdp_bio": {"alias": "wmdp_bio", "acc,none": 0.64, "acc_stderr,none": 0.013},
        "gsm8k": {"exact_match,strict-match": 0.1, "exact_match_stderr,strict-match": "N/A"},
        "mmlu": {"alias": "mmlu"},
    },
    "n-samples": {"wmdp_bio": {"original": 1273, "effective": 1273}},
}
"""As version 0.4 writes them."""


def test_theirs_are_read(tmp_path: Path) -> None:
    file = tmp_path / "results_2026.json"
    file.write_text(json.dumps(THEIRS))
    assert read_results(file) == (
        Result("wmdp_bio", "acc", 0.64, 0.013, 1273),
        Result("gsm8k", "exact_match (strict-match)", 0.1),
    )


def test_ours_come_back(tmp_path: Path) -> None:
    logits = np.eye(4)[[0, 1, 2, 3, 0]]
    score = Score("none", logits, np.array([0, 1, 2, 0, 1]))
    file = write_results({"forget": score}, "mine", "some/model", tmp_path / "results.json")
    (result,) = read_results(file)
    assert (result.task, result.metric, result.value, result.n) == ("mine_forget", "acc", 0.6, 5)
    assert result.stderr == pytest.approx(math.sqrt(0.6 * 0.4 / 4))
    assert json.loads(file.read_text())["model_name"] == "some/model"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is no JSON"),
        ("[1]", 'has no "results"'),
        ('{"results": [1]}', 'has no "results"'),
        ('{"results": {"a": 1}}', 'has no "results"'),
        ('{"results": {"a": {"acc,none": "N/A"}}}', "holds no metric"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path / "r.json")
    with pytest.raises(ValueError, match="cannot be read"):
        read_results(tmp_path / "missing.json")
