"""Development networks: complete, private where they must be, and refused as a whole."""

import time
from pathlib import Path

import pytest

from runtime.client_config import ClientConfig, UserKey, load_users
from runtime.config import NodeConfig
from runtime.edge.directory import NetworkDirectory
from runtime.errors import ConfigurationError
from runtime.names import peer_name
from runtime.network_bootstrap import create_network, short_names
from tests.runtime.edge.power_cut import recorded_syncs
from tests.runtime.networks import SPEC, FixedClock, make_network, open_keystore


def clock() -> FixedClock:
    return FixedClock(int(time.time() * 1000))


def refused(directory: Path, spec: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make_network(directory, spec)
    return str(caught.value)


def test_every_node_can_read_its_configuration_keys_and_the_others(tmp_path: Path) -> None:
    network = make_network(tmp_path)

    for node in network.nodes:
        config = NodeConfig.load(node.directory)
        keystore = open_keystore(node)
        directory = NetworkDirectory(config.network_directory, clock())
        party = directory.party(config.name)
        address = directory.address(config.name)
        assert party is not None
        assert address is not None
        assert party.key == keystore.identity
        assert address.curve_key == keystore.curve.public_key
        assert address.endpoint == config.p2p_address == node.p2p_address
        assert config.rpc_address == node.rpc_address
        assert config.notary == node.notary
        assert len(directory.parties()) == 3
        assert [str(notary) for notary in directory.notaries()] == ["O=Notary,L=London,C=GB"]


def test_the_network_is_made_beside_its_file_or_where_one_says(tmp_path: Path) -> None:
    beside = make_network(tmp_path)
    elsewhere = create_network(tmp_path / "demo.toml", tmp_path / "deep" / "er")

    assert beside.directory == tmp_path / "demo"
    assert elsewhere.directory == tmp_path / "deep" / "er"
    assert [node.short_name for node in beside.nodes] == ["notary", "bank-a", "bank-b"]
    assert NodeConfig.load(beside.nodes[1].directory).apps == ("samples.trade",)


def test_the_network_works_where_it_is_moved_to(tmp_path: Path) -> None:
    network = make_network(tmp_path)

    network.directory.rename(tmp_path / "moved")

    config = NodeConfig.load(tmp_path / "moved" / "nodes" / "bank-a")
    assert len(NetworkDirectory(config.network_directory, clock()).parties()) == 3


def test_a_network_that_was_made_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when the files are on disk, and the directories that lead to them are not.
    with recorded_syncs(monkeypatch) as synced:
        network = make_network(tmp_path)

    assert synced.lost(network.directory) == set()


def test_everything_secret_is_private(tmp_path: Path) -> None:
    network = make_network(tmp_path)

    open_to_others = [
        path.relative_to(network.directory)
        for path in network.directory.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077
    ]

    names = {path.name for path in open_to_others}
    assert names == {
        "root.pem",
        "parameters",
        "notary.info",
        "bank-a.info",
        "bank-b.info",
        "node.toml",
        "identity.pem",
        "client.toml",
    }
    for directory in [network.directory / "users", *(node.directory for node in network.nodes)]:
        assert directory.stat().st_mode & 0o777 == 0o700


def test_one_admin_is_made_where_no_user_is_named(tmp_path: Path) -> None:
    network = make_network(tmp_path)

    client = ClientConfig.load(network.client_file)
    admin = UserKey.load(network.directory / "users" / "admin.key")

    assert network.users == ("admin",)
    for node in network.nodes:
        (user,) = load_users(NodeConfig.load(node.directory).users_file)
        assert (user.name, user.public_key) == ("admin", admin.curve.public_key)
        assert user.permissions.granted == {"ALL"}
        listed = client.node(node.short_name)
        assert listed == client.node(node.name)
        assert listed.rpc_address == node.rpc_address
        assert listed.curve_key == open_keystore(node).curve.public_key


def test_users_are_made_as_the_file_names_them(tmp_path: Path) -> None:
    users = '[[user]]\nname = "alice"\npermissions = ["Read", "StartFlow.samples.*"]\n'

    network = make_network(tmp_path, f'{SPEC}{users}[[user]]\nname = "bob"\n')

    alice, bob = load_users(network.nodes[0].directory / "users.toml")
    assert network.users == ("alice", "bob")
    assert alice.permissions.granted == {"Read", "StartFlow.samples.*"}
    assert bob.permissions.granted == frozenset()
    assert alice.public_key != bob.public_key


def test_ports_follow_the_base_port(tmp_path: Path) -> None:
    network = make_network(tmp_path, SPEC.replace("demo", 'demo"\nbase_port = 10000\n#', 1))

    addresses = [(node.p2p_address, node.rpc_address) for node in network.nodes]

    assert addresses[0] == ("tcp://127.0.0.1:10000", "tcp://127.0.0.1:10001")
    assert addresses[2] == ("tcp://127.0.0.1:10004", "tcp://127.0.0.1:10005")


def test_free_ports_are_all_different(tmp_path: Path) -> None:
    network = make_network(tmp_path)

    addresses = {a for node in network.nodes for a in (node.p2p_address, node.rpc_address)}

    assert len(addresses) == 6


def test_an_existing_network_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    network = make_network(tmp_path)
    root = (network.directory / "network" / "root.pem").read_bytes()
    (network.nodes[0].directory / "store").mkdir()

    with pytest.raises(ConfigurationError, match="there is a network already"):
        create_network(tmp_path / "demo.toml")
    assert (network.directory / "network" / "root.pem").read_bytes() == root

    again = create_network(tmp_path / "demo.toml", force=True)
    assert (again.directory / "network" / "root.pem").read_bytes() != root
    assert not (network.nodes[0].directory / "store").exists()


def test_a_directory_that_is_not_of_a_network_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "precious").touch()
    (tmp_path / "demo.toml").write_text(SPEC)

    for force in (False, True):
        with pytest.raises(ConfigurationError):
            create_network(tmp_path / "demo.toml", tmp_path, force=force)

    assert (tmp_path / "users" / "precious").exists()


def test_all_mistakes_of_the_file_are_reported_and_nothing_is_written(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        """\
[network]
name = "My Demo"
base_port = 65533
hots = "x"

[[node]]
name = "O=Bank A,L=London,C=UK"
notary = "validatng"

[[node]]
name = "O=Bank B,L=London,C=GB"
apps = ["samples/trade", "class"]

[[node]]
name = "O=Bank B, L=London, C=GB"

[[user]]
name = "../alice"
permissions = ["Everything"]
""",
    )

    for words in [
        "has 10 mistakes",
        "line 2: [network] name 'My Demo' can't be the name of a directory",
        "line 3: [network] base_port 65533 leaves no room for 6 ports",
        "line 4: [network] hots is not a known key. Did you mean host?",
        "line 7: [node] name 'O=Bank A,L=London,C=UK': C is 'UK', which is no ISO 3166",
        "Did you mean GB?",
        "line 8: [node] notary is 'validatng'. Did you mean validating?",
        "line 12: [node] apps has 'samples/trade', which is no name of a module",
        "line 12: [node] apps has 'class'",
        "line 15: [node] name 'O=Bank B,L=London,C=GB' is there twice",
        "line 18: [user] name '../alice' can't be the name of a file",
        "line 19: [user] there is no permission 'Everything'",
    ]:
        assert words in message
    assert [path.name for path in tmp_path.iterdir()] == ["demo.toml"]


def test_a_network_without_nodes_or_with_a_foreign_host_is_refused(tmp_path: Path) -> None:
    assert "there are 0 nodes. Describe 1 to 200" in refused(tmp_path, '[network]\nname = "demo"\n')
    assert "host 'a b' is no name of a host" in refused(
        tmp_path, SPEC.replace('"demo"', '"demo"\nhost = "a b"')
    )
    assert "name 'alice' is there twice" in refused(
        tmp_path, SPEC + '[[user]]\nname = "alice"\n' * 2
    )


def test_short_names_are_plain_and_unique() -> None:
    names = [
        "O=Société Générale (SA),L=Paris,C=FR",
        "O=Bank A,L=London,C=GB",
        "O=Bank A,L=Paris,C=FR",
        "O=Bank. A,L=Paris,C=FR",
        "O=ØØ,L=Oslo,C=NO",
    ]

    assert short_names(map(peer_name, names)) == [
        "societe-generale-sa",
        "bank-a",
        "bank-a-2",
        "bank-a-3",
        "node",
    ]
