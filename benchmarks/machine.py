"""Describe the machine that a figure was measured on, without its name or any of its paths."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

import lmdb
import zmq

CPU_INFO: Final = Path("/proc/cpuinfo")
MOUNTS: Final = Path("/proc/self/mountinfo")
LIBRARIES: Final = ("gevent", "greenlet", "msgspec")

Machine = dict[str, str | int]


def describe(folder: Path) -> Machine:
    """Return what decides about the figures; ``folder`` lies on the filesystem that is measured."""
    libraries = [f"{library} {version(library)}" for library in LIBRARIES]
    lmdb_version = ".".join(str(part) for part in lmdb.version())
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {kernel_version()}",
        "filesystem": filesystem(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": ", ".join([f"lmdb {lmdb_version}", f"zmq {zmq.zmq_version()}", *libraries]),
    }


def cpu_model() -> str:
    """Return the processor's name for itself, or its architecture where it has none."""
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.machine()


def kernel_version() -> str:
    """Return the numbers of the kernel's release; the rest is whatever its builder wrote."""
    release = platform.release()
    return release.partition("-")[0]


def filesystem(folder: Path) -> str:
    """Return the type of the filesystem that ``folder`` lies on, such as ``ext4``."""
    if not MOUNTS.exists():
        return "unknown"
    found = "unknown"
    longest = -1
    for line in MOUNTS.read_text().splitlines():
        fields, _, after = line.partition(" - ")
        mount_point = fields.split(" ")[4].replace("\\040", " ")
        if folder.resolve().is_relative_to(mount_point) and len(mount_point) >= longest:
            longest = len(mount_point)
            found = after.split(" ")[0]
    return found
