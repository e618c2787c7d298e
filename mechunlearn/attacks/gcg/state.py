"""Where a search stands, and the file from which it goes on."""

from dataclasses import dataclass, field
from pathlib import Path

from mechunlearn.attacks.gcg.caches import Ids
from mechunlearn.environment import write_json
from mechunlearn.records import Record, plain, read_record


@dataclass(frozen=True, slots=True)
class Text:
    """An optimised text and its loss over all questions."""

    ids: Ids
    loss: float


@dataclass(slots=True)
class State:
    """Where a search stands."""

    restart: int = 0
    step: int = 0
    buffer: list[Text] = field(default_factory=list)
    """Best first."""
    bests: list[Text] = field(default_factory=list)
    """The best text ever of each restart."""
    curve: list[float] = field(default_factory=list)
    """Best loss so far of the restart, after each step of each restart."""
    places: list[float] = field(default_factory=list)
    """Recent mean rank of the children changed at each place, from 0 (best) to 1."""
    scored: int = 0
    """Children scored."""
    flops: int = 0
    """Arithmetic so far, also before an interruption."""

    @property
    def best(self) -> Text:
        """The best text ever."""
        return min(self.bests, key=lambda t: t.loss)


class StateFile(Record, frozen=True):
    """A search on disk; floats survive bit for bit."""

    identity: str
    """Hash of the model, the problem and the settings."""
    state: State


def read_state(path: Path, identity: str) -> State:
    """The state that a file keeps.

    Raises:
        ValueError: If the file is damaged, or belongs to another search.
    """
    file = read_record(path, StateFile)
    if file.identity != identity:
        raise ValueError(f"{path} belongs to another search; remove it first")
    return file.state


def write_state(path: Path, identity: str, state: State) -> None:
    """Keep a state, replacing what is there."""
    write_json(path, plain(StateFile(identity=identity, state=state)))
