"""Write hooked models as plain Hugging Face checkpoints, and describe them for RunCards."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from accelerate import dispatch_model, init_empty_weights
from transformers import PreTrainedModel

from mechunlearn.models.cards import ModelCard, SelfTestCard
from mechunlearn.models.gate import difference, logits_of, probe
from mechunlearn.models.loader import hook
from mechunlearn.models.tokenizer import save_tokenizer
from mechunlearn.models.weights import fingerprint, plain_state, without_weights
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
    plain = _plain(model)
    for row in probe(plain.config.get_text_config().vocab_size, plain.device):
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
        save_tokenizer(model.tokenizer, staging)
        say_rotary_base(staging)
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


def copied(model: HookedModel) -> HookedModel:
    """The same model again, with weights of its own."""
    plain = _plain(model)
    plain.load_state_dict({k: v.clone() for k, v in plain.state_dict().items()}, assign=True)
    plain.tie_weights()
    return hook(plain, model.tokenizer, name=model.provenance.name)


def say_rotary_base(folder: Path) -> None:
    """Write the base of rotary positions where transformers 4 looks for it too.

    Without ``rope_theta`` it would take 10,000 for every model, and say nothing.
    """
    file = folder / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    rotary = settings.get("rope_parameters") or {}
    if "rope_theta" in rotary and "rope_theta" not in settings:
        settings["rope_theta"] = rotary["rope_theta"]
        file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@torch.no_grad()
def _plain(model: HookedModel) -> PreTrainedModel:
    """The plain architecture around the hooked model's own tensors: no second copy of them."""
    # Buffers are made anew from the configuration, as they are on loading.
    with torch.random.fork_rng(), init_empty_weights(include_buffers=False):
        plain = without_weights(model)
    plain.load_state_dict(plain_state(model), assign=True)
    plain.tie_weights()
    plain.eval()
    if mapped := getattr(model.original_model, "hf_device_map", None):
        return dispatch_model(plain, mapped)
    return plain.to(model.cfg.device)


def describe(model: HookedModel) -> ModelCard:
    """What the RunCard says about a model; not its location, which is a path of this machine."""
    origin = model.provenance
    test, parity = origin.self_test, origin.parity
    return ModelCard(
        name=origin.name,
        architecture=origin.architecture,
        dtype=origin.dtype,
        device=origin.device,
        fingerprint=fingerprint(model),
        self_test=SelfTestCard(
            alone=test.alone,
            padded=test.padded,
            readout=test.readout,
            tolerance=test.tolerance,
            cached=test.cached,
            letters=None if parity is None else parity.letters,
            cloze=None if parity is None else parity.cloze,
            left_padded=None if parity is None else parity.left_padded,
            generated=None if parity is None else parity.generated,
            switched_off=() if parity is None else parity.switched_off,
        ),
        renamed=origin.renamed,
        left_out=origin.left_out,
        trust_remote_code=origin.trust_remote_code,
    )
