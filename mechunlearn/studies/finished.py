"""A finished audit, opened again: its models, and what each of its attacks chose."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from mechunlearn.analysis.report import Report
from mechunlearn.audit.cells import Setup, set_up
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.plan_file import plan_from_data
from mechunlearn.audit.pool import ModelPool
from mechunlearn.audit.run import groups
from mechunlearn.audit.store import CELLS, Store
from mechunlearn.audit.work import chosen_change, loaded
from mechunlearn.errors import unknown
from mechunlearn.types import Change, HookedModel


@dataclass(frozen=True, slots=True)
class Finished:
    """The models of an audit, and the changes that its attacks chose on the select fold.

        run = Finished.open(Path("runs/mine"))
        score(run.model("rmu"), questions, run.setup.task, change=run.change("rmu", "logit_lens"))

    Models stay loaded, so that several can be asked in turn.
    """

    setup: Setup
    evidence: Evidence
    pool: ModelPool

    @classmethod
    def open(
        cls, folder: Path, *, device: str = "auto", trust_remote_code: bool = False
    ) -> "Finished":
        """The audit in a folder; nothing is computed or written.

        Args:
            device, trust_remote_code: As for ``load``; models are found where the audit found them.

        Raises:
            ValueError: If the folder holds no report or no cells, or a model is not where it was.
        """
        if not (folder / CELLS).is_dir():
            raise ValueError(
                f"{folder} holds no cells of an audit; give the folder that mechunlearn audit "
                "--out wrote"
            )
        card = Report.load(folder).runcard
        plan = dataclasses.replace(
            plan_from_data(card.settings, str(folder)),
            device=device,
            trust_remote_code=trust_remote_code,
        )
        setup = set_up(plan, folder, card.machine.threads)
        pool = ModelPool(math.inf).with_options(plan.loading)
        return cls(setup, Evidence(setup, Store(folder).all(setup.cells), {}), pool)

    @staticmethod
    def parted(given: str) -> tuple[Path, str, str]:
        """``RUN:NAME`` or ``RUN:NAME:MODEL`` taken apart; a folder may have colons in its name.

        Raises:
            ValueError: If it does not begin with a folder.
        """
        places = [i for i, sign in enumerate(given) if sign == ":"]
        at = next((i for i in reversed(places) if Path(given[:i]).is_dir()), None)
        if at is None:
            raise ValueError(
                f"--attack {given!r} is no RUN:NAME: RUN is a folder that mechunlearn audit --out "
                "wrote, and NAME one of its attacks"
            )
        name, _, label = given[at + 1 :].partition(":")
        return Path(given[:at]), name, label

    def only_label(self, given: str) -> str:
        """The label of the only model under test.

        Raises:
            ValueError: If there are several; says how to name one after what was ``given``.
        """
        if len(self.labels) > 1:
            raise ValueError(
                f"--attack {given}: the run has several models; add one as {given}:MODEL, of "
                f"{', '.join(self.labels)}"
            )
        return self.labels[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The models under test."""
        return tuple(entry.label for entry in self.setup.unlearned)

    def model(self, label: str) -> HookedModel:
        """A model by its label.

        Raises:
            ValueError: If there is none, or the audit made it and it is no longer there.
        """
        self._entry(label)
        return loaded(self.setup, label, self.pool)

    def change(self, label: str, attack: str) -> Change:
        """What an attack chose for a model under test, made again.

        Directions and masks take a moment, relearning trains again.

        Raises:
            ValueError: If that attack is not finished on it, with this machine's versions.
        """
        self._entry(label)
        if attack not in (done := self._done(label)):
            if attack not in self.setup.attacks:
                raise unknown("attack of this run:", attack, self.setup.attacks)
            raise ValueError(
                f"{self.setup.out} holds no finished {attack} on {label} (finished: "
                f"{', '.join(done) or 'none'}), or it was computed with other versions; run the "
                "same audit again"
            )
        cell = self.evidence.cells["ceiling", label, attack]
        (group,) = groups([cell], self.evidence)
        before = torch.get_num_threads()
        torch.set_num_threads(self.setup.threads)
        try:
            return chosen_change(self.setup, group, self.pool)
        finally:
            torch.set_num_threads(before)

    def _done(self, label: str) -> list[str]:
        evidence = self.evidence
        models = (label, self.setup.original.label)
        if not all(evidence.done("baseline", model) for model in models):
            return []
        return [a for a in self.setup.attacks if evidence.done("attack", label, a)]

    def _entry(self, label: str) -> None:
        known = [entry.label for entry in self.setup.entries]
        if label not in known:
            raise unknown("model of this run:", label, known)
