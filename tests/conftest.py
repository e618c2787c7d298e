"""Shared fixtures: offline, one thread, small models of real architectures.

Imports of torch stand in the fixtures: the process that starts the workers runs no test.
"""

import gc
import json
import os
import random

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TQDM_DISABLE"] = "1"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import jaxtyping
import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from mechunlearn.analysis.report import Report
    from mechunlearn.audit.plan import AuditPlan
    from mechunlearn.audit.pool import ModelPool
    from mechunlearn.types import HookedModel, Task


def check_shapes() -> None:
    """Check the shapes of what ``mechunlearn``'s functions take and return, as it is imported.

    Functions that name no shape are left to mypy: a check costs 40 us a call, and most calls are
    of those.
    """
    every = jaxtyping.jaxtyped

    def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
        def decorated(thing: Any) -> Any:
            function = thing.__init__ if isinstance(thing, type) else thing
            shapes = "jaxtyping." in repr(getattr(function, "__annotations__", ""))
            return every(thing, typechecker=typechecker) if shapes else thing

        return decorated

    jaxtyping.jaxtyped = jaxtyped
    package = Path(__file__).parents[1] / "mechunlearn"
    files = [f for f in package.rglob("*.py") if "jaxtyping" in f.read_text(encoding="utf-8")]
    modules = [".".join(f.relative_to(package.parent).with_suffix("").parts) for f in files]
    jaxtyping.install_import_hook(modules, "beartype.beartype")


check_shapes()
ARCHITECTURES = ("gpt2", "gpt_neox", "llama", "mistral", "gemma2", "gemma3", "qwen2", "qwen3")
"""Fused attention and parallel blocks, tied and untied embeddings, grouped heads, sliding windows,
softcapping, norms after the blocks' parts, scaled embeddings, biases, normed queries."""
USUAL = ("gpt2", "gemma2")
LONG = ("llama", "gpt_neox")
"""The usual ones have nearly all of that; the tests of these are marked long, of others slow."""
WINDOW = 24
"""Of sliding attention: shorter than the questions."""
SUBJECTS = ("college_biology", "computer_security", "us_foreign_policy")
ARC = {
    "id": "Invented_1",
    "question": "Which of these floats on water?",
    "choices": {"text": ["a cork", "an anvil", "a coin"], "label": ["1", "2", "3"]},
    "answerKey": "1",
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two workers share two cores, and other threads give other last digits."""
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # Loading a model collects garbage; the imported libraries are none.


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved word-level tokenizer of the fictional world."""
    from mechunlearn.organisms.recipe import tokenizer
    from mechunlearn.tasks.world import World

    folder = tmp_path_factory.mktemp("words")
    tokenizer(World(0)).save_pretrained(folder)
    return folder


def config_of(
    architecture: str, vocabulary: int, width: int = 32, layers: int = 3
) -> "PreTrainedConfig":
    import transformers

    ids = {"vocab_size": vocabulary, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
    if architecture == "gpt2":
        return transformers.GPT2Config(
            n_embd=width, n_layer=layers, n_head=4, n_positions=192, **ids
        )
    sizes = {
        "hidden_size": width,
        "intermediate_size": width * 3 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 192,
        "tie_word_embeddings": architecture in ("llama", "gemma2", "gemma3", "qwen3"),
        **ids,
    }
    if architecture == "gpt_neox":
        return transformers.GPTNeoXConfig(**sizes)
    kinds = {
        "llama": transformers.LlamaConfig,
        "mistral": transformers.MistralConfig,
        "gemma2": transformers.Gemma2Config,
        "gemma3": transformers.Gemma3TextConfig,
        "qwen2": transformers.Qwen2Config,
        "qwen3": transformers.Qwen3Config,
    }
    sizes["num_key_value_heads"] = 2
    if architecture in ("gemma2", "gemma3", "qwen3"):
        sizes["head_dim"] = width // 4
    if architecture in ("mistral", "gemma2", "gemma3"):
        sizes["sliding_window"] = WINDOW
    return kinds[architecture](**sizes)


class Lent:
    """Models that tests share: whoever leaves one as it was leaves it to the next test."""

    def __init__(self) -> None:
        self.free: dict[object, list[tuple[HookedModel, int]]] = {}
        self.taken: list[tuple[object, HookedModel, int]] = []

    def take(self, kind: object, make: Callable[[], "HookedModel"]) -> "HookedModel":
        """One of a kind that nobody holds, made where there is none."""
        from mechunlearn.bench.batches import _LIMITS

        if not (free := self.free.setdefault(kind, [])):
            made = make()
            free.append((made, state_of(made)))
            gc.freeze()  # It stays, so no loading has to look at it.
        model, state = free.pop()
        _LIMITS.pop(model, None)  # How large its batches may be is kept beside it.
        self.taken.append((kind, model, state))
        return model

    def put_back(self) -> None:
        """After a test: what is not as it was goes."""
        for kind, model, state in self.taken:
            if state_of(model) == state:
                self.free[kind].append((model, state))
        self.taken.clear()


def state_of(model: "HookedModel") -> int:
    """A hash of all that a test may change of a model: weights, modules, hooks, settings."""
    import torch

    def state(weight: torch.Tensor) -> tuple[object, ...]:
        data = weight.detach().contiguous().reshape(-1).view(torch.uint8)
        flags = weight.dtype, weight.requires_grad, weight.grad is None
        return id(weight), *flags, crc32(data.numpy())

    def hooks(module: torch.nn.Module) -> int:
        """How many, without those by which transformers returns states, and which stay."""
        tables = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
        return sum("output_capturing" not in h.__module__ for t in tables for h in t.values())

    modules = [(id(m), m.training, hooks(m)) for m in model.modules()]
    weights = [state(w) for w in (*model.parameters(), *model.buffers())]
    words = model.tokenizer
    settings = (model.provenance, model.shortcuts, vars(model.cfg), model.original_model.config)
    about = (sorted(vars(model)), settings, id(words), repr(words), words.chat_template)
    return hash((tuple(modules), tuple(weights), repr(about)))


@pytest.fixture(scope="session")
def lent() -> Lent:
    return Lent()


@pytest.fixture(scope="session")
def new_tiny(words: Path) -> Callable[[str], "HookedModel"]:
    """A factory of random-weight models: ``new_tiny("llama")``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mechunlearn.models import hook

    def make(architecture: str, seed: int = 0) -> "HookedModel":
        words_ = AutoTokenizer.from_pretrained(words)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            plain = AutoModelForCausalLM.from_config(config_of(architecture, len(words_)))
            for p in plain.parameters():  # Larger weights: logits that differ visibly.
                p.data.mul_(4.0) if p.ndim > 1 else p.data.add_(0.1 * torch.randn_like(p))
        return hook(plain, words_, name=architecture)

    return make


@pytest.fixture
def tiny(
    lent: Lent, new_tiny: Callable[..., "HookedModel"]
) -> Iterator[Callable[..., "HookedModel"]]:
    """The same, where a model's state is that of a fresh one: ``new_tiny`` is slower."""
    yield lambda architecture, seed=0: lent.take(
        (architecture, seed), lambda: new_tiny(architecture, seed)
    )
    lent.put_back()


def marked(architecture: str) -> Any:
    """A parameter of ``any_tiny``."""
    mark = pytest.mark.long if architecture in LONG else pytest.mark.slow
    return architecture if architecture in USUAL else pytest.param(architecture, marks=mark)


@pytest.fixture(params=map(marked, ARCHITECTURES))
def any_tiny(request: pytest.FixtureRequest, tiny: Callable[[str], "HookedModel"]) -> "HookedModel":
    return tiny(request.param)


@pytest.fixture(scope="session")
def task() -> "Task":
    from mechunlearn.tasks import load_task

    return load_task("organism@0")


@pytest.fixture(scope="session")
def hub_copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of Hub data sets in the shape of the real ones, with invented, harmless content.

    Questions as ``hf download`` writes them, texts as ``DatasetDict.save_to_disk`` does.
    """
    from datasets import Dataset, DatasetDict

    folder = tmp_path_factory.mktemp("hub")
    rng = random.Random(0)

    def sums(subject: str, n: int, first: int) -> list[dict[str, object]]:
        rows = []
        for i in range(n):
            a, b = first + i, rng.randrange(1000)
            choices = [str(a + b + d) for d in rng.sample(range(-9, 9), 4)]
            right = rng.randrange(4)
            choices[right] = str(a + b + 10)
            stem = f" A {subject} lesson has {a} pages, the next has {b} and ten. Both have: \n"
            rows.append({"question": stem, "subject": subject, "choices": choices, "answer": right})
        return rows

    mmlu: dict[str, dict[str, list[dict[str, object]]]] = {"all": {}}
    for split, n in (("dev", 5), ("validation", 4), ("test", 8)):
        for k, subject in enumerate(SUBJECTS):
            rows = sums(subject, n, 100 * n + 2000 * k)
            mmlu.setdefault(subject, {})[split] = rows
            mmlu["all"][split] = mmlu["all"].get(split, []) + rows
    wmdp = {f"wmdp-{x}": {"test": sums(x, 30, 10_000)} for x in ("bio", "cyber", "chem")}
    for row in (row for splits in wmdp.values() for row in splits["test"]):
        del row["subject"]
    write_as_on_hub(folder / "cais" / "mmlu", mmlu)
    write_as_on_hub(folder / "cais" / "wmdp", wmdp)
    easy = {"train": [ARC] * 2, "test": [ARC]}
    write_as_on_hub(folder / "allenai" / "ai2_arc", {"ARC-Easy": easy})
    texts = Dataset.from_list(
        [{"text": ""}, {"text": " A line about knots and sails, long enough. " * 200}] * 3
    )
    for name in ("cyber-forget-corpus", "cyber-retain-corpus"):
        DatasetDict(train=texts).save_to_disk(folder / "cais" / "wmdp-corpora" / name)
    wikitext = folder / "Salesforce" / "wikitext" / "wikitext-2-raw-v1"
    DatasetDict(train=texts).save_to_disk(wikitext)
    return folder


@pytest.fixture(scope="session")
def as_on_hub() -> Callable[[Path, dict[str, dict[str, list[dict[str, object]]]]], None]:
    """Write a data set from its rows by config and split."""
    return write_as_on_hub


def write_as_on_hub(folder: Path, configs: dict[str, dict[str, list[dict[str, object]]]]) -> None:
    """A data set as ``hf download`` leaves it: a card that names the Parquet files."""
    from datasets import Dataset

    lines = ["---", "configs:"]
    for config, splits in configs.items():
        (folder / config).mkdir(parents=True)
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            Dataset.from_list(rows).to_parquet(folder / config / f"{split}.parquet")
            lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---"]))


@pytest.fixture
def organisms(lent: Lent) -> Iterator[Callable[[str], "HookedModel"]]:
    """Shipped models by name, like fresh ones: ``organisms("organism:never_knew")``."""
    from mechunlearn.models import load

    yield lambda name: lent.take(name, lambda: load(name))
    lent.put_back()


@pytest.fixture
def organism(organisms: Callable[[str], "HookedModel"]) -> "HookedModel":
    return organisms("organism:original")


@pytest.fixture(scope="session")
def example_report() -> "Report":
    """The committed result of ``mechunlearn audit``."""
    from mechunlearn.analysis.report import Report

    file = Path(__file__).parents[1] / "figures" / "audit-organism" / "report.json"
    return Report.load(file)


@pytest.fixture(scope="session")
def tiny_plan(
    tmp_path_factory: pytest.TempPathFactory, new_tiny: Callable[..., "HookedModel"]
) -> "AuditPlan":
    """Random-weight models and a few questions: the audit of nothing, in a second or two."""
    from mechunlearn.audit.plan import AuditPlan
    from mechunlearn.models import save
    from mechunlearn.tasks.world import World

    folder = tmp_path_factory.mktemp("tiny")
    names = {}
    for seed, name in enumerate(("before", "after", "twin")):
        names[name] = str(save(new_tiny("gpt2", seed), folder / name))
    task = World(0).task()
    lines = [
        {"set": role, "stem": q.stem, "choices": q.choices, "answer": q.answer, "source": q.source}
        for role in ("forget", "retain")
        for q in getattr(task, role)[::8]
    ]
    (folder / "task.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return AuditPlan(
        original=names["before"],
        unlearned=(names["after"],),
        control=names["twin"],
        task=str(folder / "task.jsonl"),
        attacks=("logit_lens", "perturbation_naive", "relearning_disjoint"),
        changes=(
            "perturbation_naive.rates=(0.1,)",
            "perturbation_naive.every=(5,)",
            "relearning_disjoint.rates=(1e-3,)",
            "relearning_disjoint.seeds=(0,)",
            "relearning_disjoint.steps=2",
        ),
    )


@pytest.fixture(scope="session")
def models_in_memory() -> "ModelPool":
    """The models of earlier audits, which each leaves as they were."""
    from mechunlearn.audit.pool import ModelPool

    return ModelPool()


@pytest.fixture
def loaded_once(models_in_memory: "ModelPool", monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits of this process take over the models of earlier ones: loading takes half their time.

    Not for tests of loading, nor where a model's folder is written anew.
    """
    monkeypatch.setattr("mechunlearn.audit.run.ModelPool", lambda: models_in_memory)
    monkeypatch.setattr("mechunlearn.audit.engines.ModelPool", lambda: models_in_memory)


@pytest.fixture(scope="session")
def finished(tiny_plan: "AuditPlan", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny plan's audit, for whoever only reads it."""
    from mechunlearn.analysis.analyse import audit

    folder = tmp_path_factory.mktemp("finished") / "run"
    audit(tiny_plan, folder)
    return folder
