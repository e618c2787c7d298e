"""On real outputs of models that know and never knew: the source's own values and figures.

The folder with them is named by ``TOFU_OUTPUTS``; without it these tests are skipped.
"""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from mechunlearn.bench.measures.truth_ratio import truth_ratio
from mechunlearn.bench.published import forget_quality
from mechunlearn.registry import find

DATA = Path(os.environ.get("TOFU_OUTPUTS", "no outputs"))
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "calibrate_measures.py"
SETS = [(model, split) for model in ("llama2-7b", "phi") for split in ("full", "retain90")]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not DATA.is_dir():
        pytest.skip("the outputs of TOFU's models are not here")
    spec = importlib.util.spec_from_file_location("calibrate_measures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("model", "split"), SETS)
def test_rouge_and_truth_ratio_are_the_sources_own(
    script: ModuleType, model: str, split: str
) -> None:
    found = script.outputs(DATA, model, split)
    rouge = find("measure", "rouge_recall")
    for row in found[::5]:
        assert rouge.judge(row.said, row.question) == pytest.approx(row.rouge, abs=1e-4)
    for row in found:
        ratio = truth_ratio(row.paraphrase_loss, row.wrong_losses)
        assert ratio == pytest.approx(row.ratio, rel=1e-4)


@pytest.mark.parametrize(
    ("model", "statistic", "p"), [("llama2-7b", 0.397, 2e-21), ("phi", 0.347, 2e-16)]
)
def test_forget_quality_is_the_known_one(
    script: ModuleType, model: str, statistic: float, p: float
) -> None:
    ratios = [
        [truth_ratio(r.paraphrase_loss, r.wrong_losses) for r in script.outputs(DATA, model, split)]
        for split in ("full", "retain90")
    ]
    import numpy as np

    found = forget_quality(*map(np.array, ratios))
    assert found.statistic == pytest.approx(statistic, abs=1e-3)
    assert found.p == pytest.approx(p, rel=0.2)
