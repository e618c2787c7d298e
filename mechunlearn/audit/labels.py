"""Short names of models that no two of them share, and how all of an audit are loaded."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

LABEL = re.compile(r"[\w.:@+-]+")


class Loading(TypedDict):
    """Arguments of ``load`` that all models of an audit share."""

    original: str
    dtype: str
    device: str
    trust_remote_code: bool


def tail(model: str) -> str:
    """The last part of a model's path or id.

    Example:
        >>> tail("models/rmu/"), tail("organism:original@1")
        ('rmu', 'organism:original@1')
    """
    return model.rstrip("/").split("/")[-1]


def split_label(given: str) -> tuple[str | None, str]:
    """``LABEL=MODEL`` taken apart; a model without a label has ``None``.

    Raises:
        ValueError: If the label is empty or has signs that file names do not.
    """
    label, sign, model = given.partition("=")
    if not sign or "/" in label or Path(given).exists():
        return None, given
    if not LABEL.fullmatch(label) or not model:
        raise ValueError(
            f"{given!r} is no LABEL=MODEL: a label has letters, digits and . : @ + - _, and a "
            "model's name, folder or id follows the ="
        )
    return label, model


def distinct(models: Sequence[str], flag: str = "--unlearned") -> list[str]:
    """A short label for each model: as many of the last parts of its path as tell it apart.

    Args:
        flag: The option that messages name.

    Raises:
        ValueError: If two are the same.

    Example:
        >>> distinct(["a/checkpoint-60", "b/checkpoint-60", "c/rmu"])
        ['a-checkpoint-60', 'b-checkpoint-60', 'rmu']
    """
    parts = [m.rstrip("/").split("/") for m in models]
    lengths = [1] * len(models)
    while True:
        labels = ["-".join(p[-n:]) for p, n in zip(parts, lengths, strict=True)]
        same = [i for i, label in enumerate(labels) if labels.count(label) > 1]
        if not same:
            return labels
        if all(lengths[i] >= len(parts[i]) for i in same):
            raise ValueError(
                f"two models are both {models[same[0]]!r}; leave one out, or tell them apart with "
                f"{flag} LABEL=MODEL"
            )
        for i in same:
            lengths[i] = min(lengths[i] + 1, len(parts[i]))


def labelled(
    models: Sequence[str], methods: Sequence[str] = (), flag: str = "--unlearned"
) -> dict[str, str]:
    """Label of every model -> its source, or the method that makes it.

    Args:
        flag: The option that messages name.

    Raises:
        ValueError: If one model is given twice, or a label is used twice.
    """
    given = [split_label(model) for model in models]
    free = [model for label, model in given if label is None]
    if len(set(free)) < len(free):
        twice = next(m for m in free if free.count(m) > 1)
        raise ValueError(f"{flag} names {twice!r} twice; leave one out")
    own = iter(distinct(free, flag))
    pairs = [(label or next(own), model) for label, model in given]
    pairs += [(method, method) for method in methods]
    labels = [label for label, _ in pairs]
    if same := next((x for x in labels if labels.count(x) > 1), None):
        raise ValueError(
            f"two models are called {same!r}; give one another name with {flag} LABEL=MODEL"
        )
    return dict(pairs)


def free_label(wanted: str, taken: Sequence[str], role: str) -> str:
    """A label for a model of another role, told apart from those that are taken.

    Example:
        >>> free_label("original", ["original"], "original")
        'original (original)'
    """
    return f"{wanted} ({role})" if wanted in taken else wanted
