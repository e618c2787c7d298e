"""Attacks: each finds something and returns it as a value; nobody here scores or prints."""

from mechunlearn.attacks.protocol import Attack, Confirm, Grid, Search, Trace, Trials, View
from mechunlearn.attacks.seen import Progress, Scored, Seen, Watch, halves
from mechunlearn.attacks.vocabulary import Access, Family, Need, NoSettings
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
    "Trials",
    "View",
    "Watch",
    "halves",
]
