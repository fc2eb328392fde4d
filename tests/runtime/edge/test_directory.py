"""The network directory: real files, changed, spoiled and forged under its hands."""

import errno
import logging
import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.certificates import Validity, issue_root, to_pem, verify_identity
from runtime.codec import decode, encode
from runtime.edge.directory import NetworkDirectory
from runtime.edge.files import read_public_file
from runtime.edge.keystore import KeyStore
from runtime.edge.node_info import (
    NetworkParameters,
    NodeInfo,
    SignedNodeInfo,
    sign_node_info,
    sign_parameters,
)
from runtime.edge.zmq_auth import PeerBook
from runtime.errors import ConfigurationError
from runtime.ids import PeerName
from runtime.keys import PrivateKey
from runtime.names import peer_name
from runtime.network_bootstrap import CreatedNetwork
from tests.runtime.networks import FixedClock, changed, make_network, open_keystore

NOTARY = peer_name("O=Notary,L=London,C=GB")
BANK_A = peer_name("O=Bank A,L=London,C=GB")
BANK_B = peer_name("O=Bank B,L=Paris,C=FR")


@pytest.fixture
def network(tmp_path: Path) -> CreatedNetwork:
    return make_network(tmp_path)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(int(time.time() * 1000))


def info_file(network: CreatedNetwork, short_name: str) -> Path:
    return network.directory / "network" / "node-infos" / f"{short_name}.info"


def open_directory(network: CreatedNetwork, clock: FixedClock) -> NetworkDirectory:
    return NetworkDirectory(network.directory / "network", clock)


def read_info(network: CreatedNetwork, short_name: str) -> NodeInfo:
    return decode(
        decode(info_file(network, short_name).read_bytes(), SignedNodeInfo).body, NodeInfo
    )


def keystore(network: CreatedNetwork, short_name: str) -> KeyStore:
    (node,) = (node for node in network.nodes if node.short_name == short_name)
    return open_keystore(node)


def publish(path: Path, info: NodeInfo, keys: KeyStore) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(encode(sign_node_info(info, keys.sign)))
    new.rename(path)


def test_members_are_found_by_name_and_by_key(network: CreatedNetwork, clock: FixedClock) -> None:
    directory = open_directory(network, clock)
    info = read_info(network, "bank-a")

    address = directory.address(BANK_A)

    assert address is not None
    assert (address.endpoint, address.curve_key) == (info.addresses[0], info.curve_key)
    assert directory.peer_of(info.curve_key) == BANK_A
    assert directory.party(BANK_A) == info.party
    assert directory.node_info(BANK_A) == info
    assert [party.name for party in directory.parties()] == [BANK_A, BANK_B, NOTARY]
    assert directory.notaries() == [directory.party(NOTARY)]
    assert directory.parameters.network == "demo"
    assert info.party == verify_identity(info.certificates, directory.root, datetime.now(UTC))


def test_the_directory_is_a_peer_book(network: CreatedNetwork, clock: FixedClock) -> None:
    book: PeerBook = open_directory(network, clock)

    assert book.address(PeerName("O=Nobody,L=London,C=GB")) is None
    assert book.peer_of(b"#" * 40) is None


def test_a_new_member_is_found_when_it_is_asked_for(
    network: CreatedNetwork, clock: FixedClock
) -> None:
    file = info_file(network, "bank-a")
    away = file.with_suffix(".away")
    file.rename(away)
    directory = open_directory(network, clock)
    assert directory.party(BANK_A) is None

    away.rename(file)
    before = directory.party(BANK_A)
    clock.pass_ms(1_000)
    after = directory.party(BANK_A)

    assert before is None, "the disk was read twice within a second"
    assert after is not None


def test_a_new_member_is_found_by_its_key_also_if_the_clock_was_set_back(
    network: CreatedNetwork, clock: FixedClock
) -> None:
    file, info = info_file(network, "bank-a"), read_info(network, "bank-a")
    away = file.with_suffix(".away")
    file.rename(away)
    directory = open_directory(network, clock)

    away.rename(file)
    clock.ahead_ms -= 60_000
    clock.pass_ms(1_000)

    assert directory.peer_of(info.curve_key) == BANK_A


def test_a_listener_hears_of_changes_and_of_nothing_else(
    network: CreatedNetwork, clock: FixedClock
) -> None:
    directory = open_directory(network, clock)
    heard: list[object] = []
    directory.when_changed(lambda: heard.append(directory.address(BANK_A)))
    clock.pass_ms(1_000)
    directory.refresh()
    unchanged = list(heard)

    moved = changed(read_info(network, "bank-a"), addresses=["tcp://127.0.0.1:19"], serial=2)
    publish(info_file(network, "bank-a"), moved, keystore(network, "bank-a"))
    clock.pass_ms(1_000)
    directory.refresh()

    assert unchanged == []
    assert heard == [directory.address(BANK_A)]
    assert directory.address(BANK_A).endpoint == "tcp://127.0.0.1:19"  # type: ignore[union-attr]


def test_unchanged_files_are_not_read_again(network: CreatedNetwork, clock: FixedClock) -> None:
    directory = open_directory(network, clock)
    before = directory.node_info(BANK_A)
    clock.pass_ms(1_000)

    directory.refresh()

    assert directory.node_info(BANK_A) is before


def test_a_member_that_was_removed_is_gone(network: CreatedNetwork, clock: FixedClock) -> None:
    directory = open_directory(network, clock)
    info = read_info(network, "bank-a")
    info_file(network, "bank-a").unlink()
    clock.pass_ms(1_000)

    directory.refresh()

    assert directory.party(BANK_A) is None
    assert directory.peer_of(info.curve_key) is None
    assert directory.party(BANK_B) is not None


@pytest.mark.parametrize("content", [b"", b"junk", b"x" * 40_000])
def test_a_bad_file_is_reported_once_and_stops_nobody_else(
    network: CreatedNetwork,
    clock: FixedClock,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    info_file(network, "bank-a").write_bytes(content)

    directory = open_directory(network, clock)
    clock.pass_ms(1_000)
    found = directory.party(BANK_A)

    assert found is None
    assert [party.name for party in directory.parties()] == [BANK_B, NOTARY]
    assert len(caplog.messages) == 1
    assert "node info refused" in caplog.text
    assert "bank-a.info" in caplog.text


def test_what_is_no_file_is_refused_without_waiting(
    network: CreatedNetwork, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(info_file(network, "pipe"))
    info_file(network, "directory").mkdir()
    info_file(network, "dangling").symlink_to("nowhere")
    (network.directory / "network" / "node-infos" / "README").touch()

    directory = open_directory(network, clock)

    assert len(directory.parties()) == 3
    assert len(caplog.messages) == 2


def test_a_member_of_another_network_is_refused(
    network: CreatedNetwork,
    clock: FixedClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "other").mkdir()
    other = make_network(tmp_path / "other")
    shutil.copy(info_file(other, "bank-a"), info_file(network, "bank-a"))

    directory = open_directory(network, clock)

    assert directory.party(BANK_A) is None
    assert "is not signed by the key of CN=demo root" in caplog.text


def test_the_higher_serial_holds_wherever_it_lies(
    network: CreatedNetwork, clock: FixedClock
) -> None:
    info, keys = read_info(network, "bank-a"), keystore(network, "bank-a")
    moved = changed(info, addresses=["tcp://10.0.0.1:5"], serial=2)
    publish(info_file(network, "aaa"), moved, keys)

    directory = open_directory(network, clock)

    address = directory.address(BANK_A)
    assert address is not None
    assert address.endpoint == "tcp://10.0.0.1:5"


def test_a_member_can_move_while_others_run(network: CreatedNetwork, clock: FixedClock) -> None:
    directory = open_directory(network, clock)
    info, keys = read_info(network, "bank-a"), keystore(network, "bank-a")
    moved = changed(info, addresses=["tcp://10.0.0.1:5"], serial=2)
    publish(info_file(network, "bank-a"), moved, keys)
    clock.pass_ms(1_000)

    directory.refresh()

    address = directory.address(BANK_A)
    assert address is not None
    assert address.endpoint == "tcp://10.0.0.1:5"


def test_a_link_key_that_two_members_claim_belongs_to_neither(
    network: CreatedNetwork, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    victim, thief = read_info(network, "bank-b"), read_info(network, "bank-a")
    claim = changed(thief, curve_key=victim.curve_key, serial=2)
    publish(info_file(network, "bank-a"), claim, keystore(network, "bank-a"))

    directory = open_directory(network, clock)

    assert directory.peer_of(victim.curve_key) is None
    assert "claims the key of another member" in caplog.text
    assert directory.party(BANK_B) == victim.party


def test_certificates_are_compared_with_the_clock(
    network: CreatedNetwork, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.pass_ms(4_000 * 24 * 60 * 60 * 1000)

    directory = open_directory(network, clock)

    assert directory.parties() == []
    assert "has expired" in caplog.text


def test_a_directory_of_node_infos_that_vanished_leaves_nobody(
    network: CreatedNetwork, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    directory = open_directory(network, clock)
    shutil.rmtree(network.directory / "network" / "node-infos")
    clock.pass_ms(1_000)

    assert directory.parties() == []
    assert "no node infos" in caplog.text


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing can be opened, as when strangers hold all that the process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_members_stay_when_the_system_can_open_no_file_and_news_are_read_later(
    network: CreatedNetwork, clock: FixedClock
) -> None:
    # Breaks when what can't be read at the moment is taken for what is not there.
    new = info_file(network, "bank-b")
    content = new.read_bytes()
    new.unlink()
    directory = open_directory(network, clock)
    touched = info_file(network, "bank-a")
    touched.write_bytes(touched.read_bytes())
    new.write_bytes(content)
    clock.pass_ms(1_000)
    with no_descriptors():
        meanwhile = directory.party(BANK_B), directory.party(BANK_A)
    names = os.listdir(new.parent)

    clock.pass_ms(1_000)

    assert [party is not None for party in meanwhile] == [False, True]
    assert len(directory.parties()) == len(names) == 3


def test_a_file_that_can_not_be_opened_at_the_moment_is_read_later(
    network: CreatedNetwork, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when it is remembered as one that is refused, until somebody writes to it.
    left = [errno.EMFILE]
    really_read = read_public_file

    def read(path: Path, *, bytes_max: int) -> bytes:
        if left and path.name == "bank-a.info":
            cause = OSError(left.pop(), "too many open files")
            raise ConfigurationError(str(path), "can't be read", "Try again") from cause
        return really_read(path, bytes_max=bytes_max)

    monkeypatch.setattr("runtime.edge.directory.read_public_file", read)
    directory = open_directory(network, clock)
    at_first = directory.party(BANK_A)
    clock.pass_ms(1_000)

    assert at_first is None
    assert directory.party(BANK_A) is not None


def test_a_directory_that_can_not_be_read_is_reported_seldom_however_often_it_is_looked_at(
    network: CreatedNetwork, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    directory = open_directory(network, clock)
    shutil.rmtree(network.directory / "network" / "node-infos")

    for _ in range(30):
        clock.pass_ms(1_000)
        directory.peer_of(b"a stranger's key")

    assert 3 <= len(caplog.messages) <= 9
    assert "more like it before" in caplog.text


def test_more_node_infos_than_the_bound_are_left_out(
    network: CreatedNetwork,
    clock: FixedClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.edge.directory.NETWORK_NODES_MAX", 2)

    directory = open_directory(network, clock)

    assert [party.name for party in directory.parties()] == [BANK_A, BANK_B]
    assert "only 2 of 3 node infos are read" in caplog.text


@pytest.mark.parametrize("name", ["root.pem", "parameters"])
@pytest.mark.parametrize("content", [b"junk", None])
def test_a_network_without_root_or_parameters_is_refused(
    network: CreatedNetwork, clock: FixedClock, name: str, content: bytes | None
) -> None:
    path = network.directory / "network" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        open_directory(network, clock)

    assert caught.value.where == str(path)


class OwnNetwork:
    """A network whose root's key the test still has."""

    def __init__(self, directory: Path) -> None:
        now = datetime.now(UTC)
        self.key = PrivateKey.generate()
        validity = Validity(start=now - timedelta(days=1), end=now + timedelta(days=1))
        (directory / "node-infos").mkdir()
        (directory / "root.pem").write_bytes(to_pem([issue_root(self.key, "own", validity)]))
        self.path = directory / "parameters"
        self.publish(epoch=3)

    def publish(self, *, epoch: int, name: str = "own", key: PrivateKey | None = None) -> None:
        parameters = NetworkParameters(network=name, epoch=epoch, notaries=[])
        new = self.path.with_suffix(".new")
        new.write_bytes(encode(sign_parameters(parameters, key or self.key)))
        new.rename(self.path)


def test_newer_parameters_replace_older_ones_while_nodes_run(
    tmp_path: Path, clock: FixedClock
) -> None:
    network = OwnNetwork(tmp_path)
    directory = NetworkDirectory(tmp_path, clock)
    network.publish(epoch=4, name="ours")
    clock.pass_ms(1_000)

    directory.refresh()

    assert (directory.parameters.epoch, directory.parameters.network) == (4, "ours")


def test_older_contradicting_or_forged_parameters_are_refused(
    tmp_path: Path, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    network = OwnNetwork(tmp_path)
    directory = NetworkDirectory(tmp_path, clock)
    first = directory.parameters

    for epoch, key, words in [
        (2, None, "epoch 2 does not follow 3"),
        (3, None, "epoch 3 does not follow 3"),
        (4, PrivateKey.generate(), "the signature does not fit"),
    ]:
        network.publish(epoch=epoch, name="theirs", key=key)
        clock.pass_ms(1_000)
        directory.refresh()
        assert directory.parameters == first
        assert words in caplog.messages[-1]

    network.publish(epoch=3)
    clock.pass_ms(1_000)
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        directory.refresh()
    assert caplog.messages == []


def test_forged_parameters_are_refused_at_the_start(tmp_path: Path, clock: FixedClock) -> None:
    OwnNetwork(tmp_path).publish(epoch=4, key=PrivateKey.generate())

    with pytest.raises(ConfigurationError, match="can't be used: the signature does not fit"):
        NetworkDirectory(tmp_path, clock)
