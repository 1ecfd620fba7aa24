"""What is measured: the rows of the comparison, with their goals."""
import contextlib
import os
import re
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

import idle
from harness import Failure, Kafka, device_sync, folder_bytes, percentile, use_memory
from wire import Client, until_acknowledged


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
    # Another row, where the relation is to Kafka's result in that one.
    beside: str = None

    def verdict(self, ours, theirs):
        value, unit = ours.get(self.metric.key), self.metric.unit
        name = f"{self.metric.title} {'>=' if self.at_least else '<='} {self.limit:g}{unit}"
        if self.ratio:
            base = theirs.get(self.of or self.metric.key)
            value, unit = (value / base if value is not None and base else None), ""
            name = f"{self.metric.title} {'>=' if self.at_least else '<='} {self.limit:g} x Kafka's"
            name += f" in {self.beside}" if self.beside else ""
        elif self.of:
            base = ours.get(self.of)
            value, unit = (value / base if value is not None and base else None), ""
            name = f"{self.metric.title} {'>=' if self.at_least else '<='} {self.limit:g} x {self.of}"
        if value is None:
            return f"goal: {name}"
        rounding = 1e-9
        reached = value >= self.limit - rounding if self.at_least else value <= self.limit + rounding
        return f"goal: {name}: **{'reached' if reached else 'missed'}**, {value:.3g}{unit}"


MB_PER_S = Metric("mb_per_s", "MB/s", 0)
PLAIN_MB_PER_S = Metric("plain_mb_per_s", "MB/s uncompressed", 0)
REQUESTS = Metric("requests_per_s", "requests/s", 0)
P50, P99, P999 = Metric("p50", "p50 ms", 2), Metric("p99", "p99 ms", 2), Metric("p99_9", "p99.9 ms", 2)
AVERAGE = Metric("average", "average ms, the producer's queue included", 0)
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
    # Whether it uses the brokers that run all the time, or starts some of its own.
    shares_broker: bool = True
    # Whether the naive server can be measured as well.
    naive: bool = False

    def brief(self, found):
        shown = [f"{m.title} {m.show(found[m.key])}" for m in self.metrics if found.get(m.key) is not None]
        return ", ".join(shown)


MIB = 1 << 20
LARGE = {"connections": 8, "in_flight": 4, "record_bytes": 1024, "records_per_batch": 64}
# Twice as many requests in flight: what is waited for each time counts less, what the disk can take counts more.
DEEP = {**LARGE, "connections": 16}
KEYED = {"connections": 50, "in_flight": 1, "record_bytes": 200, "records_per_batch": 10, "keys": 100_000}
SPREAD = {"connections": 16, "in_flight": 4, "record_bytes": 1024, "records_per_batch": 16}
SMALL = {"connections": 64, "in_flight": 1, "record_bytes": 100, "records_per_batch": 1}


def topic(bench, broker, name, durability, configs=None):
    """Options for a topic of its own for each run, deleted afterwards."""
    return {"topic": name, "configs": {**broker.topic_configs[durability], **(configs or {})}, "warmup": 1.5,
            "duration": bench.o.seconds}


# Without fsync, a fast broker would soon write more than the kernel keeps unsynced (a tenth of the memory), and be held
# up for the rest of the time. So short a run fits.
IN_PAGE_CACHE = {"warmup": 0.3, "duration": 1.2}


# Requests so large fill gigabytes of memory that was free before.
MANY_BYTES = 16 << 10


def produce(durability, partitions, configs=None, times=None, **load):
    """Produces into an empty topic."""

    def measure(bench, contestant, turn):
        broker = bench.broker(contestant)
        options = topic(bench, broker, f"produce-{turn}-{partitions}", durability, configs) | (times or {})
        if load["records_per_batch"] * load["record_bytes"] >= MANY_BYTES:
            use_memory(bench.space.path)
        result = bench.load.run(broker, "produce", create_partitions=partitions, delete_topic=True, **options, **load)
        return flat(result)

    return measure


# Long enough for the kernel to write to the disk what is not synced, as it does under every load that lasts.
SUSTAINED = {"warmup": 3, "duration": 15}


def pyralog_synced(contestant):
    """The durability where Pyralog is synced and stands beside others that are not."""
    return "fsync" if contestant in ("pyralog", "other") else "memory"


def synced_beside_unsynced(times, **load):
    """Produces: Pyralog with every acknowledgement synced, the others without."""

    def measure(bench, contestant, turn):
        return produce(pyralog_synced(contestant), 8, times=times, **load)(bench, contestant, turn)

    return measure


# Of 1 KiB, by all producers of a run together: about ten seconds.
JAVA_RECORDS = 2_000_000
# What Kafka's tool says at its end.
TOLD = re.compile(r"\(([\d.]+) MB/sec\), ([\d.]+) ms avg latency")


def java_producers(count):
    """Kafka's own producer and tool, with its defaults: Pyralog with every acknowledgement synced, the others without."""

    def measure(bench, contestant, turn):
        broker, name = bench.broker(contestant), f"java-{count}-{turn}"
        client = Client(broker.address)
        client.create(name, 8, broker.topic_configs[pyralog_synced(contestant)])
        use_memory(bench.space.path)
        command = [*Kafka.java("512m"), "org.apache.kafka.tools.ProducerPerformance", "--topic", name, "--num-records",
                   str(JAVA_RECORDS // count), "--record-size", "1024", "--throughput", "-1", "--producer-props",
                   f"bootstrap.servers={broker.address}", "acks=all"]
        before = broker.cpu_seconds()
        tools = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for _ in range(count)]
        try:
            texts = [tool.communicate()[0].strip() for tool in tools]
        finally:
            for tool in tools:
                tool.kill()  # nothing, where it has ended
        used = broker.cpu_seconds() - before
        client.delete(name)
        client.close()
        found = [TOLD.search(text.splitlines()[-1]) if text else None for text in texts]
        if not all(found):
            raise Failure(f"kafka-producer-perf-test: {texts[0][-300:]}")
        mib_per_s = sum(float(one[1]) for one in found)
        return {"mb_per_s": mib_per_s * MIB / 1e6, "cpu_s_per_gb": used / (JAVA_RECORDS * 1024 / 1e9),
                "average": sum(float(one[2]) for one in found) / count}

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


def retention(bench, contestant, turn):
    """Produces four times faster into a topic than it may keep; what it kept is counted afterwards."""
    broker, name = bench.broker(contestant), f"retention-{turn}"
    limits = {"retention.bytes": 32 * MIB, "segment.bytes": 8 * MIB, "cleanup.policy": "delete"}
    options = topic(bench, broker, name, "memory", limits)
    use_memory(bench.space.path)
    found = flat(bench.load.run(broker, "produce", create_partitions=8, **options, **LARGE))
    time.sleep(4)  # the next look of the retention, and the delay before files are deleted
    bytes_kept = sum(folder_bytes(os.path.join(broker.logs, f"{name}-{p}"))[0] for p in range(8))
    client = Client(broker.address)
    client.delete(name)
    client.close()
    return found | {"kept_mb": bytes_kept / 1e6}


# Requests per second of 64 KiB while the backlog is drained.
DRAIN_RATE = 600


def drain(bench, contestant, turn):
    """A backlog is read while a producer goes on at a fixed rate; the same producer alone before, to compare with."""
    broker, load = bench.broker(contestant), bench.load
    common = {"topic": f"drain-{turn}", "warmup": 1}
    fill = {**common, "warmup": 0, "duration": 6, "configs": broker.topic_configs["fsync"]}
    load.run(broker, "produce", create_partitions=8, **fill, **LARGE)
    steady = {**common, **LARGE, "rate": DRAIN_RATE}
    alone = load.run(broker, "produce", duration=bench.o.seconds, **steady)
    producer = load.start(broker, "produce", duration=60, every="1s", **steady)
    try:
        time.sleep(1.5)
        read = load.run(broker, "fetch", connections=8, at_end="stop", delete_topic=False,
                        **{**common, "warmup": 0, "duration": 50})
    finally:
        producer.terminate()
        busy = load.result(producer)
    client = Client(broker.address)
    client.delete(common["topic"])
    client.close()
    return {
        "drain_mb_per_s": read["mb_per_s"],
        "drain_factor": read["mb_per_s"] / busy["mb_per_s"],
        "p99_alone": alone["latency_ms"]["p99"],
        "p99": busy["latency_ms"]["p99"],
        "p99_factor": busy["latency_ms"]["p99"] / alone["latency_ms"]["p99"],
    }


def start(bench, contestant, turn):
    """An empty folder to the first acknowledged record, format included."""
    return idle.first_record(lambda folder: bench.start(contestant, bench.space.folder(folder)), f"{contestant}-start-{turn}")


def at_rest(bench, contestant, turn):
    """A broker of its own that nobody uses."""
    broker = bench.start(contestant, bench.space.folder(f"{contestant}-idle-{turn}"))
    try:
        return idle.partitions(broker, 1000, max(bench.o.seconds, 20)) | idle.connections(broker, 1000)
    finally:
        broker.stop()


def recovery(bench, contestant, turn):
    """kill -9 under load with so many gigabytes in so many partitions, until fifty of them, from the first to the last, have
    taken a record again."""
    folder = bench.space.folder(f"{contestant}-recovery-{turn}")
    broker, load, partitions = bench.start(contestant, folder), bench.load, bench.o.recovery_partitions
    options = {"topic": "full", "warmup": 0, "connections": 16, "in_flight": 4, "records_per_batch": 64}
    written, create = 0, {"create_partitions": partitions, "configs": broker.topic_configs["fsync"]}
    begun = time.monotonic()
    while written < bench.o.recovery_gb * 1e9:
        written += load.run(broker, "produce", duration=5, **create, **options)["bytes"]
        create = {}
        if time.monotonic() - begun > 600:
            raise Failure(f"{contestant} wrote only {written / 1e9:.1f} GB in ten minutes")
    last = load.start(broker, "produce", duration=30, **options)
    time.sleep(2)
    broker.kill()
    with contextlib.suppress(Failure):
        load.result(last)
    os.sync()
    broker = bench.start(contestant, folder)
    try:
        listening = time.monotonic() - broker.begun
        for partition in range(0, partitions, max(1, partitions // 50)):
            until_acknowledged(broker.address, "full", partition).close()
        return {"listening_s": listening, "recovery_s": time.monotonic() - broker.begun, "written_gb": written / 1e9}
    finally:
        broker.kill()
        bench.space.drop(folder)


DEVICE = (Metric("device_p50", "device's fdatasync p50 ms", 2), Metric("device_p99", "its p99 ms", 2))

DRAIN = (Metric("drain_mb_per_s", "drained MB/s", 0), Metric("drain_factor", "times the rate of arrival", 1),
         Metric("p99_alone", "producers' p99 ms before", 2), Metric("p99", "p99 ms meanwhile", 2),
         Metric("p99_factor", "p99 meanwhile / before", 2))
START = Metric("start_ms", "ms", 0)
IDLE = (Metric("idle_mb", "resident MB", 1), Metric("partition_kib", "KiB per idle partition", 1),
        Metric("idle_cpu_percent", "% of a core", 2), Metric("descriptors", "descriptors", 0),
        Metric("create_ms", "ms to create 1,000 partitions", 0), Metric("connection_kib", "KiB per idle connection", 1))
RECOVERY = (Metric("recovery_s", "s until partitions take records", 2), Metric("listening_s", "s until it listens", 2),
            Metric("written_gb", "GB", 1))

ROWS = (
    Row("produce-large", "64 x 1 KiB per request, 8 partitions, 8 connections x 4 in flight, no fsync; 1.2 s each",
        produce("memory", 8, times=IN_PAGE_CACHE, **LARGE),
        goals=(Goal(MB_PER_S, 2, at_least=True, ratio=True), Goal(CPU_PER_GB, 1.5)), naive=True),
    Row("produce-large-fsync", "the same, every acknowledgement synced", produce("fsync", 8, **LARGE),
        goals=(Goal(MB_PER_S, 2.5, at_least=True, ratio=True),
               Goal(MB_PER_S, 1, at_least=True, ratio=True, beside="produce-large")), naive=True),
    Row("produce-large-deep", "as produce-large, with 16 connections: Pyralog with every acknowledgement synced, Kafka without",
        synced_beside_unsynced(IN_PAGE_CACHE, **DEEP), goals=(Goal(MB_PER_S, 1, at_least=True, ratio=True),)),
    Row("produce-large-sustained", "as produce-large, for 15 s: Pyralog with every acknowledgement synced, Kafka without",
        synced_beside_unsynced(SUSTAINED, **LARGE), goals=(Goal(MB_PER_S, 1, at_least=True, ratio=True),)),
    *(Row(f"java-producer-{count}", f"{producers} of Kafka's own (kafka-producer-perf-test), 1 KiB records, 8 partitions, defaults: Pyralog "
          "with every acknowledgement synced, Kafka without", java_producers(count), metrics=(MB_PER_S, AVERAGE, CPU_PER_GB),
          goals=(Goal(MB_PER_S, 1, at_least=True, ratio=True),)) for count, producers in ((1, "one producer"), (2, "two producers"))),
    Row("produce-small", "1 x 100 B per request, 8 partitions, 64 connections, no fsync", produce("memory", 8, **SMALL),
        goals=(Goal(REQUESTS, 1.5, at_least=True, ratio=True), Goal(CPU_PER_REQUEST, 15)), naive=True),
    Row("produce-small-fsync", "the same, every acknowledgement synced", produce("fsync", 8, **SMALL),
        goals=(Goal(REQUESTS, 8, at_least=True, ratio=True),
               Goal(REQUESTS, 1, at_least=True, ratio=True, beside="produce-small")), naive=True),
    Row("produce-small-fsync-256", "the same over 256 partitions", produce("fsync", 256, **SMALL),
        goals=(Goal(REQUESTS, 4, at_least=True, ratio=True),)),
    Row("fetch", "1 MiB answers of what is in the page cache, 8 partitions, 8 connections", fetch,
        goals=(Goal(MB_PER_S, 1.3, at_least=True, ratio=True), Goal(CPU_PER_GB, 0.35))),
    Row("end-to-end", "one record of 100 B to a waiting consumer, 500 per second, no fsync", end_to_end,
        metrics=(P50, P99, P999, CPU_PER_REQUEST), goals=(Goal(P50, 0.15), Goal(P99, 0.5))),
    Row("acknowledged-fsync", "one record of 100 B acknowledged as synced, 500 per second", acknowledged,
        metrics=(P50, P99, P999, *DEVICE, CPU_PER_REQUEST), goals=(Goal(P99, 2, of="device_p99"),)),
    Row("keyed-50", "10 x 200 B with keys per request, 8 partitions, 50 producers with 1 in flight, no fsync",
        produce("memory", 8, **KEYED)),
    Row("keyed-50-fsync", "the same, every acknowledgement synced", produce("fsync", 8, **KEYED)),
    Row("retention", "as produce-large, but only 32 MiB of each partition are kept, in segments of 8 MiB", retention,
        metrics=(*LOAD, Metric("kept_mb", "kept MB", 0))),
    Row("drain", f"a backlog is read by 8 connections while {DRAIN_RATE} requests/s of 64 KiB come in, all synced", drain,
        metrics=DRAIN, goals=(Goal(DRAIN[1], 1.5, at_least=True), Goal(DRAIN[4], 2))),
    *(Row(f"produce-{codec}", f"as produce-large, compressed with {codec}",
          produce("memory", 8, times=IN_PAGE_CACHE, compression=codec, **LARGE), metrics=(PLAIN_MB_PER_S, *LOAD))
      for codec in ("lz4", "zstd")),
    *(Row(f"partitions-{count}", f"16 x 1 KiB per request, {count:,} partitions, 16 connections x 4 in flight, no fsync",
          produce("memory", count, times=IN_PAGE_CACHE, **SPREAD)) for count in (1, 16, 256, 1000)),
    Row("start", "start on an empty folder to the first acknowledged record", start, metrics=(START,),
        goals=(Goal(START, 150),), shares_broker=False),
    Row("idle", "a broker at rest: without logs, with 1,000 partitions, with 1,000 connections", at_rest, metrics=IDLE,
        goals=(Goal(IDLE[0], 40), Goal(IDLE[1], 16), Goal(IDLE[2], 0.2)), rounds_max=1, shares_broker=False),
    Row("recovery", "kill -9 under load (--recovery-gb in --recovery-partitions), until fifty of the partitions, from the first to the "
        "last, have taken a record again", recovery,
        metrics=RECOVERY, goals=(Goal(RECOVERY[0], 1),), rounds_max=1,
        shares_broker=False),
)
