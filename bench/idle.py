"""What a broker costs before anybody works: start, memory, descriptors, processor; and what it costs to come back."""
import time

from harness import folder_bytes
from wire import Client, Refused, until_acknowledged


def create_patiently(address, name, partitions, patience=60):
    """A broker that has just begun to listen may not create anything yet."""
    deadline = time.monotonic() + patience
    while True:
        try:
            client = Client(address)
            client.create(name, partitions)
            return client
        except (OSError, Refused):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def first_record(start, folder):
    """Milliseconds from starting a broker on an empty folder to its first acknowledged record. `start(folder)`."""
    broker = start(folder)
    try:
        create_patiently(broker.address, "first", 1).close()
        until_acknowledged(broker.address, "first").close()
        return {"start_ms": (time.monotonic() - broker.begun) * 1000}
    finally:
        broker.stop()


def partitions(broker, count, seconds):
    """Memory and processor of a broker that has just started, without and with idle partitions."""
    time.sleep(2)
    create_patiently(broker.address, "one", 1)
    before = broker.resident_kib()
    begun = time.monotonic()
    client = Client(broker.address)
    client.create("many", count)
    created = time.monotonic() - begun
    time.sleep(3)
    found = {
        "idle_mb": before * 1024 / 1e6,
        "create_ms": created * 1000,
        "partition_kib": (broker.resident_kib() - before) / count,
        "descriptors": broker.descriptors(),
    }
    cpu = broker.cpu_seconds()
    time.sleep(seconds)
    found["idle_cpu_percent"] = (broker.cpu_seconds() - cpu) / seconds * 100
    client.close()
    return found


def connections(broker, count):
    """Memory of connections that made one request and then say nothing."""
    before = broker.resident_kib()
    clients = [Client(broker.address) for _ in range(count)]
    for client in clients:
        client.versions()
    time.sleep(2)
    found = {"connection_kib": (broker.resident_kib() - before) / count}
    for client in clients:
        client.close()
    return found


def recovery(start, load, folder, partitions, seconds, durability):
    """How long a broker takes to serve again that is killed right after it was written to, and what it takes then.

    `start(folder)`. Each partition has at least one batch; they are written to in turn for some seconds."""
    broker = start(folder)
    try:
        load.run(broker, "produce", topic="recovery", create_partitions=partitions, duration=seconds, warmup=0,
                 connections=4, record_bytes=1024, batch_bytes=64 << 10,
                 configs={"pyralog.durability": durability})
    finally:
        broker.kill()
    size, _ = folder_bytes(broker.logs)
    again = start(folder)
    try:
        time.sleep(1)
        return {"gb": size / 1e9, "ready_ms": again.ready_after * 1000, "resident_mb": again.resident_kib() * 1024 / 1e6}
    finally:
        again.kill()
