"""Node infos and parameters: signed, bounded, and not to be shown one for the other."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.certificates import (
    Validity,
    issue_confidential,
    issue_identity,
    issue_node_ca,
    issue_root,
    read_root,
    to_pem,
)
from runtime.codec import decode, encode
from runtime.edge.keystore import new_curve_keys
from runtime.edge.node_info import (
    NetworkParameters,
    NodeInfo,
    Notary,
    SignedNodeInfo,
    SignedParameters,
    check_address,
    check_curve_key,
    sign_node_info,
    sign_parameters,
)
from runtime.errors import BadMessage, CertificateInvalid, NameInvalid, SignatureInvalid
from runtime.ids import PeerName
from runtime.keys import PrivateKey
from runtime.names import X500Name
from tests.runtime.networks import changed

NOW = datetime(2026, 3, 1, tzinfo=UTC)
VALIDITY = Validity(start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))
NAME = X500Name.parse("O=Bank A,L=London,C=GB")
ROOT_KEY, NODE_CA_KEY, IDENTITY_KEY = (PrivateKey.generate() for _ in range(3))
ROOT_DER = issue_root(ROOT_KEY, "demo", VALIDITY)
ROOT = read_root(to_pem([ROOT_DER]))
NODE_CA = issue_node_ca(ROOT_KEY, ROOT_DER, name=NAME, key=NODE_CA_KEY.public, validity=VALIDITY)
IDENTITY = issue_identity(NODE_CA_KEY, NODE_CA, key=IDENTITY_KEY.public, validity=VALIDITY)
CURVE_KEY = new_curve_keys().public_key
INFO = NodeInfo(
    name=PeerName(str(NAME)),
    addresses=["tcp://127.0.0.1:10000"],
    curve_key=CURVE_KEY,
    identity=IDENTITY_KEY.public,
    certificates=[IDENTITY, NODE_CA],
    platform_version=1,
    serial=1,
)
PARAMETERS = NetworkParameters(
    network="demo",
    epoch=1,
    notaries=[Notary(party=INFO.party, validating=False)],
)


def signed(info: NodeInfo, key: PrivateKey = IDENTITY_KEY) -> SignedNodeInfo:
    return sign_node_info(info, lambda _, content: key.sign(content))


def test_a_signed_node_info_survives_the_codec_and_is_believed() -> None:
    arrived = decode(encode(signed(INFO)), SignedNodeInfo)

    assert arrived.verified(ROOT, NOW) == INFO


def test_a_node_info_signed_by_another_key_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        signed(INFO, PrivateKey.generate()).verified(ROOT, NOW)


def test_a_changed_node_info_is_refused() -> None:
    honest = signed(INFO)
    body = honest.body.replace(b"127.0.0.1:10000", b"127.0.0.1:10666")

    with pytest.raises(SignatureInvalid):
        SignedNodeInfo(body=body, signature=honest.signature).verified(ROOT, NOW)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_node_info(body: bytes) -> None:
    with pytest.raises(BadMessage):
        SignedNodeInfo(body=body, signature=b"").verified(ROOT, NOW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda: changed(INFO, name=PeerName("O=Bank B,L=London,C=GB")),
            "proves O=Bank A,L=London,C=GB .* not O=Bank B",
        ),
        (lambda: changed(INFO, certificates=[]), "has 0 certificates"),
        (
            lambda: changed(INFO, certificates=[IDENTITY, ROOT_DER]),
            "certificate 2 of 2",
        ),
    ],
)
def test_a_node_info_that_its_certificates_do_not_prove_is_refused(
    change: Callable[[], NodeInfo], words: str
) -> None:
    with pytest.raises(CertificateInvalid, match=words):
        signed(change()).verified(ROOT, NOW)


def test_a_node_info_with_a_stolen_certificate_is_refused() -> None:
    thief = PrivateKey.generate()
    stolen = changed(INFO, identity=thief.public)

    with pytest.raises(CertificateInvalid, match="the chain proves"):
        signed(stolen, thief).verified(ROOT, NOW)


def test_a_one_time_key_can_not_list_a_node() -> None:
    one_time = PrivateKey.generate()
    leaf = issue_confidential(IDENTITY_KEY, IDENTITY, one_time.public)
    info = changed(INFO, identity=one_time.public, certificates=[leaf, IDENTITY, NODE_CA])

    with pytest.raises(CertificateInvalid, match="not of an identity"):
        signed(info, one_time).verified(ROOT, NOW)


def test_an_expired_node_info_is_refused() -> None:
    with pytest.raises(CertificateInvalid, match="has expired"):
        signed(INFO).verified(ROOT, NOW + timedelta(days=2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"addresses": []},
        {"addresses": ["tcp://127.0.0.1:1"] * 9},
        {"addresses": ["ipc:///tmp/x"]},
        {"curve_key": b"short"},
        {"certificates": [b""] * 4},
        {"certificates": [b"x" * 4097]},
        {"serial": -1},
        {"platform_version": 0},
        {"name": "O=Bank A, L=London, C=GB"},
    ],
)
def test_a_node_info_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        changed(INFO, **wrong)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(NameInvalid):
        changed(INFO, name=PeerName("x"))


def test_parameters_are_believed_if_the_root_signed_them() -> None:
    arrived = decode(encode(sign_parameters(PARAMETERS, ROOT_KEY)), SignedParameters)

    assert arrived.verified(ROOT) == PARAMETERS
    with pytest.raises(SignatureInvalid):
        sign_parameters(PARAMETERS, IDENTITY_KEY).verified(ROOT)


def test_a_signature_over_a_bare_body_is_not_taken_for_one_of_parameters() -> None:
    body = encode(PARAMETERS)

    with pytest.raises(SignatureInvalid):
        SignedParameters(body=body, signature=ROOT_KEY.sign(body)).verified(ROOT)


def test_signed_bytes_that_are_no_parameters_are_refused() -> None:
    context = b"sennit network parameters 1\n"

    with pytest.raises(BadMessage):
        SignedParameters(body=b"x", signature=ROOT_KEY.sign(context + b"x")).verified(ROOT)


def test_parameters_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError):
        changed(PARAMETERS, epoch=0)


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "tcp://bank-a.example.com:65535", "tcp://[::1]:10000", "tcp://a:10"],
)
def test_addresses_one_can_connect_to_are_accepted(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://:10000",
        "tcp://*:10000",
        "tcp://a;b:10000",
        "tcp://127.0.0.1:10000\n",
        "udp://127.0.0.1:10000",
        "tcp://127.0.0.1:\u0661",
        "tcp://" + "a" * 300 + ":1",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address of the form"):
        check_address(address)


@pytest.mark.parametrize("key", [b"", b"#" * 40, b"~" * 40, b"a" * 39, b"\xff" * 40])
def test_bytes_that_are_no_curve_key_are_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="40 characters of Z85"):
        check_curve_key(key)
