"""The driver of real node processes, which users of the runtime test their own flows with."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from runtime.errors import ConfigurationError
from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver, NodeProcess, NodeProcessFailed
from tests.e2e.networks import EMBEDDED
from tests.e2e.program_runs import run_program

SECONDS = 30.0


@pytest.fixture
def network() -> Iterator[NetworkDriver]:
    with NetworkDriver.create(EMBEDDED) as network:
        yield network


def add(node: NodeProcess, a: int, b: int, client_id: str | None = None) -> str:
    arguments = Arguments([str(a), str(b)])
    flow_id = node.rpc.options(client_id=client_id).start_text("tests.e2e.flows.add", arguments).id
    return node.rpc.result(flow_id, SECONDS).text


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_nodes_run_as_processes_and_answer(network: NetworkDriver) -> None:
    network.start()

    alice, bob = network.nodes
    assert (add(alice, 2, 3), add(bob, 2, 3)) == ("5", "5")
    assert len({alice.pid, bob.pid, os.getpid()}) == 3


@pytest.mark.parametrize("is_patched", [False, True], ids=["plain", "patched"])
def test_exit_codes_are_known_beside_processes_of_gevent(is_patched: bool) -> None:
    # Breaks when Python's class asks for a process that gevent has collected: it says 0 then.
    assert run_program("reaping", is_patched=is_patched).lines == ["3", "2", "-9"]


def test_only_nodes_that_are_down_are_started(network: NetworkDriver) -> None:
    network.start("alice")
    process = network.node("alice").pid

    network.start()

    assert network.node("alice").pid == process
    assert network.node("bob").is_running


def test_a_killed_node_starts_again_with_its_data(network: NetworkDriver) -> None:
    alice = network.node("alice")
    alice.start()
    flow_id = (
        alice.rpc.options(client_id="sum")
        .start_text("tests.e2e.flows.add", Arguments(["2", "3"]))
        .id
    )
    alice.rpc.result(flow_id, SECONDS)

    alice.kill()
    code = alice.exit_code
    alice.start()

    assert code == -signal.SIGKILL
    assert alice.rpc.result(flow_id, SECONDS).text == "5"


def test_a_stopped_node_has_ended_in_good_order(network: NetworkDriver) -> None:
    network.start()

    network.stop()

    assert [node.exit_code for node in network.nodes] == [0, 0]
    assert not any(node.is_running for node in network.nodes)


def test_a_connection_lasts_over_a_restart(network: NetworkDriver) -> None:
    alice = network.node("alice")
    alice.start()

    with alice.connect() as rpc:
        alice.kill()
        alice.start()

        assert rpc.info().name == alice.name


def test_a_crash_point_kills_the_process_at_that_commit(network: NetworkDriver) -> None:
    alice = network.node("alice")
    alice.start(crash_at="after:1")

    with alice.connect() as rpc:
        job = gevent.spawn(rpc.options(client_id="sum").start_flow, "tests.e2e.flows.add", 2, 3)
        code = alice.wait_for_exit(SECONDS)
        alice.start()

        assert code == -signal.SIGKILL
        assert job.get(timeout=SECONDS).result(SECONDS) == 5


def test_nothing_is_left_behind_at_the_end() -> None:
    with NetworkDriver.create(EMBEDDED) as network:
        network.start()
        processes = [node.pid for node in network.nodes]

    assert not any(is_alive(process) for process in processes)
    assert not network.directory.exists()


def test_nodes_die_with_the_test_that_started_them() -> None:
    ran = run_program("driving", is_patched=False)

    directory, *processes = ran.lines[0].split()
    shutil.rmtree(directory)
    with gevent.Timeout(SECONDS):
        while any(is_alive(int(process)) for process in processes):
            gevent.sleep(0.01)
    assert ran.exit_code == -signal.SIGKILL


def test_the_ports_of_a_node_that_is_down_stay_its_own(network: NetworkDriver) -> None:
    port = int(network.node("alice").config.rpc_address.rpartition(":")[2])

    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", port))


def test_a_node_that_does_not_come_up_fails_with_what_it_wrote(network: NetworkDriver) -> None:
    alice = network.node("alice")
    (alice.directory / "password").write_text("wrong\n")

    with pytest.raises(NodeProcessFailed, match="password") as raised:
        alice.start()

    assert (raised.value.name, raised.value.what) == (
        "alice",
        "has ended with 2 before it was up",
    )
    with pytest.raises(NodeProcessFailed, match="is down"):
        alice.rpc.info()


def test_a_node_that_hangs_fails_the_stop(network: NetworkDriver) -> None:
    alice = network.node("alice")
    alice.start()
    os.kill(alice.pid, signal.SIGSTOP)

    with pytest.raises(NodeProcessFailed, match="has not ended within"):
        alice.stop(timeout_seconds=0.2)


def test_a_node_that_is_stopped_before_it_is_up_has_not_ended_in_good_order(
    network: NetworkDriver,
) -> None:
    alice = network.node("alice")
    alice.launch()

    with pytest.raises(NodeProcessFailed, match="when it was asked to stop"):
        alice.stop()


def test_a_failing_test_shows_what_the_nodes_wrote() -> None:
    def fail() -> None:
        with NetworkDriver.create(EMBEDDED) as network:
            network.node("alice").start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        fail()

    (note,) = raised.value.__notes__
    assert "node alice" in note
    assert "is up" in note


def test_data_can_be_saved_and_brought_back(network: NetworkDriver, tmp_path: Path) -> None:
    alice = network.node("alice")
    alice.start()
    add(alice, 2, 3, "saved")
    network.stop()
    network.save(tmp_path / "saved")
    alice.start()
    add(alice, 2, 3, "lost")
    network.stop()

    network.restore(tmp_path / "saved")

    alice.start()
    assert alice.rpc.find("lost") is None
    assert (add(alice, 2, 3, "saved"), add(alice, 5, 5, "lost")) == ("5", "10")


def test_a_network_can_be_made_where_one_wants_and_taken_over_later(tmp_path: Path) -> None:
    with NetworkDriver.create(EMBEDDED, tmp_path) as network:
        network.node("alice").start()

    with NetworkDriver(tmp_path) as again:
        again.node("O=Alice,L=London,C=GB").start()

        assert add(again.node("alice"), 2, 3) == "5"
    assert tmp_path.exists()


def test_an_unknown_node_is_refused_with_the_names_of_those_there_are(
    network: NetworkDriver,
) -> None:
    with pytest.raises(ConfigurationError, match="It has: alice, bob"):
        network.node("carol")


def test_a_spec_that_can_not_be_made_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(ConfigurationError):
        NetworkDriver.create("[network]\n")

    assert list(tmp_path.iterdir()) == []
