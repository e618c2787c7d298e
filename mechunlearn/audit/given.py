"""What a plan must not be given twice."""

import os
from collections.abc import Sequence

from mechunlearn.audit.labels import split_label


def refuse_one_folder(models: Sequence[str], flag: str, labels: bool = False) -> None:
    """Two spellings of one folder, such as ``a/rmu`` and ``./a/rmu``, are one model.

    Args:
        flag: The option that messages name.
        labels: Whether models may be ``LABEL=MODEL``; those may be the same.

    Raises:
        ValueError: If two are one.
    """
    known: dict[str, str] = {}
    for model in models:
        if labels and split_label(model)[0] is not None:
            continue
        place = os.path.realpath(model)
        if known.get(place) == model:
            raise ValueError(f"{flag} names {model!r} twice; leave one out")
        if place in known:
            raise ValueError(f"{flag} {known[place]!r} and {model!r} are one folder; leave one out")
        known[place] = model
