"""What the disk, LMDB and ZeroMQ do alone: the limits that a figure is shown beside.

They are measured in the same run and on the same filesystem as the figure, with records of the
same size and order of keys, and with nothing around the library's own calls.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Final

import lmdb
import zmq

from benchmarks.report import percentile_ms

Record = tuple[bytes, bytes]

MAP_BYTES: Final = 4 * 1024 * 1024 * 1024
SMALL_RECORD_BYTES: Final = 60
ROUND_TRIP_BYTES: Final = 200
ANSWER_MS_MAX: Final = 10_000


@contextmanager
def database(folder: Path, *, fsync: bool) -> Iterator[lmdb.Environment]:
    """Open a fresh LMDB environment below ``folder`` and remove it afterwards."""
    with (
        TemporaryDirectory(dir=folder, prefix="limit-") as path,
        lmdb.open(path, map_size=MAP_BYTES, sync=fsync, metasync=fsync, writemap=False) as opened,
    ):
        yield opened


def commit_ms(folder: Path, *, fsync: bool = True, commits: int = 300) -> float:
    """Return the median time of one commit with one small record in it."""
    value = b"v" * SMALL_RECORD_BYTES
    seconds = []
    with database(folder, fsync=fsync) as environment:
        for number in range(commits):
            key = (number * 7919 % commits).to_bytes(8, "big")
            before = time.perf_counter()
            with environment.begin(write=True) as txn:
                txn.put(key, value)
            seconds.append(time.perf_counter() - before)
    return percentile_ms(seconds, 50)


def commit_seconds(
    folder: Path, commits: Sequence[Sequence[Record]], *, fsync: bool = True
) -> list[float]:
    """Return the time of each of ``commits``: sorted beforehand, then put by one `putmulti`."""
    batches = [sorted(records) for records in commits]
    seconds = []
    with database(folder, fsync=fsync) as environment:
        for records in batches:
            before = time.perf_counter()
            with environment.begin(write=True) as txn, txn.cursor() as cursor:
                cursor.putmulti(records)
            seconds.append(time.perf_counter() - before)
    return seconds


def interleaved(
    *, flows: int, rounds: int, value: bytes, key_bytes: int = 20
) -> list[list[Record]]:
    """Return ``rounds`` commits; in each, every flow adds the next record to its own range."""
    assert key_bytes > 4, "four bytes are the record's number"
    width = key_bytes - 4
    spread = 0x9E3779B97F4A7C15  # odd, so that it visits distinct keys, far from one another
    prefixes = [
        (flow * spread % 2**64).to_bytes(8, "big").rjust(width, b"f") for flow in range(flows)
    ]
    return [
        [(prefix + number.to_bytes(4, "big"), value) for prefix in prefixes]
        for number in range(rounds)
    ]


def write_seconds(
    folder: Path, *, writes: int, write_bytes: int, fsync: bool = True
) -> list[float]:
    """Return how long each of ``writes`` takes: one behind the other, synced, into room taken."""
    content = b"w" * write_bytes
    seconds = []
    with NamedTemporaryFile(dir=folder, prefix="limit-") as file:
        descriptor = file.fileno()
        os.posix_fallocate(descriptor, 0, writes * write_bytes)
        os.fsync(descriptor)
        for number in range(writes):
            before = time.perf_counter()
            os.pwrite(descriptor, content, number * write_bytes)
            if fsync:
                os.fdatasync(descriptor)
            seconds.append(time.perf_counter() - before)
    return seconds


@contextmanager
def echo_peer() -> Iterator[zmq.Socket[bytes]]:
    """Start `benchmarks.echo` and connect to it with CURVE."""
    command = [sys.executable, "-m", "benchmarks.echo"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        endpoint, server_key = process.stdout.readline().split()
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.set_hwm(0)
            socket.rcvtimeo = ANSWER_MS_MAX
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.curve_serverkey = server_key.encode()
            socket.connect(endpoint)
            yield socket
        process.stdin.close()


def round_trip_ms(*, rounds: int = 2_000, warm_up: int = 200) -> float:
    """Return the median time of one CURVE message to another process and back."""
    body = b"m" * ROUND_TRIP_BYTES
    seconds = []
    with echo_peer() as socket:
        for _ in range(warm_up + rounds):
            before = time.perf_counter()
            socket.send(body)
            socket.recv()
            seconds.append(time.perf_counter() - before)
    return percentile_ms(seconds[warm_up:], 50)


def messages_per_second(
    *, at_once: int, messages: int = 20_000, body_bytes: int = ROUND_TRIP_BYTES
) -> float:
    """Return the CURVE messages a second, both ways in sum, with ``at_once`` of them under way."""
    body = b"m" * body_bytes
    sent = min(at_once, messages)
    with echo_peer() as socket:
        socket.send(body)
        socket.recv()
        before = time.perf_counter()
        for _ in range(sent):
            socket.send(body)
        for _ in range(messages):
            socket.recv()
            if sent < messages:
                socket.send(body)
                sent += 1
        return 2 * messages / (time.perf_counter() - before)
