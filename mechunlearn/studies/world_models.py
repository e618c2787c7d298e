"""The models of a validation's world: shipped, in a folder of twins, or made here.

Each is named by what it is in its world: the *original*, its never-knew *twin*, the *stranger*
(a second never-knew model), the stranger's *distilled* copy, and one taught *wrong* facts.
"""

import dataclasses
import re
import shlex
from collections import Counter
from pathlib import Path

from mechunlearn.models import ORGANISMS, named_models
from mechunlearn.models.sources import ADAPTER
from mechunlearn.organisms.chat import chat_folder
from mechunlearn.organisms.recipe import Recipe, Role, train_organism
from mechunlearn.organisms.settings import ChatRole
from mechunlearn.studies.treatments import distil

CHAT: dict[str, tuple[ChatRole, int]] = {
    "original": ("original", 0),
    "twin": ("never_knew", 0),
    "stranger": ("never_knew", 1),
    "wrong": ("wrong", 0),
}
"""Role and start of the models that were taught the fictional people."""
NEEDED = ("original", "twin")
MADE = (0, 1, 10, 11, 12, 13, 14)
"""Worlds of the word-level organisms: two are shipped, the others are made."""


def shipped(seed: int) -> bool:
    """Whether the package has this world's organisms; they answer with letters."""
    return (ORGANISMS / f"original@{seed}").is_dir()


def known_models(seed: int, *, chat: bool = False, twins: str = "") -> dict[str, str]:
    """Models of a world that are there already; none where they are to be made.

    Args:
        chat: The shipped chat organisms; the world of seed 0 alone has strangers.
        twins: Folder of twins of a real model, as ``organism train --kind chat --base`` writes it.

    Raises:
        ValueError: If both are wanted, or the original or its never-knew twin is not there.
    """
    if chat and twins:
        raise ValueError("--chat and --twins name two sets of models: give one of them")
    if twins:
        return _twins(Path(twins), seed)
    if chat:
        known = named_models()
        found = {name: f"chat:{folder}" for name, folder in _folders(seed).items()}
        if found["original"] not in known:
            raise ValueError(f"there are no chat organisms of seed {seed}; try 0")
        return {name: model for name, model in found.items() if model in known}
    if shipped(seed):
        return {"original": f"organism:original@{seed}", "twin": f"organism:never_knew@{seed}"}
    return {}


def worlds(*, chat: bool = False, twins: str = "") -> tuple[int, ...]:
    """Seeds that are taken where none are named: all whose models are there, else ``MADE``."""
    if not chat and not twins:
        return MADE
    names = [*named_models()] if chat else [path.name for path in Path(twins).glob("*")]
    found = [re.fullmatch(r"(?:chat:)?(original|never_knew)@(\d+)", name) for name in names]
    seeds = Counter(int(match[2]) for match in found if match)
    return tuple(sorted(seed for seed, models in seeds.items() if models == 2)) or (0,)


def _folders(seed: int) -> dict[str, str]:
    return {name: chat_folder(role, seed, start) for name, (role, start) in CHAT.items()}


def _twins(folder: Path, seed: int) -> dict[str, str]:
    wanted = {name: folder / model for name, model in _folders(seed).items()}
    found = {
        name: str(model)
        for name, model in wanted.items()
        if any((model / file).is_file() for file in (ADAPTER, "config.json"))
    }
    if lacking := [name for name in NEEDED if name not in found]:
        models = " and no ".join(wanted[name].name for name in lacking)
        role = f" --role {CHAT[lacking[0]][0]}" if len(lacking) < len(NEEDED) else ""
        raise ValueError(
            f"{folder} has no {models}: make what is missing with mechunlearn organism train "
            f"--kind chat --base MODEL --seed {seed}{role} --out {shlex.quote(str(folder))}, or "
            f"leave {seed} out of --seeds"
        )
    return found


def made_models(seed: int, folder: Path, recipe: Recipe, *, distilled: bool) -> dict[str, str]:
    """Small organisms of a world, trained where they are not in ``folder`` yet.

    Args:
        distilled: Make the stranger's copy too.
    """
    stranger = dataclasses.replace(recipe, start=1)
    wanted: dict[str, tuple[Role, Path, Recipe]] = {
        "original": ("original", folder / "organisms", recipe),
        "twin": ("never_knew", folder / "organisms", recipe),
        "stranger": ("never_knew", folder / "strangers", stranger),
    }
    found = {}
    for name, (role, where, own) in wanted.items():
        found[name] = str(where / f"{role}@{seed}")
        if not Path(found[name]).exists():
            train_organism(role, seed, where, own)
    if distilled:
        found["distilled"] = str(folder / "organisms" / "distilled")
        distil(found["stranger"], seed, recipe, Path(found["distilled"]))
    return found
