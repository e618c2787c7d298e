"""Write hooked models as plain Hugging Face checkpoints, and describe them for RunCards."""

import copy
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from mechunlearn.models.gate import difference, logits_of, probe
from mechunlearn.models.weights import fingerprint, plain_state
from mechunlearn.types import HookedModel


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
    for row in probe(config.vocab_size, plain.device):
        apart = difference(logits_of(plain, row), logits_of(model, row))
        tolerance = model.provenance.self_test.tolerance
        if apart > tolerance:
            raise RuntimeError(
                f"{type(plain).__name__} cannot be saved: the plain weights give logits that "
                f"differ by {apart:.1%} from the hooked model's"
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
