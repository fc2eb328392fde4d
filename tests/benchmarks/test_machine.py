"""The description of the machine: complete, and without names of hosts or paths."""

import platform
from pathlib import Path

import pytest

from benchmarks import machine


def test_a_machine_is_described_by_what_decides_about_the_figures(tmp_path: Path) -> None:
    described = machine.describe(tmp_path)

    assert list(described) == ["cpu", "cores", "kernel", "filesystem", "python", "libraries"]
    assert all(described.values())


def test_the_description_has_no_host_name_and_no_path(tmp_path: Path) -> None:
    text = str(machine.describe(tmp_path))

    assert platform.node() not in text
    assert "/" not in text.replace("w/", "")


def test_the_filesystem_is_the_one_of_the_longest_mount_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with space" / "data"
    folder.mkdir(parents=True)
    inner = str(tmp_path / "with space").replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"21 1 8:1 / / rw - ext4 /dev/root rw\n22 21 8:2 / {inner} rw shared:1 - xfs /dev/disk rw\n"
    )
    monkeypatch.setattr(machine, "MOUNTS", mounts)

    assert machine.filesystem(folder) == "xfs"
    assert machine.filesystem(tmp_path) == "ext4"


def test_a_machine_without_these_files_is_described_as_far_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "missing")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "missing")

    described = machine.describe(tmp_path)

    assert described["filesystem"] == "unknown"
    assert described["cpu"] == platform.machine()
