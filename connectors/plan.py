"""Plan: which partitions a run reads, from where to where, and in which lanes; written once, before the first read.

Whatever lateness and order depend on is fixed here, so that every process and every resume works on the same.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from connectors.source import SourceError

MAX_LANES = 4


class PlannedPartition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition: offsets [start, end) in Kafka (end None: live), or its files and their sizes in an archive."""

    topic: str
    partition: int | str
    dataset: str
    allowed_lateness_ms: int
    start: int = 0
    end: int | None = None
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name the partition as progress and marks do."""
        return f"{self.topic}/{self.partition}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a run; `identity` is what a resume must not have changed."""

    identity: dict[str, str]
    partitions: tuple[PlannedPartition, ...]
    lanes: int

    def lane_names(self) -> list[str]:
        """Give the names of the lanes; they do not depend on the number of processes."""
        return [f"lane-{number}" for number in range(self.lanes)]

    def of_lane(self, lane: str) -> list[PlannedPartition]:
        """Give the partitions of a lane, dealt round robin."""
        return list(self.partitions[int(lane.removeprefix("lane-")) :: self.lanes])

    def by_dataset(self) -> dict[str, list[str]]:
        """Give dataset -> names of its partitions."""
        out: dict[str, list[str]] = {}
        for partition in self.partitions:
            out.setdefault(partition.dataset, []).append(partition.name)
        return out


def read_plan(path: Path) -> Plan:
    """Read the plan of a run; msgspec.DecodeError where the file holds something else."""
    return msgspec.json.decode(path.read_bytes(), type=Plan)


def make_plan(partitions: Sequence[PlannedPartition], identity: dict[str, str]) -> Plan:
    """Deal partitions to lanes in a fixed order."""
    ordered = sorted(partitions, key=lambda p: (p.topic, str(p.partition).zfill(12)))
    return Plan(identity=identity, partitions=tuple(ordered), lanes=max(1, min(MAX_LANES, len(ordered))))


def load_or_create(path: Path, make: Callable[[], Plan], identity: dict[str, str]) -> Plan:
    """Give the plan of a run folder, making it on the first start; SourceError where the run has changed since."""
    if path.exists():
        plan = read_plan(path)
        for key, now in identity.items():
            before = plan.identity.get(key)
            if before != now:
                raise SourceError(
                    f"{path.parent} was begun with {key} {before}, and now it is {now}: "
                    "change it back, or start in a new folder"
                )
        return plan
    plan = make()
    write_plan(path, plan)
    return plan


def grown(plan: Plan, new: Sequence[PlannedPartition]) -> Plan:
    """Give the plan with partitions more, which come behind the others: those stay in their lanes."""
    ordered = sorted(new, key=lambda p: (p.topic, str(p.partition).zfill(12)))
    return msgspec.structs.replace(plan, partitions=(*plan.partitions, *ordered))


def write_plan(path: Path, plan: Plan) -> None:
    """Write the plan; it is on the disk when this returns, whole or not at all."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(plan))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
