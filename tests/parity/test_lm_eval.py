"""The same items through lm-eval's Hugging Face backend give the same answers."""

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from mechunlearn.bench import score
from mechunlearn.models import ORGANISMS, load
from mechunlearn.types import Task

lm_eval_models = pytest.importorskip(
    "lm_eval.models.huggingface", reason="needs: pip install lm-eval"
)
lm_eval_instance = pytest.importorskip("lm_eval.api.instance", reason="needs: pip install lm-eval")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def peer():
    folder = ORGANISMS / "original@0"
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return lm_eval_models.HFLM(pretrained=plain, tokenizer=tokenizer, batch_size=8, device="cpu")


def loglikelihoods(peer, pairs: list[tuple[str, str]]) -> np.ndarray:
    requests = [
        lm_eval_instance.Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)
    ]
    return np.array([value for value, _ in peer.loglikelihood(requests, disable_tqdm=True)])


def test_letters_agree(peer, task: Task) -> None:
    questions = task.questions("forget", "confirm") + task.questions("retain", "confirm")
    pairs = [(task.prompt.letter_prompt(q), f" {x}") for q in questions for x in "ABCD"]
    theirs = loglikelihoods(peer, pairs).reshape(-1, 4)
    ours = score(load("organism:original"), questions, task.prompt)
    assert (theirs.argmax(1) == ours.predictions).all()
    spread = ours.logits - ours.logits[:, :1]
    assert np.abs(spread - (theirs - theirs[:, :1])).max() < 1e-3


def test_cloze_agrees(peer, task: Task) -> None:
    questions = task.questions("forget", "confirm")
    pairs = [
        (stem, ending)
        for q in questions
        for stem, endings in [task.prompt.cloze_prompt(q)]
        for ending in endings
    ]
    theirs = loglikelihoods(peer, pairs).reshape(-1, 4)
    ours = score(load("organism:original"), questions, task.prompt, scoring="cloze")
    assert np.abs(theirs - ours.logits).max() < 1e-3
    assert (theirs.argmax(1) == ours.predictions).all()
