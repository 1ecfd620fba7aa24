"""One connection that speaks the few old request versions that the scripts beside this file need."""
import socket
import struct
import time


class Refused(Exception):
    """An answer with an error code."""


def text(value):
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value)) + value.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def one_record():
    """A batch of one record with key "k" and value "v"."""
    record = bytes([0x00, 0x00, 0x00, 0x02]) + b"k" + bytes([0x02]) + b"v" + bytes([0x00])
    record = bytes([len(record) * 2]) + record
    now = int(time.time() * 1000)
    tail = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    rest = struct.pack(">ibI", -1, 2, crc32c(tail)) + tail
    return struct.pack(">qi", 0, len(rest)) + rest


class Client:
    """Raises Refused for an error code and OSError for a connection that is gone."""

    def __init__(self, address, patience=60):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        self.socket.close()

    def call(self, key, version, body):
        frame = struct.pack(">hhi", key, version, 7) + text("pyralog-bench") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        return self._read(struct.unpack(">i", self._read(4))[0])

    def _read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionResetError("the server closed the connection")
            data += piece
        return data

    @staticmethod
    def _check(answer, at, what):
        code = struct.unpack(">h", answer[at:at + 2])[0]
        if code:
            raise Refused(f"{what}: error code {code}")

    def versions(self):
        """Any small request."""
        self.call(18, 0, b"")

    def create(self, name, partitions, configs=None):
        given = array([text(key) + text(str(value)) for key, value in (configs or {}).items()])
        topic = text(name) + struct.pack(">ihi", partitions, 1, 0) + given
        answer = self.call(19, 2, array([topic]) + struct.pack(">ib", 60000, 0))
        self._check(answer, 4 + 4 + 4 + 2 + len(name), f"creating {name}")

    def delete(self, name):
        answer = self.call(20, 1, array([text(name)]) + struct.pack(">i", 60000))
        self._check(answer, 4 + 4 + 4 + 2 + len(name), f"deleting {name}")

    def produce(self, name, partition=0):
        """One record, acknowledged by all."""
        batch = one_record()
        part = struct.pack(">ii", partition, len(batch)) + batch
        body = text(None) + struct.pack(">hi", -1, 30000) + array([text(name) + array([part])])
        answer = self.call(0, 3, body)
        self._check(answer, 4 + 4 + 2 + len(name) + 4 + 4, f"producing to {name}-{partition}")

    def commit(self, group, name, partition, offset):
        """An offset of a group without members."""
        part = struct.pack(">iq", partition, offset) + text("")
        body = text(group) + struct.pack(">i", -1) + text("") + struct.pack(">q", -1)
        answer = self.call(8, 2, body + array([text(name) + array([part])]))
        self._check(answer, 4 + 4 + 2 + len(name) + 4 + 4, f"committing for {group}")


def until_acknowledged(address, name, partition=0, patience=300):
    """Produces until a record is acknowledged; the connection that did it."""
    deadline = time.monotonic() + patience
    while True:
        try:
            client = Client(address, 10)
            client.produce(name, partition)
            return client
        except (OSError, Refused):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
