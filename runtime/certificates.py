"""X.509 certificates that bind legal names to keys, and the check of a chain of them.

    network root ──> node CA ──> identity ──> confidential (a one-time key)
    path length 2    1           0            no CA

Each certificate: X.509 v3 in DER, signed with Ed25519 or ECDSA-SHA256, with exactly the basic
constraints and key usage (both critical) of its role, and its role in a private extension (DER
INTEGER 1 to 4 in the order above). The subjects of node CA, identity and confidential are the same
legal name, attributes from C to CN. A chain is a list of DER certificates, the leaf first, without
the root, which the verifier has already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from hashlib import blake2b
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from runtime.errors import CertificateInvalid, KeyInvalid, NameInvalid
from runtime.keys import ED25519, PrivateKey, PublicKey, parsed, public_key
from runtime.limits import CERTIFICATE_BYTES_MAX, CERTIFICATES_PER_CHAIN_MAX
from runtime.names import X500Name, peer_name
from runtime.party import Party

# Below 2.25 everybody may name things by a UUID, without registration.
ROLE_OID: Final = x509.ObjectIdentifier("2.25.227973410629931078238802511377748716015")


class Role(IntEnum):
    """What a certificate is for; the number stands in its role extension."""

    ROOT = 1
    NODE_CA = 2
    IDENTITY = 3
    CONFIDENTIAL = 4

    def __str__(self) -> str:
        return _ROLE_WORDS[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """The time, both ends included, in which a certificate holds."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """What a verified chain proves: ``key``, in this role, belongs to ``party``."""

    party: Party
    key: PublicKey
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    certificate: x509.Certificate
    subject: str
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    path_length: int | None
    usage: x509.KeyUsage

    @property
    def constraints(self) -> x509.BasicConstraints:
        return x509.BasicConstraints(ca=self.path_length is not None, path_length=self.path_length)


def _usage(*, signs_content: bool, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs_content,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


_ROLE_WORDS: Final = {
    Role.ROOT: "network root",
    Role.NODE_CA: "node CA",
    Role.IDENTITY: "identity",
    Role.CONFIDENTIAL: "confidential",
}
_PROFILES: Final = {
    Role.ROOT: _Profile(path_length=2, usage=_usage(signs_content=True, signs_certificates=True)),
    Role.NODE_CA: _Profile(
        path_length=1, usage=_usage(signs_content=False, signs_certificates=True)
    ),
    Role.IDENTITY: _Profile(
        path_length=0, usage=_usage(signs_content=True, signs_certificates=True)
    ),
    Role.CONFIDENTIAL: _Profile(
        path_length=None, usage=_usage(signs_content=True, signs_certificates=False)
    ),
}
_CHAINS: Final = {
    2: (Role.IDENTITY, Role.NODE_CA),
    3: (Role.CONFIDENTIAL, Role.IDENTITY, Role.NODE_CA),
}
_KNOWN_EXTENSIONS: Final = frozenset(
    {
        ROLE_OID,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)
_SIGNATURE_ALGORITHMS: Final = frozenset(
    {SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ECDSA_WITH_SHA256}
)
_NAME_OIDS: Final = {
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COMMON_NAME: "CN",
}
_UNREADABLE: Final = (
    ValueError,
    # The library's answer to a name whose value has the wrong ASN.1 type.
    TypeError,
    # What it only warns of is an error where the program has warnings as errors.
    Warning,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
assert max(_CHAINS) == CERTIFICATES_PER_CHAIN_MAX


def verify_chain(chain: Sequence[bytes], root: x509.Certificate, at: datetime) -> Certified:
    """Return what ``chain`` proves at the time ``at``; raises `CertificateInvalid`.

    Checks every link from ``root`` (one that `read_root` returned) to the leaf: signature, issuer,
    role, constraints, dates, and that the name is the same all along.
    """
    roles = _CHAINS.get(len(chain))
    if roles is None:
        raise CertificateInvalid("the chain", f"has {len(chain)} certificates, not 2 or 3")
    _check_dates(root, at, f"the {Role.ROOT} certificate")
    parent, name = root, ""
    keys: dict[Role, PublicKey] = {}
    for number in range(len(chain), 0, -1):
        role = roles[number - 1]
        which = f"certificate {number} of {len(chain)} ({role})"
        link = _check(chain[number - 1], parent, role, at, which)
        if name and link.subject != name:
            what = f"is for {link.subject}, but the one that issued it is for {name}"
            raise CertificateInvalid(which, what)
        parent, name, keys[role] = link.certificate, link.subject, link.key
    party = Party(peer_name(name), keys[Role.IDENTITY])
    return Certified(party=party, key=keys[roles[0]], role=roles[0])


def verify_identity(chain: Sequence[bytes], root: x509.Certificate, at: datetime) -> Party:
    """Return the party that an identity's chain proves; refuses chains of one-time keys."""
    certified = verify_chain(chain, root, at)
    if certified.role is not Role.IDENTITY:
        raise CertificateInvalid("the chain", f"is of a {certified.role} key, not of an identity")
    return certified.party


def verify_confidential(chain: Sequence[bytes], root: x509.Certificate, at: datetime) -> Certified:
    """Return the well-known party behind a one-time key, and the key; refuses other chains."""
    certified = verify_chain(chain, root, at)
    if certified.role is not Role.CONFIDENTIAL:
        raise CertificateInvalid("the chain", f"is of an {certified.role}, not of a one-time key")
    return certified


def read_root(pem: bytes) -> x509.Certificate:
    """Return the one certificate in ``pem``; raises `CertificateInvalid` if it is no root."""
    which = f"the {Role.ROOT} certificate"
    ders = from_pem(pem)
    if len(ders) != 1:
        raise CertificateInvalid(which, f"must be alone in its file, which has {len(ders)}")
    try:
        root = _read(ders[0], which)
        _check_profile(root, Role.ROOT, which)
        _check_link(root, root, which)
    except _UNREADABLE as error:
        raise CertificateInvalid(which, f"is no X.509 certificate ({error})") from error
    return root


def root_key(root: x509.Certificate) -> PublicKey:
    """Return the key that signs node CAs and the network's parameters."""
    return _public_key(root, f"the {Role.ROOT} certificate")


def issue_root(key: PrivateKey, network: str, validity: Validity) -> bytes:
    """Make the self-signed root of the network of this name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{network} root")])
    return _issue(key, subject, subject, key.public, Role.ROOT, validity)


def issue_node_ca(
    root_private_key: PrivateKey,
    root: bytes,
    *,
    name: X500Name,
    key: PublicKey,
    validity: Validity,
) -> bytes:
    """Let ``key`` issue identities of ``name``."""
    issuer = x509.load_der_x509_certificate(root).subject
    return _issue(root_private_key, issuer, _to_x509(name), key, Role.NODE_CA, validity)


def issue_identity(
    node_ca_private_key: PrivateKey, node_ca: bytes, *, key: PublicKey, validity: Validity
) -> bytes:
    """Make ``key`` the identity key of the name that the node CA is for."""
    name = x509.load_der_x509_certificate(node_ca).subject
    return _issue(node_ca_private_key, name, name, key, Role.IDENTITY, validity)


def issue_confidential(identity_private_key: PrivateKey, identity: bytes, key: PublicKey) -> bytes:
    """Attest that the one-time ``key`` belongs to the identity; valid as long as the identity is.

    Needs neither clock nor chance. With an ed25519 identity the same key gives the same bytes.
    """
    certificate = x509.load_der_x509_certificate(identity)
    if public_key(certificate.public_key()) != identity_private_key.public:
        raise KeyInvalid("the private key and the identity certificate do not belong together")
    name = certificate.subject
    validity = Validity(start=certificate.not_valid_before_utc, end=certificate.not_valid_after_utc)
    return _issue(identity_private_key, name, name, key, Role.CONFIDENTIAL, validity)


def to_pem(chain: Sequence[bytes]) -> bytes:
    """Return the certificates as PEM text, in the same order."""
    certificates = map(x509.load_der_x509_certificate, chain)
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def from_pem(pem: bytes) -> list[bytes]:
    """Return the DER certificates of PEM text, unverified; raises `CertificateInvalid`."""
    if len(pem) > 2 * CERTIFICATE_BYTES_MAX * CERTIFICATES_PER_CHAIN_MAX:
        raise CertificateInvalid("the PEM text", f"has {len(pem)} bytes, too many for a chain")
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateInvalid(
            "the PEM text", "holds no certificates: it is empty, cut off, or something else"
        ) from error
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def _check(der: bytes, parent: x509.Certificate, role: Role, at: datetime, which: str) -> _Link:
    """Return a certificate and what it binds, once nothing between it and ``parent`` is wrong."""
    try:
        certificate = _read(der, which)
        _check_link(certificate, parent, which)
        _check_profile(certificate, role, which)
        _check_dates(certificate, at, which)
        subject, key = _subject(certificate, which), _public_key(certificate, which)
    except _UNREADABLE as error:
        # The library parses each part only when it is looked at.
        raise CertificateInvalid(which, f"is no X.509 certificate ({error})") from error
    return _Link(certificate=certificate, subject=subject, key=key)


def _read(der: bytes, which: str) -> x509.Certificate:
    if len(der) > CERTIFICATE_BYTES_MAX:
        what = f"has {len(der)} bytes, more than {CERTIFICATE_BYTES_MAX}"
        raise CertificateInvalid(which, what)
    certificate = x509.load_der_x509_certificate(der)
    if not der.endswith(b"\0" + certificate.signature):
        # The library overlooks bits that the signature claims not to use; nobody has signed those.
        raise CertificateInvalid(which, "has a signature of a broken number of bits")
    if certificate.version is not x509.Version.v3:
        raise CertificateInvalid(which, "is not of X.509 version 3")
    return certificate


def _check_link(certificate: x509.Certificate, parent: x509.Certificate, which: str) -> None:
    if certificate.signature_algorithm_oid not in _SIGNATURE_ALGORITHMS:
        what = f"is signed with {certificate.signature_algorithm_oid.dotted_string}, which is not"
        raise CertificateInvalid(which, f"{what} Ed25519 or ECDSA with SHA-256")
    if certificate.issuer != parent.subject:
        issuer, expected = certificate.issuer.rfc4514_string(), parent.subject.rfc4514_string()
        what = f"was issued by {issuer}, not by {expected}, which stands above it"
        raise CertificateInvalid(which, what)
    try:
        certificate.verify_directly_issued_by(parent)
    except (InvalidSignature, TypeError) as error:
        what = f"is not signed by the key of {parent.subject.rfc4514_string()}"
        raise CertificateInvalid(which, what) from error


def _check_profile(certificate: x509.Certificate, role: Role, which: str) -> None:
    extensions = {extension.oid: extension for extension in certificate.extensions}
    for oid, extension in extensions.items():
        if extension.critical and oid not in _KNOWN_EXTENSIONS:
            what = f"has the critical extension {oid.dotted_string}, which we do not know"
            raise CertificateInvalid(which, what)
    expected_role = _role_extension(role)
    values = {oid: extension.value for oid, extension in extensions.items()}
    if values.get(ROLE_OID) != expected_role:
        raise CertificateInvalid(which, f"is not marked with the role {role}")
    profile = _PROFILES[role]
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if constraints is None or constraints.value != profile.constraints or not constraints.critical:
        what = f"must have the critical constraint {_words(profile.constraints)} of its role"
        raise CertificateInvalid(which, what)
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if usage is None or usage.value != profile.usage or not usage.critical:
        raise CertificateInvalid(which, "must have the critical key usage of its role")


def _check_dates(certificate: x509.Certificate, at: datetime, which: str) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < start:
        raise CertificateInvalid(which, f"is not valid before {start:%Y-%m-%d %H:%M:%S} UTC")
    if at > end:
        raise CertificateInvalid(which, f"has expired on {end:%Y-%m-%d %H:%M:%S} UTC")


def _subject(certificate: x509.Certificate, which: str) -> str:
    try:
        return str(_from_x509(certificate.subject))
    except NameInvalid as error:
        raise CertificateInvalid(which, f"has no legal name as its subject: {error}") from error


def _public_key(certificate: x509.Certificate, which: str) -> PublicKey:
    try:
        return public_key(certificate.public_key())
    except KeyInvalid as error:
        raise CertificateInvalid(which, f"has an unusable key: {error}") from error


def _issue(
    issuer_key: PrivateKey,
    issuer: x509.Name,
    subject: x509.Name,
    key: PublicKey,
    role: Role,
    validity: Validity,
) -> bytes:
    profile = _PROFILES[role]
    public, issuer_public = parsed(key), parsed(issuer_key.public)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public)
        .serial_number(_serial_number(issuer_key.public, key, role, validity))
        .not_valid_before(validity.start)
        .not_valid_after(validity.end)
        .add_extension(profile.constraints, critical=True)
        .add_extension(profile.usage, critical=True)
        .add_extension(_role_extension(role), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False
        )
    )
    algorithm = None if issuer_key.public.scheme == ED25519 else hashes.SHA256()
    certificate = builder.sign(issuer_key.for_certificates(), algorithm)
    return certificate.public_bytes(Encoding.DER)


def _serial_number(issuer: PublicKey, key: PublicKey, role: Role, validity: Validity) -> int:
    # A digest instead of chance: the same order makes the same certificate, also in a replay.
    span = f"{role.value} {validity.start.isoformat()} {validity.end.isoformat()}"
    digest = blake2b(issuer.data + key.data + span.encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big") | 1


def _role_extension(role: Role) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(ROLE_OID, bytes((0x02, 0x01, role.value)))


def _words(constraints: x509.BasicConstraints) -> str:
    if not constraints.ca:
        return "'no CA'"
    return f"'CA with path length {constraints.path_length}'"


def _to_x509(name: X500Name) -> x509.Name:
    values = name.attributes()
    return x509.Name(
        x509.NameAttribute(oid, values[attribute])
        for oid, attribute in _NAME_OIDS.items()
        if attribute in values
    )


def _from_x509(name: x509.Name) -> X500Name:
    values: dict[str, str] = {}
    for attribute in name:
        key, value = _NAME_OIDS.get(attribute.oid), attribute.value
        if key is None or not isinstance(value, str):
            oid = attribute.oid.dotted_string
            raise NameInvalid(oid, "is no attribute of a legal name", "Leave it out")
        if key in values:
            raise NameInvalid(key, "stands in the name twice", "Remove one of them")
        values[key] = value
    return X500Name.from_attributes(values)
