"""Where models are made and cells computed: here, in several processes, or on a Ray cluster."""

from typing import Literal, get_args

from mechunlearn.audit.engines.base import Engine, Here, Workers
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.pool import ModelPool
from mechunlearn.errors import unknown

__all__ = ["NAMES", "Engine", "Here", "Workers", "engine"]

Name = Literal["here", "ray"]
NAMES: tuple[Name, ...] = get_args(Name)


def engine(
    name: str, address: str = "auto", workers: int = 0, plan: AuditPlan | None = None
) -> Engine:
    """An engine by name.

    Args:
        address: For Ray: ``auto``, a head's ``HOST:PORT``, or ``local`` for one on this machine.
        workers: How many; 0: as many as ``plan`` is carried out in soonest (this process without
            one), or with Ray as many as the cluster has room for.

    Raises:
        ValueError: For an unknown name.
        PrerequisiteError: If Ray is not installed or no cluster is found.
    """
    if name not in NAMES:
        raise unknown("engine", name, NAMES)
    if name == "here":
        from mechunlearn.audit.engines.processes import Processes, fitting

        workers = workers or (fitting(plan) if plan else 1)
        return Here(ModelPool()) if workers < 2 else Processes(workers)
    from mechunlearn.audit.engines.ray import OnRay

    return OnRay(address, workers)
