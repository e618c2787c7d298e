"""Configuration classes with tiny random weights: each is right, or refused with a reason."""

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from transformers import AutoModelForCausalLM, AutoTokenizer

from mechunlearn.attacks.direction_ablation import orthogonalize_
from mechunlearn.audit.cells import set_up
from mechunlearn.audit.checks import refuse
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.bench import perplexity, score
from mechunlearn.bench.generation import generate
from mechunlearn.hooks import linear_maps
from mechunlearn.models import experts_of, fingerprint, load
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.tasks.world import World
from mechunlearn.types import Direction

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [8.0, 16.0, 32.0, 64.0],
    "original_max_position_embeddings": 64,
    "factor": 4.0,
}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
}
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256}
PLAIN = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
HEADS = {"head_dim": 8}
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", GPT2),
    "gpt_neox": ("GPTNeoXConfig", PLAIN),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 24,
            "max_position_embeddings": 256,
        },
    ),
    "gptj": ("GPTJConfig", GPT2 | {"rotary_dim": 8}),
    "opt": (
        "OPTConfig",
        PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 32, "do_layer_norm_before": True},
    ),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "falcon": ("FalconConfig", PLAIN),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 256}),
    "llama": ("LlamaConfig", SIZES),
    "mistral": ("MistralConfig", SIZES | {"sliding_window": 24}),
    "gemma": ("GemmaConfig", SIZES | HEADS),
    "gemma2": ("Gemma2Config", SIZES | HEADS | {"sliding_window": 24}),
    "gemma2_capped": ("Gemma2Config", SIZES | HEADS | {"final_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3TextConfig", SIZES | HEADS | {"sliding_window": 24}),
    "qwen2": ("Qwen2Config", SIZES),
    "qwen3": ("Qwen3Config", SIZES | HEADS),
    "phi": ("PhiConfig", SIZES),
    "phi3": ("Phi3Config", SIZES | {"sliding_window": None}),
    "phi3_longrope": (
        "Phi3Config",
        SIZES
        | {"rope_scaling": LONG, "original_max_position_embeddings": 64, "sliding_window": None},
    ),
    "llama_dynamic": (
        "LlamaConfig",
        SIZES | {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    ),
    "stablelm": ("StableLmConfig", SIZES),
    "starcoder2": ("Starcoder2Config", SIZES | {"sliding_window": 24}),
    "cohere": ("CohereConfig", SIZES | {"logit_scale": 0.0625}),
    "granite": ("GraniteConfig", SIZES | {"logits_scaling": 8.0, "attention_multiplier": 0.1}),
    "olmo": ("OlmoConfig", SIZES),
    "olmo2": ("Olmo2Config", SIZES),
    "glm4": ("Glm4Config", SIZES | HEADS),
    "smollm3": ("SmolLM3Config", SIZES),
    "nemotron": ("NemotronConfig", SIZES),
    "mixtral": ("MixtralConfig", SIZES | EXPERTS),
    "gpt_oss": ("GptOssConfig", SIZES | EXPERTS | HEADS | {"sliding_window": 24}),
    "qwen2_moe": ("Qwen2MoeConfig", SIZES | ROUTED | {"shared_expert_intermediate_size": 32}),
    "qwen3_moe": ("Qwen3MoeConfig", SIZES | ROUTED | HEADS),
    "olmoe": ("OlmoeConfig", SIZES | {"num_experts": 4, "num_experts_per_tok": 2}),
    "granite_moe": ("GraniteMoeConfig", SIZES | EXPERTS),
    "deepseek_v3": ("DeepseekV3Config", SIZES | LATENT),
    "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "recurrent_gemma": ("RecurrentGemmaConfig", SIZES | {"lru_width": 32}),
}
FAST = ("gpt2", "bloom", "mistral", "gemma2_capped", "phi3_longrope", "qwen2_moe", "cohere")
LONG = ("gpt2", "mistral", "cohere")
"""Of those: kinds that many other tests use, and scaled logits."""
TABLE: list["Outcome"] = []


def marks_of(architecture: str) -> Any:
    """When a class is tested."""
    if architecture not in FAST:
        return pytest.mark.slow
    return pytest.mark.long if architecture in LONG else ()


@dataclass(frozen=True)
class Outcome:
    """A line of the table."""

    architecture: str
    apart: float
    about: str = ""


def built(folder: Path, words: Path, architecture: str) -> Path:
    """A saved model of a class, with weights that make logits differ visibly."""
    tokenizer = AutoTokenizer.from_pretrained(words)
    kind, sizes = CLASSES[architecture]
    ids = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
    config = getattr(hf, kind)(**{**ids, **sizes}, vocab_size=len(tokenizer))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for p in plain.parameters():
                p.mul_(4.0) if p.ndim > 1 else p.add_(0.1 * torch.randn_like(p))
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain_scores(folder: Path, prompt: Any, questions: Any, how: str) -> np.ndarray:
    """Letters' logits or mean log-probabilities, from forwards of one text each."""
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    words = load_tokenizer(str(folder))  # AutoTokenizer makes Qwen's of any vocabulary.
    rows = []
    for q in questions:
        if how == "cloze":
            stem, endings = prompt.cloze_prompt(q)
        else:
            stem = prompt.letter_prompt(q)
            endings = [prompt.answer.format(letter=x) for x in "ABCD"[: len(q.choices)]]
        start, row = len(words(stem)["input_ids"]), []
        for ending in endings:
            ids = words(stem + ending)["input_ids"]
            with torch.no_grad():
                shown = ids if how == "cloze" else ids[:-1]
                logits = plain(torch.tensor([shown]), use_cache=False).logits[0]
            if how == "letter":
                row.append(float(logits[-1, ids[-1]]))
                continue
            after = logits.log_softmax(-1)[start - 1 : -1]
            row.append(float(after.gather(1, torch.tensor(ids[start:])[:, None]).mean()))
        rows.append(row)
    return np.array(rows)


@torch.no_grad()
def plain_text(folder: Path, prompt: str, steps: int) -> str:
    """What the plain model says, by whole forwards without a cache."""
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = load_tokenizer(str(folder))
    row = tokenizer(prompt)["input_ids"]
    n = len(row)
    while len(row) < n + steps and (len(row) == n or row[-1] not in (0, 2)):
        row = [*row, int(plain(torch.tensor([row]), use_cache=False).logits[0, -1].argmax())]
    return tokenizer.decode([t for t in row[n:] if t not in (0, 2)])


@pytest.mark.ci
@pytest.mark.parametrize(
    "architecture",
    [pytest.param(a, marks=marks_of(a)) for a in CLASSES],
)
@pytest.mark.filterwarnings("ignore")
def test_a_class_is_right_or_refused(architecture: str, words: Path, tmp_path: Path) -> None:
    folder = built(tmp_path / "m", words, architecture)
    try:
        model = load(str(folder))
    except (RuntimeError, ValueError) as err:
        TABLE.append(Outcome(architecture, float("nan"), f"refused: {err}"))
        reason = str(err)
    else:
        reason = ""
    if reason:
        assert architecture not in FAST
        assert len(reason.splitlines()) == 1
        return
    task = World(0).task()
    questions, apart = task.forget[:5], 0.0
    for how in ("letter", "cloze"):
        got = score(model, questions, task.prompt, scoring=how).logits
        apart = max(
            apart, float(np.abs(got - plain_scores(folder, task.prompt, questions, how)).max())
        )
    parity = model.provenance.parity
    TABLE.append(Outcome(architecture, apart, "; ".join(parity.switched_off)))
    assert apart < 1e-4
    assert max(parity.letters, parity.cloze) <= parity.tolerance
    prompts = [q.stem[i * 5 :].strip() for i, q in enumerate(questions)]
    assert generate(model, prompts, 4) == [plain_text(folder, prompt, 4) for prompt in prompts]


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Any:
    """Print what was loaded, right, and refused why."""
    yield
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    for line in TABLE if reporter else ():
        reporter.write_line(f"{line.architecture:16} {line.apart:8.1e}  {line.about[:300]}")


@pytest.mark.filterwarnings("ignore")
def test_perplexity_beyond_the_rotation_limit_is_that_of_plain_forwards(
    words: Path, tmp_path: Path
) -> None:
    """Texts on both sides of the 64 tokens up to which long RoPE turns by one table."""
    folder = built(tmp_path / "m", words, "phi3_longrope")
    stems = [q.stem for q in World(0).task().forget[:24]]
    texts = [" ".join(stems[:n]) for n in (2, 12, 3, 14, 13)]
    model, plain = load(str(folder)), AutoModelForCausalLM.from_pretrained(folder).eval()
    rows = [torch.tensor([ids]) for ids in model.tokenizer(texts)["input_ids"]]
    assert min(r.shape[1] for r in rows) < 64 < max(r.shape[1] for r in rows)
    total = 0.0
    for row in rows:
        with torch.no_grad():
            logits = plain(row, use_cache=False).logits[0, :-1]
        total += float(torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum"))
    found = perplexity(model, texts)
    assert found.nats_per_token == pytest.approx(total / found.n_tokens, abs=1e-5)


def test_a_map_is_what_the_model_computes_with(words: Path, tmp_path: Path) -> None:
    """Setting a map to zero changes the logits: it is no dead copy of a fused one."""
    tokens = torch.arange(3, 20)[None]
    for architecture in ("gpt2", "phi3_longrope"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = load(str(built(tmp_path / architecture, words, architecture)))
        before = model(tokens)
        for bridge in linear_maps(model, 1).values():
            weight = bridge.original_component.weight
            old = weight.detach().clone()
            with torch.no_grad():
                weight.zero_()
                assert (model(tokens) - before).abs().max() > 1e-3
                weight.copy_(old)


@pytest.mark.filterwarnings("ignore")
def test_a_norm_behind_the_embedding_keeps_directions_out_of_weights(
    words: Path, tmp_path: Path
) -> None:
    """What the embedding's weights lose, the norm puts back in another way."""
    model = load(str(built(tmp_path / "bloom", words, "bloom")))
    before = fingerprint(model)
    along = Direction("one", (0, 1, 2), torch.ones(3, 32))
    with pytest.raises(ValueError, match="norms its embeddings"):
        orthogonalize_(model, along, layer=1)
    assert fingerprint(model) == before


@pytest.mark.filterwarnings("ignore")
def test_a_mixture_is_recognised_by_its_configuration_and_refused_before_it_is_loaded(
    words: Path, tmp_path: Path
) -> None:
    mixtures = {"mixtral", "gpt_oss", "qwen2_moe", "qwen3_moe", "olmoe", "granite_moe"}
    for name, (kind, sizes) in CLASSES.items():
        config = getattr(hf, kind)(**sizes)
        assert (experts_of(config) > 0) == (name in mixtures | {"deepseek_v3"}), name
    folder = built(tmp_path / "m", words, "qwen2_moe")
    asked = AuditPlan(
        original=str(folder), unlearned=(f"other={folder}",), task="facts", control=("none",)
    )
    setup = set_up(asked, tmp_path / "run", 1)
    assert "logit_lens" in setup.attacks
    assert "pruning_weights" not in setup.attacks
    refuse(setup)
    for attack, change in (
        ("quantization", ()),
        ("pruning_neurons", ()),
        ("relearning_retain", ("relearning_retain.lora.rank=2",)),
    ):
        plan = dataclasses.replace(asked, attacks=(attack, "logit_lens"), changes=change)
        with pytest.raises(ValueError, match=rf"{attack} changes.*mixture of 4 experts") as said:
            refuse(set_up(plan, tmp_path / "run", 1))
        assert ("lora.targets" in str(said.value)) == bool(change)
    fine = ("relearning_retain.lora.rank=2", "relearning_retain.lora.targets=q,v")
    plan = dataclasses.replace(asked, attacks=("relearning_retain",), changes=fine)
    refuse(set_up(plan, tmp_path / "run", 1))


@pytest.mark.filterwarnings("ignore")
def test_experts_are_not_passed_over(words: Path, tmp_path: Path, tiny: Callable[..., Any]) -> None:
    from mechunlearn.attacks.attribution import unit_means
    from mechunlearn.attacks.quantization import matrices
    from mechunlearn.hooks import mlp_parameters, stream_weights
    from mechunlearn.models.lora import Adapter, LoRA

    model = load(str(built(tmp_path / "m", words, "qwen2_moe")))
    for refused in (
        lambda: matrices(model),
        lambda: unit_means(model, [], "neuron"),
        lambda: mlp_parameters(model, 0, "down_proj"),
        lambda: stream_weights(model),
        lambda: Adapter(model, LoRA(rank=2)),
    ):
        with pytest.raises(ValueError, match=r"experts\."):
            refused()
    assert Adapter(model, LoRA(rank=2, targets=("q", "v"))).parameters
    assert matrices(tiny("llama"))
