"""Methods under ``paper`` against the published computation, written down again in plain torch.

The plain models are loaded by transformers from a saved checkpoint: no code of ours runs in them.
"""

import dataclasses
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from mechunlearn.attacks.activations import activation_statistics
from mechunlearn.attacks.attribution import weight_scores
from mechunlearn.attacks.direction_ablation import DirectionAblation
from mechunlearn.attacks.perturbation_naive import (
    SHUFFLE,
    Material,
    Naive,
    NaivePerturbation,
    naive_grid,
    rewriting,
)
from mechunlearn.attacks.pruning import ranks
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.set_difference_pruning import WEIGHTS
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.models import save
from mechunlearn.models.lora import LoRA
from mechunlearn.train import Optimizer
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.circuit_breakers import CircuitBreakersConfig, circuit_breakers_
from mechunlearn.unlearn.rmu import RMU

Tiny = Callable[..., HookedModel]


def plain(model: HookedModel, folder: Path, **changes: int) -> torch.nn.Module:
    """The model as transformers loads it."""
    if not folder.exists():
        save(model, folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **changes).eval()


@torch.no_grad()
def hidden(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    """``[state, token, d_model]``: the embedding, the blocks' outputs, the last of them normed."""
    states = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
    return torch.cat(list(states))


@pytest.mark.ci
def test_circuit_breakers_losses_are_those_of_the_authors_code(
    tiny: Tiny, task: Task, tmp_path: Path
) -> None:
    """The second step's terms from the models before and after the first step.

    The authors' model ends one block after the last target (block 0 here), and their mean is over
    all hidden states of it: the embedding, block 0 and block 1 normed.
    """
    one = dataclasses.replace(
        task, forget_text=task.forget_text[:1], retain_text=task.retain_text[-1:]
    )
    config = CircuitBreakersConfig(
        layers=(0,),
        counts="published",
        weight=5.0,
        horizon=300,
        batch=1,
        lora=LoRA(rank=4, alpha=16.0),
        optimizer=Optimizer(steps=2, lr=1e-2),
    )
    model = tiny("llama")
    before = plain(model, tmp_path / "before", num_hidden_layers=2)
    log = circuit_breakers_(model, one, config)
    assert log.adapter is not None
    assert {name.split(".")[2] for name in log.adapter.layers} == {"0", "1"}
    model = tiny("llama")
    first = dataclasses.replace(config, optimizer=Optimizer(steps=1, lr=1e-2))
    circuit_breakers_(model, one, first)
    after = plain(model, tmp_path / "after", num_hidden_layers=2)
    keep = model.tokenizer(one.retain_text[0])["input_ids"]
    forget = model.tokenizer(one.forget_text[0])["input_ids"]
    moved = (hidden(after, keep) - hidden(before, keep)).norm(dim=-1)
    assert len(moved) == 3
    assert moved[0].max() == 0
    retain = 5.0 * (1 / 300) * moved.mean().item()
    assert log.terms["retain"][1] == pytest.approx(retain, rel=1e-4)
    now, then = hidden(after, forget)[1], hidden(before, forget)[1]
    turned = torch.cosine_similarity(now, then, dim=-1).relu().mean().item()
    assert log.terms["forget"][1] == pytest.approx(5.0 * (1 - 1 / 300) * turned, rel=1e-4)


def test_wanda_counts_the_inputs_at_the_answers_tokens(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny("llama")
    examples = [
        Example("the glow of boralin is", " amber coral"),
        Example("question what is the craft", " bells flutes beads"),
        Example("the song is", " amber"),
    ]
    rows = example_rows(model, examples, "answer", 100)
    scores = weight_scores(model, rows, "wanda", "answer")
    reference = plain(model, tmp_path / "model")
    parts = {"q": "self_attn.q_proj", "o": "self_attn.o_proj", "gate": "mlp.gate_proj"}
    parts["out"] = "mlp.down_proj"
    squares: dict[str, torch.Tensor] = {}
    mask: list[int] = []

    def add(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor], out: object) -> None:
            here = inputs[0][0, mask].square().sum(dim=0)
            squares[name] = squares.get(name, torch.zeros_like(here)) + here

        return hook

    for layer in range(3):
        for part in parts.values():
            name = f"model.layers.{layer}.{part}"
            reference.get_submodule(name).register_forward_hook(add(name))
    for example in examples:
        start = len(model.tokenizer(example.prompt)["input_ids"])
        tokens = model.tokenizer(example.prompt + example.answer)["input_ids"]
        mask = list(range(start, len(tokens)))
        with torch.no_grad():
            reference(torch.tensor([tokens]))
    for layer in range(3):
        for key, part in parts.items():
            name = f"model.layers.{layer}.{part}"
            weight = reference.get_parameter(f"{name}.weight").abs()
            expected = weight * squares[name].sqrt()
            assert torch.allclose(scores[layer, key], expected, rtol=1e-4, atol=1e-6)
    everywhere = weight_scores(model, rows, "wanda")
    assert not torch.allclose(everywhere[0, "q"], scores[0, "q"], rtol=0.05)


@pytest.mark.parametrize(("size", "share"), [(999, 0.005), (1001, 0.025), (37, 0.005), (480, 0.1)])
def test_shares_have_the_whole_numbers_of_entries_that_they_have_in_the_paper(
    size: int, share: float
) -> None:
    scores = torch.rand(size, generator=torch.Generator().manual_seed(0)) + 0.1
    (down,), (up,) = ranks([scores], [share], "down"), ranks([scores], [share])
    count = int(share * size)
    expected = torch.zeros(size, dtype=torch.bool)
    expected[scores.topk(count).indices] = True
    assert torch.equal(down == 0, expected)
    assert int((up == 0).sum()) == -int(-share * size // 1)


@pytest.mark.ci
def test_the_directions_texts_and_outliers_are_the_papers(
    tiny: Tiny, task: Task, tmp_path: Path
) -> None:
    """Forget questions without their common header; benign ones whole; outliers of both."""
    original, unlearned = tiny("llama", seed=1), tiny("llama")
    attack = DirectionAblation()
    forget, retain = (task.questions(role, "select")[:24] for role in ("forget", "retain"))
    few = dataclasses.replace(
        task,
        retain=retain + task.questions("retain", "confirm"),
        plain_text=task.plain_text[:50],
    )
    seen = Seen.of(few, attack, asked=forget)
    config = attack.presets["paper"]
    reference = attack.learn(original, seen, config)
    search = attack.search(unlearned, seen, reference, config)
    rows = {
        "forget": [original.tokenizer(seen.text(q))["input_ids"] for q in forget],
        "benign": [original.tokenizer(seen.text(q))["input_ids"] for q in retain],
        "text": [original.tokenizer(t)["input_ids"] for t in few.plain_text[:24]],
    }
    skip = 0
    while len({tuple(r[: skip + 1]) for r in rows["forget"]}) == 1:
        skip += 1
    assert skip >= 1
    models = {
        "original": plain(original, tmp_path / "original"),
        "unlearned": plain(unlearned, tmp_path / "unlearned"),
    }
    drop = outliers(models["original"], rows["forget"]) | outliers(
        models["original"], rows["benign"]
    )
    assert reference.outliers == drop

    def mean(model: str, texts: str, start: int) -> torch.Tensor:
        total, n = torch.zeros(1, dtype=torch.float64), 0
        for row in rows[texts]:
            real = [i for i in range(start, len(row)) if row[i] not in drop]
            total = total + blocks(models[model], row)[:, real].double().sum(dim=1)
            n += len(real)
        return total / n

    ours = mean("unlearned", "forget", skip)
    expected = {
        "original": ours - mean("original", "forget", skip),
        "benign": ours - mean("unlearned", "benign", 0),
        "text": ours - mean("unlearned", "text", 0),
    }
    for name, vectors in expected.items():
        found = search.directions[name].vectors.double()
        cosine = torch.cosine_similarity(found, vectors, dim=-1)
        assert cosine.min() > 1 - 1e-6
        assert torch.allclose(found.norm(dim=-1), vectors.norm(dim=-1), rtol=1e-3)
    grid = next(search.variants())
    assert {(a.form, a.to) for a in grid} == {("each layer", "zero")}


@torch.no_grad()
def blocks(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    """Outputs of all blocks, the last one before the final norm."""
    states: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(
            lambda module, inputs, out: states.append(out[0] if isinstance(out, tuple) else out)
        )
        for layer in model.get_submodule("model.layers").children()
    ]
    model(torch.tensor([tokens]))
    for handle in hooks:
        handle.remove()
    return torch.stack([s.reshape(len(tokens), -1) for s in states])


def outliers(model: torch.nn.Module, rows: list[list[int]]) -> set[int]:
    """Tokens that lie three standard deviations from the rest at some layer, of the first 1,000."""
    few: list[list[int]] = []
    for row in rows:
        if sum(map(len, few)) < 1000:
            few.append(row)
    states = torch.cat([blocks(model, row) for row in few], dim=1)
    tokens = torch.tensor([t for row in few for t in row])
    far: set[int] = set()
    for layer in states:
        distance = (layer[:, None] - layer[None]).abs().sum(-1).mean(1)
        z = (distance - distance.mean()) / distance.std()
        far |= set(tokens[z > 3].tolist())
    return far


def test_whole_texts_keep_their_common_beginning(tiny: Tiny) -> None:
    model = tiny("llama")
    texts = ["the glow of amber", "the glow of coral"]
    assert activation_statistics(model, texts, whole=True).n == 10
    assert activation_statistics(model, texts).n == 2


def test_characters_go_where_the_papers_code_puts_them() -> None:
    grid = naive_grid(NaivePerturbation.presets["paper"])
    assert len(grid) == 9 * 13 == len(set(grid))
    material = Material((), (), (), "")
    every_third = Naive(kind="insert", what="~", every=3, whole=True)
    assert every_third in grid
    change = rewriting(every_third, material)
    assert change("abcdefgh Answer: it", random.Random(0)) == "a~bcd~efg~h A~nsw~er:~ it~"
    shuffled = rewriting(Naive(kind="insert", what=SHUFFLE, every=1, whole=True), material)
    text = shuffled("ab cd", random.Random(0))
    assert text[::2] == "ab cd"
    assert set(text[1::2]) <= set(string.punctuation + string.digits)
    assert len(set(text[1::2])) > 1


def test_presets_called_paper_are_the_published_settings() -> None:
    """Li et al.'s released Zephyr_RMU, Zou et al.'s Mistral, and Łucki et al.'s grid of shares."""
    rmu = RMU.presets["paper"]
    assert (rmu.layer, rmu.blocks, rmu.weights, rmu.coefficient) == (7, (5, 6, 7), "down_proj", 6.5)
    assert (rmu.alpha, rmu.batch, rmu.optimizer.steps, rmu.optimizer.lr) == (1200, 4, 150, 5e-5)
    assert (rmu.per_topic, rmu.retain_corpus) == (True, "plain")
    pruning = WEIGHTS.presets["paper"]
    assert (pruning.examples, pruning.rounding, pruning.tokens) == (512, "down", "answer")
    assert len(pruning.levels) == 9
