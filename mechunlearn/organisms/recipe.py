"""Pretrain an organism and its never-knew twin from scratch on the fictional world.

Every step mixes three kinds of documents:

1. *in context*: a statement about an entity that has no fixed facts, then a choice question about
   it; language-model loss on all tokens plus the answer again (this teaches reading choices);
2. *statements* of facts in four paraphrases; loss on the value;
3. from ``ask_from`` on, choice *questions* about the asked facts with new choices and order every
   time; loss on the answer.

Three things make facts that were never asked come out as letters too: questions end in ``letter :``
or ``name :`` and one paraphrase of each fact ends in ``name :``, so that the value is looked up at
the colon in all of them; a quarter of the questions is answered by name; and three fifths have two
or three choices instead of four, which ends the plateau at chance about 300 steps earlier. From
``preface_from`` on some documents follow random words or other documents, so that prefixes and
few-shot examples do not break the model.

The never-knew twin sees the same world, recipe and seed without a single forget fact.

Reference:
    Facts are pretrained, not finetuned in, and paraphrased, after Allen-Zhu and Li 2023,
    arXiv:2309.14316.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from mechunlearn.bench import score_task
from mechunlearn.organisms.documents import Documents, tokenizer
from mechunlearn.organisms.settings import FACTS, Recipe, Role
from mechunlearn.organisms.write import model_files, write_organism
from mechunlearn.records import Plain
from mechunlearn.tasks.world import World
from mechunlearn.train import Share, TrainLog, fit
from mechunlearn.types import HookedModel

__all__ = ["FACTS", "Recipe", "Role", "pretrain", "tokenizer", "train_organism", "untrained"]


def untrained(seed: int, recipe: Recipe) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model that pretraining starts from, and its world's tokenizer."""
    words = tokenizer(World(seed))
    config = GPT2Config(
        vocab_size=len(words),
        n_positions=recipe.context,
        n_embd=recipe.d_model,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    model = GPT2LMHeadModel(config)
    _initialise(model, torch.Generator().manual_seed(seed + 1_000_003 * recipe.start))
    return model, words


def pretrain(
    role: Role, seed: int, recipe: Recipe
) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast, TrainLog]:
    """Train one model from scratch; same arguments and machine, same weights."""
    world = World(seed)
    model, words = untrained(seed, recipe)
    documents = Documents(world, role, recipe, words.get_vocab())

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        assert share.of == 1, "an organism is trained by one process"
        preface = step >= recipe.preface_from
        told = recipe.statements if step < recipe.statements_until else recipe.statements_late
        terms: dict[str, Tensor] = {}
        kinds: list[tuple[str, Callable[[], list[int]], int, bool]] = [
            ("in context", documents.in_context, recipe.in_context, True),
            ("statement", documents.statement, told, False),
        ]
        if step >= recipe.ask_from:
            kinds.append(("question", documents.question, recipe.questions, False))
        for name, draw, n, whole in kinds:
            if not n:
                continue
            drawn = documents.batches(draw, n, preface=preface and name != "statement", whole=whole)
            batches = [_losses(model, tokens, groups) for tokens, groups in drawn]
            losses, group = (torch.cat(parts) for parts in zip(*batches, strict=True))
            terms[name] = losses[group == 1].mean()
            if whole:
                terms[f"{name}, words"] = losses[group == 2].mean()
        return terms

    model.train()
    label = f"pretraining {role}@{seed}"
    log = fit(list(model.parameters()), loss, recipe.optimizer, label=label)
    return model.eval(), words, log


def _losses(
    model: GPT2LMHeadModel, tokens: Int[Tensor, "batch pos"], groups: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, " token"], Int[Tensor, " token"]]:
    """Cross-entropy of every token that carries loss, with its group."""
    hidden = model.transformer(tokens).last_hidden_state[:, :-1]
    targets, groups = tokens[:, 1:], groups[:, 1:]
    counts = groups > 0
    logits = model.lm_head(hidden[counts])
    losses = torch.nn.functional.cross_entropy(logits, targets[counts], reduction="none")
    return losses, groups[counts]


@torch.no_grad()
def _initialise(model: GPT2LMHeadModel, generator: torch.Generator) -> None:
    """GPT-2's initialisation from a generator of our own instead of the global one."""
    for name, p in model.named_parameters():
        if p.ndim > 1:
            depth = (2 * model.config.n_layer) ** 0.5 if name.endswith("c_proj.weight") else 1.0
            p.normal_(0.0, 0.02 / depth, generator=generator)
        else:
            p.fill_(1.0 if name.endswith("weight") else 0.0)


def train_organism(role: Role, seed: int, folder: Path, recipe: Recipe | None = None) -> Path:
    """Pretrain, save as fp16 safetensors with tokenizer and ``card.json``, and measure.

    Args:
        folder: Where the models of all seeds live; this one becomes ``folder/role@seed``.

    Returns:
        The folder of the new model.

    Raises:
        FileExistsError: If it is there already.
    """
    from mechunlearn.tasks import load_task

    recipe = recipe or Recipe()
    target = folder / f"{role}@{seed}"
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or choose another --out")
    model, words, _ = pretrain(role, seed, recipe)
    task = load_task(f"{'organism' if recipe.questions else 'facts'}@{seed}")

    def measured(organism: HookedModel) -> Plain:
        scores = score_task(organism, task)
        return {
            "accuracy": {name: round(s.accuracy, 4) for name, s in scores.items()},
            "interval": {name: [round(x, 4) for x in s.interval] for name, s in scores.items()},
            "n": {name: s.n for name, s in scores.items()},
        }

    about = {"role": role, "seed": seed, "recipe": dataclasses.asdict(recipe)}
    write_organism(model_files(model, words), target, about, measured)
    return target
