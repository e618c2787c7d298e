"""Attacks: each finds something and returns it as a value; nobody here scores or prints."""

from mechunlearn.attacks.protocol import (
    Access,
    Attack,
    Confirm,
    Family,
    Grid,
    Need,
    NoSettings,
    Progress,
    Scored,
    Search,
    Seen,
    Trace,
    View,
    Watch,
    halves,
)
from mechunlearn.presets import Size

__all__ = [
    "Access",
    "Attack",
    "Confirm",
    "Family",
    "Grid",
    "Need",
    "NoSettings",
    "Progress",
    "Scored",
    "Search",
    "Seen",
    "Size",
    "Trace",
    "View",
    "Watch",
    "halves",
]
