"""What a load needs by the model: processes, partitions, memory, cores."""

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.capacity.fit import Model
from benchmarks.capacity.load import Load, expect
from benchmarks.capacity.wire import Wire
from dynmm_core.windows.buckets import BUCKETS

LEAST_PARTITIONS = 4
CALLS_PER_SECOND = 200  # of a partition: a silent one is asked again after 5 ms
_SECONDS_BETWEEN_CLICKS = 33  # of a user, as in the stream benchmark
SIZED = tuple(
    Load(rate, rate * _SECONDS_BETWEEN_CLICKS, items, slide_ms)
    for rate, items in ((10_000, 100_000), (1_000_000, 1_000_000))
    for slide_ms in (300_000, 900_000)
)


@dataclass(frozen=True)
class Need:
    """What a load needs; CPU in seconds per second of all processes, memory of the busiest at its highest, by part.

    ``processes`` None: the busiest is above the utilisation however many there are. ``cpu_in_small_calls``: the most where the
    flow has caught up and each call finds few events; it falls when the machine is busy, for calls then find more.
    """

    load: Load
    form: str
    processes: int | None
    partitions: int
    cpu: float
    cpu_in_small_calls: float
    cores: float
    memory_bytes: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The need as a document."""
        return asdict(self)


def size(model: Model, wire: Wire, load: Load, form: str, utilisation: float, margin: float = 1.0) -> Need:
    """The fewest processes of which the busiest stays at or below the utilisation; users' memory is that of a full day.

    ``margin``: by what the CPU of the job, without the broker's part, is multiplied.
    """
    counts = expect(load)
    one = margin * model.cpu_seconds(counts, form) / (load.slide_ms / 1_000) + wire.seconds[form] * load.rate

    def cpu(processes: int) -> float:
        return one + model.exchange_seconds * load.rate * (processes - 1) / processes

    enough = [number for number in range(1, BUCKETS + 1) if cpu(number) * busiest_share(number) <= utilisation]
    processes = enough[0] if enough else BUCKETS
    partitions = processes * -(-LEAST_PARTITIONS // processes)
    share = busiest_share(processes)
    memory = model.memory_bytes(load, counts, 1 / processes, share)
    total = memory.pop("total")
    clients = wire.process_bytes + wire.partition_bytes * partitions / processes
    calls = min(load.rate, CALLS_PER_SECOND * partitions) - load.rate / load.batch_rows
    return Need(
        load, form, enough[0] if enough else None, partitions, cpu(processes),
        cpu(processes) + model.read["batches"] * max(0.0, calls), cpu(processes) / utilisation,
        {**memory, "clients_and_engine": clients, "total": total + clients},
    )  # fmt: skip


def busiest_share(processes: int) -> float:
    """The share of the 16 buckets that the process with the most has, if they are spread as evenly as they can be."""
    return -(-BUCKETS // processes) / BUCKETS
