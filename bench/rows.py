"""What is measured: the rows of the comparison, with their goals."""
from dataclasses import dataclass
from typing import Callable

from harness import device_sync, percentile


@dataclass(frozen=True)
class Metric:
    """A column."""

    key: str
    title: str
    digits: int = 1
    unit: str = ""

    def show(self, value):
        return "-" if value is None else f"{value:,.{self.digits}f}{self.unit}"

    def ratio(self, ours, theirs):
        return "-" if not ours or not theirs else f"{ours / theirs:.2f}"


@dataclass(frozen=True)
class Goal:
    """What a metric should reach: as a number, or in relation to Kafka's in the same run."""

    metric: Metric
    limit: float
    at_least: bool = False
    ratio: bool = False
    of: str = None

    def verdict(self, ours, theirs):
        value, unit = ours.get(self.metric.key), self.metric.unit
        name = f"{self.metric.title} {'>=' if self.at_least else '<='} {self.limit:g}{unit}"
        if self.ratio:
            base = theirs.get(self.of or self.metric.key)
            value, unit = (value / base if value is not None and base else None), ""
            name = f"{self.metric.title} {'>=' if self.at_least else '<='} {self.limit:g} x Kafka's"
        elif self.of:
            base = ours.get(self.of)
            value, unit = (value / base if value is not None and base else None), ""
            name = f"{self.metric.title} {'>=' if self.at_least else '<='} {self.limit:g} x {self.of}"
        if value is None:
            return f"goal: {name}"
        reached = value >= self.limit if self.at_least else value <= self.limit
        return f"goal: {name}: **{'reached' if reached else 'missed'}**, {value:.3g}{unit}"


MB_PER_S = Metric("mb_per_s", "MB/s", 0)
PLAIN_MB_PER_S = Metric("plain_mb_per_s", "MB/s uncompressed", 0)
REQUESTS = Metric("requests_per_s", "requests/s", 0)
P50, P99, P999 = Metric("p50", "p50 ms", 2), Metric("p99", "p99 ms", 2), Metric("p99_9", "p99.9 ms", 2)
CPU_PER_GB = Metric("cpu_s_per_gb", "CPU-s per GB", 2)
CPU_PER_REQUEST = Metric("cpu_us_per_request", "CPU us per request", 1)
RESIDENT = Metric("resident_mb", "resident MB", 0)
LOAD = (MB_PER_S, REQUESTS, P50, P99, P999, CPU_PER_GB, CPU_PER_REQUEST, RESIDENT)


def flat(result, latency="latency_ms"):
    """What the load generator found, as one level of names."""
    found = {key: result.get(key) for key in ("mb_per_s", "plain_mb_per_s", "requests_per_s", "records_per_s")}
    found |= {key: value for key, value in (result.get(latency) or {}).items()}
    found |= result.get("process") or {}
    return found


@dataclass(frozen=True)
class Row:
    """`measure(bench, contestant, turn)` returns metrics by key."""

    name: str
    text: str
    measure: Callable
    metrics: tuple = LOAD
    goals: tuple = ()
    rounds_max: int = 100

    def brief(self, found):
        shown = [f"{m.title} {m.show(found[m.key])}" for m in self.metrics if found.get(m.key) is not None]
        return ", ".join(shown)


LARGE = {"connections": 8, "in_flight": 4, "record_bytes": 1024, "records_per_batch": 64}
SMALL = {"connections": 64, "in_flight": 1, "record_bytes": 100, "records_per_batch": 1}


def topic(bench, broker, name, durability, configs=None):
    """Options for a topic of its own for each run, deleted afterwards."""
    return {"topic": name, "configs": {**broker.topic_configs[durability], **(configs or {})}, "warmup": 1.5,
            "duration": bench.o.seconds}


# Without fsync, a fast broker would soon write more than the kernel keeps unsynced (a tenth of the memory), and be held
# up for the rest of the time. So short a run fits.
IN_PAGE_CACHE = {"warmup": 0.5, "duration": 2}


def produce(durability, partitions, configs=None, times=None, **load):
    """Produces into an empty topic."""

    def measure(bench, contestant, turn):
        broker = bench.broker(contestant)
        options = topic(bench, broker, f"produce-{turn}-{partitions}", durability, configs) | (times or {})
        result = bench.load.run(broker, "produce", create_partitions=partitions, delete_topic=True, **options, **load)
        return flat(result)

    return measure


def fetch(bench, contestant, turn):
    """Reads what was just written, from the page cache."""
    broker = bench.broker(contestant)
    options = topic(bench, broker, f"fetch-{turn}", "memory")
    fill = {**options, "warmup": 0, "duration": 4}
    bench.load.run(broker, "produce", create_partitions=8, **fill, **LARGE)
    options.pop("configs")
    return flat(bench.load.run(broker, "fetch", connections=8, max_bytes=1 << 20, delete_topic=True, **options))


def end_to_end(bench, contestant, turn):
    """Single records, from when they are due to when a consumer that waits for them has them."""
    broker = bench.broker(contestant)
    options = topic(bench, broker, f"end-to-end-{turn}", "memory")
    result = bench.load.run(broker, "latency", create_partitions=1, end_to_end=True, delete_topic=True, **options)
    return flat(result, "delivery_ms")


def acknowledged(bench, contestant, turn):
    """Single records, from when they are due to when they are acknowledged as synced; and the device by itself."""
    broker = bench.broker(contestant)
    options = topic(bench, broker, f"acknowledged-{turn}", "fsync")
    result = flat(bench.load.run(broker, "latency", create_partitions=1, delete_topic=True, **options))
    times = device_sync(bench.space.path)
    return result | {"device_p50": percentile(times, 0.5), "device_p99": percentile(times, 0.99)}


DEVICE = (Metric("device_p50", "device's fdatasync p50 ms", 2), Metric("device_p99", "its p99 ms", 2))

ROWS = (
    Row("produce-large", "64 x 1 KiB per request, 8 partitions, 8 connections x 4 in flight, no fsync; 2 s each",
        produce("memory", 8, times=IN_PAGE_CACHE, **LARGE),
        goals=(Goal(MB_PER_S, 2, at_least=True, ratio=True), Goal(CPU_PER_GB, 1.5))),
    Row("produce-large-fsync", "the same, every acknowledgement synced", produce("fsync", 8, **LARGE),
        goals=(Goal(MB_PER_S, 2.5, at_least=True, ratio=True),)),
    Row("produce-small", "1 x 100 B per request, 8 partitions, 64 connections, no fsync", produce("memory", 8, **SMALL),
        goals=(Goal(REQUESTS, 1.5, at_least=True, ratio=True), Goal(CPU_PER_REQUEST, 15))),
    Row("produce-small-fsync", "the same, every acknowledgement synced", produce("fsync", 8, **SMALL),
        goals=(Goal(REQUESTS, 8, at_least=True, ratio=True),)),
    Row("produce-small-fsync-256", "the same over 256 partitions", produce("fsync", 256, **SMALL),
        goals=(Goal(REQUESTS, 4, at_least=True, ratio=True),)),
    Row("fetch", "1 MiB answers of what is in the page cache, 8 partitions, 8 connections", fetch,
        goals=(Goal(MB_PER_S, 1.3, at_least=True, ratio=True), Goal(CPU_PER_GB, 0.35))),
    Row("end-to-end", "one record of 100 B to a waiting consumer, 500 per second, no fsync", end_to_end,
        metrics=(P50, P99, P999, CPU_PER_REQUEST), goals=(Goal(P50, 0.15), Goal(P99, 0.5))),
    Row("acknowledged-fsync", "one record of 100 B acknowledged as synced, 500 per second", acknowledged,
        metrics=(P50, P99, P999, *DEVICE, CPU_PER_REQUEST), goals=(Goal(P99, 2, of="device_p99"),)),
)
