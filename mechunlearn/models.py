"""Load, check and save hooked models."""

import copy
import gc
import os
import shutil
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

from mechunlearn.hooks import forward_to, unembed
from mechunlearn.placement import QUANTISED, placement
from mechunlearn.sources import ORGANISMS, adapter_base, clear_errors, locate, named_models
from mechunlearn.tokenizer import check_fit, load_tokenizer
from mechunlearn.types import HookedModel
from mechunlearn.weights import block_fingerprints, fingerprint, plain_names, plain_state

__all__ = [
    "ORGANISMS",
    "block_fingerprints",
    "check",
    "configuration",
    "describe",
    "fingerprint",
    "hook",
    "load",
    "locate",
    "named_models",
    "plain_names",
    "plain_state",
    "save",
]


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Relative difference of the hooked model's logits from the plain model's on a probe.

    ``|hooked - plain| / |plain|`` over all positions and tokens; the largest of the sequences.
    """

    alone: float
    """Each sequence by itself."""
    padded: float
    """The same sequences in one right-padded batch, at their real positions."""
    readout: float
    """Final norm and unembedding applied to the last block's output, as all scoring does."""
    cached: float
    """The second half of each sequence, after keys and values of the first."""
    tolerance: float


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a loaded model came from and how its self-test went."""

    name: str
    location: str
    architecture: str
    dtype: str
    device: str
    self_test: SelfTest


def load(
    name: str,
    *,
    original: str = "",
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> HookedModel:
    """Load any causal language model as a hooked model, in eval mode, and test it.

    Args:
        name: ``organism:original``, ``organism:never_knew@1``, ``smollm2-135m``, a folder or
            ``.gguf`` file, or a Hub id such as ``HuggingFaceH4/zephyr-7b-beta``; also the folder
            or id of a PEFT adapter, which is merged into the model it belongs to.
        original: The model it was made from: gives the tokenizer where it has none, and carries it
            where it is an adapter (default: the model that the adapter names).
        device: ``cpu``, ``cuda``, ...; ``auto`` takes CUDA where there is one; ``map`` spreads the
            blocks over all GPUs.
        dtype: ``float32``, ``bfloat16``, ``float16``; ``auto`` is float32 on the CPU and
            bfloat16 elsewhere; ``8bit`` and ``4bit`` quantise with bitsandbytes, on CUDA only.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Allow code from the model's repository to run.

    Returns:
        The hooked model with tokenizer and pad token; ``.provenance`` says where it came from.

    Raises:
        ValueError: For an unknown name, a missing or unreadable folder, a pickle checkpoint, a
            tokenizer that does not fit.
        PrerequisiteError: When a download, package or device is needed that is not there.
        RuntimeError: When the hooked forward differs from the plain one.
    """
    gc.collect()  # A model let go of before stays in memory until then: hook points refer to it.
    location, extra = locate(name)
    hub = {"revision": revision, "trust_remote_code": trust_remote_code}
    base = adapter_base(name)
    if base is not None:
        base = original or base
        if dtype in QUANTISED:
            raise ValueError(
                f"{name} is an adapter: merging it needs whole weights; use another --dtype "
                f"than {dtype}"
            )
        location, extra = locate(base)
    placing, place = placement(device, dtype)
    if not os.path.exists(location):
        extra |= hub if base is None else {}
    tokenizer = load_tokenizer(name, base or original, **hub)
    with clear_errors(base or name, location):
        plain = AutoModelForCausalLM.from_pretrained(location, **placing, **extra)
    if place is not None:
        plain = plain.to(place)
    if base is not None:
        plain = _with_adapter(plain, name)
    config = plain.config
    if "gguf_file" in extra and hasattr(config, "quantization_config"):
        del config.quantization_config  # A GGUF file is already dequantised here.
        plain.is_quantized = False
        plain.hf_quantizer = None
    check_fit(tokenizer, plain.get_input_embeddings().num_embeddings, name)
    return hook(plain, tokenizer, name=name, location=str(location))


def _with_adapter(plain: PreTrainedModel, name: str) -> PreTrainedModel:
    """The model with a PEFT adapter merged into its weights."""
    from peft import PeftModel

    location, _ = locate(name)
    with clear_errors(name, location), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Conv1D is recognised by itself.
        adapted = PeftModel.from_pretrained(
            plain, location, use_safetensors=True, local_files_only=os.path.exists(location)
        )
        return adapted.merge_and_unload()


def hook(plain: PreTrainedModel, tokenizer: Any, *, name: str, location: str = "") -> HookedModel:
    """Wrap a Hugging Face model that is already in memory; it is changed in place.

    Args:
        tokenizer: From ``load_tokenizer``, or ``AutoTokenizer.from_pretrained``.

    Raises:
        RuntimeError: When the hooked forward differs from the plain one.
    """
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    plain.eval()
    plain.config.architectures = [type(plain).__name__]  # Models made in memory do not say.
    probe = _probe(plain.config.vocab_size, plain.device)
    expected = [_logits(plain, row) for row in probe]
    mapped = getattr(plain, "hf_device_map", None)  # Then accelerate has placed the parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = HookedModel.boot_transformers(
            name,
            hf_model=plain,
            tokenizer=tokenizer,
            dtype=plain.dtype,
            device=None if mapped else str(plain.device),
        )
    model.eval()
    model.requires_grad_(False)
    # TransformerLens makes every tokenizer add <bos>, also through the public setter; prompts must
    # stay what they are without it.
    model._tokenizer = tokenizer
    adds_bos = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    model.cfg.tokenizer_prepends_bos = model.cfg.default_prepend_bos = adds_bos
    result = self_test(model, expected)
    architecture = type(plain).__name__
    dtype = str(plain.dtype).removeprefix("torch.")
    model.provenance = Provenance(name, location, architecture, dtype, str(plain.device), result)
    return model


def check(name: str, original: str = "") -> dict[str, int]:
    """Make sure that a model is there and readable, without loading its weights.

    Args:
        original: As for ``load``.

    Returns:
        The tokenizer's vocabulary.

    Raises:
        ValueError: For an unknown name, a missing or damaged folder, a pickle checkpoint, a
            tokenizer that does not fit.
        PrerequisiteError: When a download or package is needed that is not there.
    """
    location, _ = locate(name)
    base = adapter_base(name)
    with clear_errors(name, location):
        for file in Path(location).glob("*.safetensors"):
            with safe_open(file, framework="pt"):
                pass
    carrier = name if base is None else original or base
    if carrier != name:
        check(carrier)
    tokenizer = load_tokenizer(name, original or base or "")
    check_fit(tokenizer, configuration(carrier).vocab_size, name)
    return tokenizer.get_vocab()


def configuration(name: str) -> Any:
    """The Hugging Face configuration of a model's language part, without its weights.

    Raises:
        ValueError: If it is missing or damaged.
        PrerequisiteError: When a download is needed that is not there.
    """
    location, extra = locate(name)
    extra.pop("use_safetensors", None)
    with clear_errors(name, location):
        return AutoConfig.from_pretrained(location, **extra).get_text_config()


def _probe(vocabulary: int, device: torch.device) -> list[Int[Tensor, "1 _"]]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, vocabulary, (1, length), generator=generator).to(device)
        for length in (12, 7)
    ]


@torch.no_grad()
def _logits(model: Any, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
    out = model(tokens)
    return (out if isinstance(out, Tensor) else out.logits).float()


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def self_test(model: HookedModel, expected: list[Float[Tensor, "1 _ vocab"]]) -> SelfTest:
    """Compare hooked logits with the plain model's: alone, padded, read out, after a cache.

    Args:
        expected: The plain model's logits for each probe sequence.

    Raises:
        RuntimeError: When a difference exceeds the tolerance.
    """
    rows = _probe(expected[0].shape[-1], expected[0].device)
    batch = rows[0].new_full((len(rows), max(r.shape[1] for r in rows)), 0)
    for i, row in enumerate(rows):
        batch[i, : row.shape[1]] = row
    together = _logits(model, batch)
    alone, padded, readout, cached = 0.0, 0.0, 0.0, 0.0
    for i, (row, right) in enumerate(zip(rows, expected, strict=True)):
        alone = max(alone, _difference(_logits(model, row), right))
        padded = max(padded, _difference(together[i, : row.shape[1]], right[0]))
        with torch.no_grad():
            read = unembed(model, forward_to(model, row, model.cfg.n_layers - 1)[0]).float()
            cache, half = DynamicCache(), row.shape[1] // 2
            model(row[:, :half], past_key_values=cache, return_type=None)
            rest = model(row[:, half:], past_key_values=cache).float()
        readout = max(readout, _difference(read, right[0]))
        cached = max(cached, _difference(rest, right[:, half:]))
    full = next(model.parameters()).dtype == torch.float32
    result = SelfTest(alone, padded, readout, cached, tolerance=1e-3 if full else 0.1)
    if not max(alone, padded, readout, cached) <= result.tolerance:
        raise RuntimeError(
            f"the hooked model does not compute what the plain model computes ({result}); "
            "no number from it would be valid"
        )
    return result


def save(model: HookedModel, folder: str | Path) -> Path:
    """Write a plain Hugging Face checkpoint; complete or not at all.

    Raises:
        FileExistsError: If ``folder`` exists and is not empty.
        RuntimeError: If the reloaded weights would not give the hooked model's logits.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} exists and is not empty; nothing was written")
    config = copy.deepcopy(model.original_model.config)
    dtype = next(model.parameters()).dtype
    with torch.random.fork_rng():
        plain = AutoModelForCausalLM.from_config(config, dtype=dtype)
    plain.load_state_dict(plain_state(model))
    plain.tie_weights()
    plain.eval().to(model.cfg.device)
    for row in _probe(config.vocab_size, plain.device):
        difference = _difference(_logits(plain, row), _logits(model, row))
        tolerance = model.provenance.self_test.tolerance
        if difference > tolerance:
            raise RuntimeError(
                f"{type(plain).__name__} cannot be saved: the plain weights give logits that "
                f"differ by {difference:.1%} from the hooked model's"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        plain.save_pretrained(staging)
        model.tokenizer.save_pretrained(staging)
        if folder.exists():
            folder.rmdir()
        staging.chmod(0o755)
        for file in staging.iterdir():
            file.chmod(0o644)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return folder


def describe(model: HookedModel) -> dict[str, Any]:
    """What the RunCard says about a model."""
    origin = asdict(model.provenance)
    del origin["location"]  # A path of this machine; the name is what was asked for.
    return origin | {"fingerprint": fingerprint(model)}
