"""What other installed packages bring, found by their entry points; nothing is imported to look.

[project.entry-points."mechunlearn.attacks"]
steering = "their_package.steering:Steering"
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

GROUPS = {
    "method": "mechunlearn.methods",
    "attack": "mechunlearn.attacks",
    "measure": "mechunlearn.measures",
    "figure": "mechunlearn.figures",
}
"""Names of the groups of entry points, by kind."""


@cache
def installed(kind: str) -> dict[str, EntryPoint]:
    """The entry points of a kind by name; of two with one name the first that is found."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUPS[kind]) if kind in GROUPS else ():
        found.setdefault(entry.name, entry)
    return found


def package_of(entry: EntryPoint) -> str:
    """Name and version of the package that an entry point came with."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def imported(kind: str, entry: EntryPoint) -> object:
    """What an entry point names.

    Raises:
        ValueError: If it cannot be imported, whatever goes wrong in there.
    """
    try:
        return entry.load()
    except Exception as err:
        raise ValueError(
            f"{kind} {entry.name!r} of {package_of(entry)} cannot be imported "
            f"({type(err).__name__}: {err}); mend or uninstall that package"
        ) from err
