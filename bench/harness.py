"""Brokers as child processes on loopback, the load generator, and what /proc and the disk say. For the scripts beside this file.

Every process started here is ended again, and every folder made here removed, also on Ctrl-C.
"""
import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KAFKA_VERSION = "4.3.1"


class Failure(Exception):
    """What a person at the terminal has to know."""


def say(text):
    """Progress: on stderr, so that results can be piped."""
    print(text, file=sys.stderr, flush=True)


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def binary():
    """The server that cargo builds, by default."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(PROJECT, "target"))
    return os.path.join(target, "release", "pyralog")


class Workspace:
    """A temporary folder that is gone when the process ends. It has to be on a real disk."""

    def __init__(self, parent=None):
        self.path = tempfile.mkdtemp(prefix="pyralog-bench-", dir=parent)
        atexit.register(self.remove)

    def folder(self, name):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        return path

    @staticmethod
    def drop(path):
        """Removes a folder before the end."""
        shutil.rmtree(path, ignore_errors=True)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Broker:
    """A server process. `name` is what it is called in tables; `address` is HOST:PORT for Kafka clients."""

    # `logs`: the folder of its partitions, if it has any.
    name = address = process = logs = None

    def _spawn(self, command, **options):
        self.begun = time.monotonic()
        self.process = subprocess.Popen(command, **options)
        atexit.register(self.kill)

    @property
    def pid(self):
        return self.process.pid

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def resident_kib(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def descriptors(self):
        """Open ones, but for those of the metadata store: its tables come and go with what it has to keep."""
        folder, count = f"/proc/{self.pid}/fd", 0
        for number in os.listdir(folder):
            try:
                count += not os.readlink(os.path.join(folder, number)).startswith(self.store)
            except FileNotFoundError:
                pass  # closed meanwhile
        return count

    def is_alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.process and self.is_alive():
            self.process.kill()
            self.process.wait()

    def stop(self, patience=120):
        """Ends it in order; the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} did not stop within {patience} s") from None


class Pyralog(Broker):
    """Ready when the constructor returns."""

    topic_configs = {"memory": {"pyralog.durability": "memory"}, "fsync": {"pyralog.durability": "fsync"}}

    def __init__(self, data, settings=(), program=None, name="Pyralog", log="warn"):
        self.name, self.data = name, data
        sets = [word for setting in settings for word in ("--set", setting)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYRALOG_")}
        self._spawn([program or binary(), "server", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
                     "--data", data, "--log", log, *sets], stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        if "ready" not in line:
            raise Failure(f"{self.name} did not start; what it said stands above")
        self.ready_after = time.monotonic() - self.begun
        self.address = line.split("kafka=")[1].split()[0]
        self.logs, self.store = os.path.join(data, "logs"), os.path.join(os.path.abspath(data), "coordinator")


class Kafka(Broker):
    """Apache Kafka as one KRaft node, from the jars that compat-tests/clients/setup fetches with Maven."""

    topic_configs = {"memory": {}, "fsync": {"flush.messages": "1"}}

    def __init__(self, data, settings=(), name="Kafka"):
        self.name, self.data, self.logs = name, data, os.path.join(data, "logs")
        self.store = os.path.join(os.path.abspath(self.logs), "__cluster_metadata-0")
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        os.makedirs(data, exist_ok=True)
        config = os.path.join(data, "server.properties")
        with open(config, "w") as file:
            file.write(self._properties(port, free_port(), settings))
        self.begun = time.monotonic()
        if not os.path.exists(os.path.join(self.logs, "meta.properties")):
            done = subprocess.run([*self.java("512m"), "kafka.tools.StorageTool", "format", "-t",
                                   "cHlyYWxvZy1iZW5jaC0wMQ", "-c", config], capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"formatting Kafka's folder failed:\n{done.stdout}{done.stderr}")
        begun = self.begun
        self._spawn([*self.java("1g", gc="g1"), "kafka.Kafka", config], stdout=subprocess.DEVNULL)
        self.begun = begun
        self._wait_until_it_listens(port)
        self.ready_after = time.monotonic() - begun

    def _properties(self, port, controller, settings):
        return "\n".join([
            "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}", "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT", f"log.dirs={self.logs}",
            "num.partitions=4", "offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1", "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1", "group.initial.rebalance.delay.ms=0",
            "log.segment.delete.delay.ms=1000", *settings, ""])

    @staticmethod
    def jars():
        cache = os.environ.get("PYRALOG_TEST_CACHE") or os.path.expanduser("~/.cache/pyralog/tools")
        return os.path.join(cache, "kafka")

    @classmethod
    def fetch(cls):
        """Brings the jars here if they are missing."""
        if os.path.isdir(cls.jars()) and shutil.which("java"):
            return
        say(f"fetching Apache Kafka {KAFKA_VERSION} with Maven")
        if subprocess.run([os.path.join(PROJECT, "compat-tests/clients/setup"), "java"]).returncode:
            raise Failure("Apache Kafka is needed to compare with; --only pyralog measures without it")

    @classmethod
    def java(cls, heap, gc="serial"):
        collector = ["-XX:+UseSerialGC"]
        if gc == "g1":  # what Kafka's own start script chooses
            collector = ["-server", f"-Xms{heap}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
                         "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]
        log = os.path.join(PROJECT, "compat-tests/clients/java/log4j2.xml")
        return ["java", f"-Xmx{heap}", *collector, f"-Dlog4j2.configurationFile={log}", "-Dkafka.log.level=ERROR",
                "-cp", f"{cls.jars()}/*"]

    def _wait_until_it_listens(self, port):
        deadline = time.monotonic() + 180
        while True:
            with contextlib.closing(socket.socket()) as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if not self.is_alive() or time.monotonic() > deadline:
                raise Failure(f"Kafka does not listen on {self.address}; what it said stands above")
            time.sleep(0.02)


class Naive(Broker):
    """The server of examples/naive.rs, which does the least that a produce request needs."""

    topic_configs = {"memory": {}, "fsync": {"sync": "true"}}

    def __init__(self, data, program):
        self.name = "naive limit"
        self._spawn([program, data], stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().split("kafka=")[1].strip()


class Load:
    """The load generator, `pyralog bench`, which is the same for all brokers."""

    def __init__(self, program=None):
        self.program = program or binary()

    def command(self, broker, what, **options):
        """Options are those of the command line, with underscores; a dict of topic configs goes into `configs`."""
        words = [self.program, "bench", what, "--bootstrap", broker.address, "--json", "--pid", str(broker.pid)]
        for name, value in options.pop("configs", {}).items():
            words += ["--topic-config", f"{name}={value}"]
        for name, value in options.items():
            option = "--" + name.replace("_", "-")
            if value is True:
                words.append(option)
            elif value is not None and value is not False:
                words += [option, str(value)]
        return words

    def start(self, broker, what, **options):
        return subprocess.Popen(self.command(broker, what, **options), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    @staticmethod
    def result(process):
        """The summary of a process that `start` has begun."""
        out, err = process.communicate()
        if process.returncode:
            raise Failure(f"{' '.join(process.args)}\n{err.strip()}")
        return json.loads(out.strip().splitlines()[-1])

    def run(self, broker, what, **options):
        process = self.start(broker, what, **options)
        try:
            return self.result(process)
        except BaseException:
            process.kill()
            raise


def settle(brokers=(), patience=60):
    """Lets brokers and disk finish what the last run left, so that the next one does not pay for it: files of deleted topics go
    a second later, and gigabytes of them keep the device busy for up to a second more."""
    deadline = time.monotonic() + patience
    while any(deleted(broker.logs) for broker in brokers) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.sync()
    time.sleep(0.3)


def deleted(logs):
    """Folders of partitions that are deleted and still there, as Pyralog and Kafka name them."""
    with contextlib.suppress(FileNotFoundError):
        return logs and [name for name in os.listdir(logs) if name.endswith((".deleted", "-delete"))]
    return []


def use_memory(folder, mib=3072):
    """Fills page cache and gives it back, so that the next run finds memory that is really there. A hypervisor takes what its
    guest has freed; the first write there costs five times as much, and who runs behind a larger run would look faster."""
    path, block = os.path.join(folder, "memory"), bytes(1 << 20)
    with open(path, "wb", buffering=0) as file:
        try:
            for _ in range(mib):
                file.write(block)
        finally:
            os.unlink(path)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def device_sync(folder, seconds=4, per_second=500, size=4096):
    """Milliseconds of one fdatasync after one block written into a preallocated file, at the pace of the latency row."""
    path = os.path.join(folder, "device")
    blocks = 4096
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(blocks * size // (1 << 20)):
            os.write(fd, bytes(1 << 20))
        os.fsync(fd)
        times, begun = [], time.perf_counter()
        for index in range(int(seconds * per_second)):
            time.sleep(max(0.0, begun + index / per_second - time.perf_counter()))
            before = time.perf_counter()
            os.pwrite(fd, os.urandom(size), index % blocks * size)
            os.fdatasync(fd)
            times.append((time.perf_counter() - before) * 1000)
        return times
    finally:
        os.close(fd)
        os.unlink(path)


def folder_bytes(folder):
    """Bytes and number of the .log files below a folder."""
    total = count = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            if name.endswith(".log"):
                with contextlib.suppress(FileNotFoundError):
                    total += os.stat(os.path.join(parent, name)).st_size
                    count += 1
    return total, count


def machine():
    """A line about where this ran."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown processor")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{os.cpu_count()} x {model}, {pages / 2**30:.0f} GiB, Linux {os.uname().release}"


def file_system(folder):
    """Type and device of what a folder lies on."""
    best = ("", "unknown")
    real = os.path.realpath(folder)
    with open("/proc/mounts") as mounts:
        for line in mounts:
            device, point, kind = line.split()[:3]
            if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
                best = (point, f"{kind} on {os.path.basename(device)}")
    return best[1]


def end_on_signals():
    """SIGTERM ends as Ctrl-C does: through the clean-up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
