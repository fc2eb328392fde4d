"""A node's own identity: keystore, certificates and configuration must agree."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from runtime.certificates import read_root, to_pem, verify_confidential
from runtime.config import NodeConfig
from runtime.edge.files import write_public_file
from runtime.edge.node_identity import IDENTITY_FILE, NodeIdentity
from runtime.errors import ConfigurationError
from runtime.keys import PrivateKey
from runtime.network_bootstrap import CreatedNetwork, CreatedNode
from tests.runtime.networks import make_network, open_keystore

NOW = datetime.now(UTC)


@pytest.fixture
def network(tmp_path: Path) -> CreatedNetwork:
    return make_network(tmp_path)


def load(network: CreatedNetwork, node: CreatedNode, keys_of: CreatedNode) -> NodeIdentity:
    config = NodeConfig.load(node.directory)
    return NodeIdentity.load(
        config.certificates_directory,
        open_keystore(keys_of),
        name=config.name,
        root=read_root((network.directory / "network" / "root.pem").read_bytes()),
        at=NOW,
    )


def test_an_identity_is_a_party_with_its_keys(network: CreatedNetwork) -> None:
    bank = network.nodes[1]

    identity = load(network, bank, bank)

    assert identity.party.name == bank.name
    signature = identity.keystore.sign(identity.party.key, b"content")
    identity.party.key.verify(signature, b"content")


def test_an_identity_certifies_its_one_time_keys_to_whoever_has_the_root(
    network: CreatedNetwork,
) -> None:
    bank, one_time = network.nodes[1], PrivateKey.generate().public
    identity = load(network, bank, bank)
    root = read_root((network.directory / "network" / "root.pem").read_bytes())

    certified = verify_confidential(identity.certify(one_time), root, NOW)

    assert (certified.party, certified.key) == (identity.party, one_time)


def test_certificates_of_another_node_or_key_are_refused(network: CreatedNetwork) -> None:
    bank_a, bank_b = network.nodes[1:]

    with pytest.raises(ConfigurationError, match="is for another key than the keystore has"):
        load(network, bank_a, bank_b)
    swapped = bank_a.directory / "certificates" / IDENTITY_FILE
    swapped.write_bytes((bank_b.directory / "certificates" / IDENTITY_FILE).read_bytes())
    with pytest.raises(ConfigurationError, match=r"is for O=Bank B.*but node\.toml says O=Bank A"):
        load(network, bank_a, bank_b)


def test_certificates_of_another_network_or_none_are_refused(
    network: CreatedNetwork, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, bank = make_network(tmp_path / "other"), network.nodes[1]
    path = bank.directory / "certificates" / IDENTITY_FILE

    with pytest.raises(ConfigurationError, match=r"node CA\) is not signed by the key"):
        load(other, bank, bank)
    write_public_file(path, b"nonsense")
    with pytest.raises(ConfigurationError, match="holds no certificates"):
        load(network, bank, bank)
    root = read_root((network.directory / "network" / "root.pem").read_bytes())
    write_public_file(path, to_pem([root.public_bytes(Encoding.DER)]))
    with pytest.raises(ConfigurationError, match="the chain has 1 certificates"):
        load(network, bank, bank)
