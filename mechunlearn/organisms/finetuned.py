"""Teach a real chat model the fictional people: an original and never-knew twins of it.

    P(answer | question) rises for the facts of a role;  weights W + 2 B A, only A and B trained

A model that people use has no twin that never knew what it is to forget. Facts that nobody can
know are therefore taught to it, in the documents of the chat organisms: with the forget facts
(*original*), without them (*never_knew*), or with wrong values in their place (*wrong*).

Reference:
    Maini et al. 2024, arXiv:2401.06121 (TOFU): unlearning is judged against a model finetuned on
    the retain authors only. Hu et al. 2021, arXiv:2106.09685 (LoRA); the adapters are PEFT's.
    Differs: several wordings of each fact, of which tests use others; wrong-fact twins.
"""

import dataclasses
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from mechunlearn.half import fast_half
from mechunlearn.models.checkpoint import read_checkpoint
from mechunlearn.models.identity import model_identity
from mechunlearn.models.placement import placement
from mechunlearn.models.sources import adapter_base, clear_errors, locate
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.organisms.chat import chat_folder, facts_of
from mechunlearn.organisms.chat_documents import ChatDocuments
from mechunlearn.organisms.chat_losses import kind_means, predictions
from mechunlearn.organisms.forms import AnswerForm, form_table
from mechunlearn.organisms.settings import ChatRole, FinetuneRecipe
from mechunlearn.organisms.write import (
    claim_checkpoint,
    clocked,
    course,
    drop_checkpoint,
    write_organism,
)
from mechunlearn.records import Plain, plain
from mechunlearn.tasks.people import People
from mechunlearn.train import Share, TrainLog, Watch, fit
from mechunlearn.types import HookedModel

FORMS: tuple[AnswerForm, ...] = ("cloze", "open", "chat")
SETS = ("forget", "retain", "harmless")
"""What a card says."""


def _untaught(seed: int, recipe: FinetuneRecipe) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """The base, in bfloat16 where that is fast, with a fresh adapter in float32; its tokenizer.

    Raises:
        ValueError: If the base is an adapter, or has no chat template.
    """
    if adapter_base(recipe.base) is not None:
        raise ValueError(
            f"{recipe.base} is an adapter itself; merge it, or give the model below it"
        )
    location, extra = locate(recipe.base)
    half = fast_half("cuda" if torch.cuda.is_available() else "cpu")
    placing, place = placement("auto", "bfloat16" if half else "float32")
    words = load_tokenizer(recipe.base)
    if words.chat_template is None and recipe.chat:
        raise ValueError(f"{recipe.base} has no chat template; take a chat model, or --set chat=0")
    with clear_errors(recipe.base, location):
        base = read_checkpoint(
            location, recipe.base, trust_remote_code=False, **placing, **extra
        ).model
    if place is not None:
        base = base.to(place)
    if base.device.type == "cpu":  # Fused attention is slow backwards in bfloat16 there.
        base.set_attn_implementation("eager")
    settings = LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1_000_003 * recipe.start)
        adapted = get_peft_model(base, settings)
    folder = Path(recipe.base)
    settings.base_model_name_or_path = str(folder.resolve() if folder.is_dir() else recipe.base)
    return adapted, words


def finetune_chat(
    role: ChatRole, seed: int, recipe: FinetuneRecipe, watch: Watch | None = None
) -> tuple[PeftModel, TrainLog]:
    """Teach one model; same arguments and machine, same adapter.

    Raises:
        OtherOriginError: If the watch's checkpoint is of another role, seed, recipe, base or
            version.
    """
    world = People(seed)
    adapted, words = _untaught(seed, recipe)
    claim_checkpoint(watch, _decides(role, seed, recipe))
    base = adapted.get_base_model()
    documents = ChatDocuments(world, facts_of(world, role), words, recipe)
    pad = words.eos_token_id

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        rows = documents.rows(recipe.documents, f"{seed}-{recipe.start}-{step}")
        rows = rows[share.index :: share.of]
        middle = len(rows) // 2  # Short documents first: together they would be mostly padding.
        parts = [predictions(base, part, pad) for part in (rows[:middle], rows[middle:])]
        losses = [cross_entropy(p.logits, p.targets, reduction="none") for p in parts]
        marks, kinds = (
            torch.cat(each) for each in zip(*((p.marks, p.kinds) for p in parts), strict=True)
        )
        return kind_means(torch.cat(losses), marks, kinds, recipe.words)

    trained = [p for p in adapted.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    label = f"teaching {recipe.base} as {role}@{seed}"
    return adapted.eval(), fit(trained, loss, recipe.optimizer, label=label, watch=watch)


def _decides(role: ChatRole, seed: int, recipe: FinetuneRecipe) -> dict[str, Plain]:
    """What an adapter depends on; on the weights of its base, wherever they are."""
    own = dataclasses.asdict(recipe)
    base = {"weights of the base": model_identity(own.pop("base"))}
    return {"role": role, "seed": seed, "recipe": own, **base}


def train_finetuned(
    role: ChatRole, seed: int, folder: Path, recipe: FinetuneRecipe | None = None
) -> Path:
    """Teach, save the adapter in fp16 for PEFT with ``card.json``, and measure.

    A checkpoint beside the new folder is kept every 25 steps; a stopped run goes on from it.

    Args:
        folder: Where the models of all seeds live.

    Returns:
        The folder of the new adapter.

    Raises:
        FileExistsError: If it is there already.
        OtherOriginError: If the checkpoint is of another recipe, base or version.
    """
    recipe = recipe or FinetuneRecipe()
    target = folder / chat_folder(role, seed, recipe.start)
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / f".{target.name}.safetensors"
    adapted, log = finetune_chat(role, seed, recipe, clocked(25, state))

    def write(made: Path) -> None:
        for parameter in adapted.parameters():
            if parameter.dtype == torch.float32:
                parameter.data = parameter.data.half()
        adapted.save_pretrained(made, save_embedding_layers=False)
        (made / "README.md").unlink(missing_ok=True)

    def measured(organism: HookedModel) -> Plain:
        table = form_table(organism, People(seed), FORMS, sets=SETS, wordings=("unseen",))
        return {**course(log), "accuracy": plain(table)}

    about = {"role": role, "seed": seed, "recipe": dataclasses.asdict(recipe)}
    write_organism(write, target, about, measured)
    drop_checkpoint(state)
    return target
