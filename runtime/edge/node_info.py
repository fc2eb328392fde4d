"""What a node tells the network of itself, and what the network tells all nodes; both signed.

File ``<anything>.info``: the codec's encoding of `SignedNodeInfo`, at most 32 KiB. Its ``body`` is
the encoding of `NodeInfo`, signed by the identity key inside it, which the certificates inside it
bind to the name. File ``parameters``: `SignedParameters`, its ``body`` an encoding of
`NetworkParameters`, signed by the network root's key.

The signatures cover, before the body, a text that says which of the two it is, so that none can
be shown for the other, or for anything else that the same key signs.
"""

import re
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Final

from cryptography import x509
from zmq.utils import z85

from runtime.certificates import root_key, verify_identity
from runtime.codec import decode, encode, message
from runtime.errors import CertificateInvalid
from runtime.ids import PeerName
from runtime.keys import PrivateKey, PublicKey
from runtime.limits import (
    CERTIFICATE_BYTES_MAX,
    CERTIFICATES_PER_CHAIN_MAX,
    NODE_ADDRESSES_MAX,
)
from runtime.names import peer_name
from runtime.party import Party

PLATFORM_VERSION: Final = 1
"""Goes up when nodes of this version can do what older ones can't."""

_NODE_INFO_CONTEXT: Final = b"sennit node info 1\n"
_PARAMETERS_CONTEXT: Final = b"sennit network parameters 1\n"
_CURVE_KEY_BYTES: Final = 40
_PORT_MAX: Final = 65_535
_ADDRESS: Final = re.compile(
    r"tcp://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
)


@message
class NodeInfo:
    """Where a node is, and with which keys it speaks. Of two of one name, the higher serial holds.

    ``certificates`` is the chain of the identity, leaf first, in DER.
    """

    name: PeerName
    addresses: list[str]
    curve_key: bytes
    identity: PublicKey
    certificates: list[bytes]
    platform_version: int
    serial: int

    def __post_init__(self) -> None:
        if peer_name(self.name) != self.name:
            raise ValueError(f"the name {self.name!r} is not canonical")
        if not 1 <= len(self.addresses) <= NODE_ADDRESSES_MAX:
            raise ValueError(f"a node has 1 to {NODE_ADDRESSES_MAX} addresses")
        for address in self.addresses:
            check_address(address)
        check_curve_key(self.curve_key)
        if len(self.certificates) > CERTIFICATES_PER_CHAIN_MAX or any(
            len(certificate) > CERTIFICATE_BYTES_MAX for certificate in self.certificates
        ):
            raise ValueError("the certificates are too many or too large")
        if self.serial < 0 or self.platform_version < 1:
            raise ValueError("serial and platform version are never negative")

    @property
    def party(self) -> Party:
        """Return name and identity key together."""
        return Party(name=self.name, key=self.identity)


@message
class SignedNodeInfo:
    """A node info as it is spread; nothing in ``body`` may be believed before `verified`."""

    body: bytes
    signature: bytes

    def verified(self, root: x509.Certificate, at: datetime) -> NodeInfo:
        """Return the node info if its certificates and signature prove it at the time ``at``.

        Raises `BadMessage`, `CertificateInvalid` or `SignatureInvalid`.
        """
        info = decode(self.body, NodeInfo)
        party = verify_identity(info.certificates, root, at)
        if party != info.party:
            what = f"proves {party} with key {party.key}, not {info.name} with {info.identity}"
            raise CertificateInvalid("the chain", what)
        info.identity.verify(self.signature, _NODE_INFO_CONTEXT + self.body)
        return info


@message
class Notary:
    """A notary of the network, as its parameters name it."""

    party: Party
    validating: bool


@message
class NetworkParameters:
    """What all nodes of a network agree on. A change has a higher epoch."""

    network: str
    epoch: int
    notaries: list[Notary]

    def __post_init__(self) -> None:
        if self.epoch < 1:
            raise ValueError("epochs count from 1")


@message
class SignedParameters:
    """Network parameters as they are spread; not to be believed before `verified`."""

    body: bytes
    signature: bytes

    def verified(self, root: x509.Certificate) -> NetworkParameters:
        """Return the parameters if the root has signed them.

        Raises `BadMessage` or `SignatureInvalid`.
        """
        root_key(root).verify(self.signature, _PARAMETERS_CONTEXT + self.body)
        return decode(self.body, NetworkParameters)


def sign_node_info(info: NodeInfo, sign: Callable[[PublicKey, bytes], bytes]) -> SignedNodeInfo:
    """Sign with the identity key of ``info``, as a keystore's ``sign`` does it."""
    body = encode(info)
    return SignedNodeInfo(body=body, signature=sign(info.identity, _NODE_INFO_CONTEXT + body))


def sign_parameters(
    parameters: NetworkParameters, root_private_key: PrivateKey
) -> SignedParameters:
    """Sign with the network root's key."""
    body = encode(parameters)
    return SignedParameters(body=body, signature=root_private_key.sign(_PARAMETERS_CONTEXT + body))


def check_address(address: str) -> None:
    """Raise ValueError unless ``address`` is ``tcp://HOST:PORT`` and could be connected to."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 1 <= int(match["port"]) <= _PORT_MAX:
        raise ValueError(f"{address[:300]!r} is no address of the form tcp://HOST:PORT")


def check_curve_key(key: bytes) -> None:
    """Raise ValueError unless ``key`` is a CURVE key in Z85."""
    try:
        is_key = len(key) == _CURVE_KEY_BYTES and z85.encode(z85.decode(key)) == key
    except (KeyError, ValueError, struct.error):
        is_key = False
    if not is_key:
        raise ValueError(f"{key[:64]!r} is no CURVE key, which has 40 characters of Z85")
