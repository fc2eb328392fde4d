"""Certificates: an honest chain proves its party; every hostile one is refused with its place."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from runtime.certificates import (
    ROLE_OID,
    Role,
    Validity,
    from_pem,
    issue_confidential,
    issue_identity,
    issue_node_ca,
    issue_root,
    read_root,
    root_key,
    to_pem,
    verify_chain,
    verify_confidential,
    verify_identity,
)
from runtime.errors import CertificateInvalid, KeyInvalid
from runtime.keys import ED25519, P256, PrivateKey, parsed
from runtime.names import X500Name
from runtime.party import Party

NOW = datetime(2026, 3, 1, tzinfo=UTC)
YEARS = Validity(start=NOW - timedelta(days=1), end=NOW + timedelta(days=3650))
NAME = X500Name.parse("CN=Desk 1,OU=Trading,O=Bank A,L=London,ST=Essex,C=GB")
OTHER = X500Name.parse("O=Bank B,L=London,C=GB")


@dataclass
class Pki:
    """An honest chain with all its keys."""

    root_key: PrivateKey
    root: x509.Certificate
    node_ca_key: PrivateKey
    node_ca: bytes
    identity_key: PrivateKey
    identity: bytes

    @property
    def chain(self) -> list[bytes]:
        return [self.identity, self.node_ca]

    @property
    def root_der(self) -> bytes:
        return self.root.public_bytes(Encoding.DER)


def make_pki(
    scheme: str = ED25519,
    name: X500Name = NAME,
    node_ca_validity: Validity = YEARS,
    identity_validity: Validity = YEARS,
) -> Pki:
    keys = [PrivateKey.generate(scheme) for _ in range(3)]
    root = issue_root(keys[0], "demo", YEARS)
    node_ca = issue_node_ca(keys[0], root, name=name, key=keys[1].public, validity=node_ca_validity)
    identity = issue_identity(keys[1], node_ca, key=keys[2].public, validity=identity_validity)
    return Pki(keys[0], read_root(to_pem([root])), keys[1], node_ca, keys[2], identity)


PKI = make_pki()


IDENTITY_CONSTRAINTS = x509.BasicConstraints(ca=True, path_length=0)


@dataclass
class Forgery:
    """A certificate with any part of it chosen by an attacker."""

    signer: PrivateKey
    issuer: x509.Name
    subject: x509.Name
    public: object
    role: bytes | None = b"\x02\x01\x03"
    constraints: x509.BasicConstraints | None = IDENTITY_CONSTRAINTS
    constraints_critical: bool = True
    usage: x509.KeyUsage | None = None
    extra: x509.ExtensionType | None = None
    hash: hashes.SHA384 | None = None

    def der(self) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .issuer_name(self.issuer)
            .subject_name(self.subject)
            .public_key(self.public)  # type: ignore[arg-type]
            .serial_number(7)
            .not_valid_before(YEARS.start)
            .not_valid_after(YEARS.end)
        )
        if self.constraints is not None:
            builder = builder.add_extension(self.constraints, critical=self.constraints_critical)
        if self.usage is not None:
            builder = builder.add_extension(self.usage, critical=True)
        if self.role is not None:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(ROLE_OID, self.role), critical=False
            )
        if self.extra is not None:
            builder = builder.add_extension(self.extra, critical=True)
        signed = builder.sign(self.signer.for_certificates(), self.hash)
        return signed.public_bytes(Encoding.DER)


def forgery(pki: Pki = PKI) -> Forgery:
    """Return what is in all parts like an honest identity, to be spoiled in one of them."""
    honest = x509.load_der_x509_certificate(pki.identity)
    return Forgery(
        signer=pki.node_ca_key,
        issuer=honest.issuer,
        subject=honest.subject,
        public=parsed(pki.identity_key.public),
        usage=honest.extensions.get_extension_for_class(x509.KeyUsage).value,
    )


def refused(chain: list[bytes], at: datetime = NOW, root: x509.Certificate = PKI.root) -> str:
    with pytest.raises(CertificateInvalid) as caught:
        verify_chain(chain, root, at)
    return str(caught.value)


@pytest.mark.parametrize("scheme", [ED25519, P256])
def test_an_identity_chain_proves_its_party(scheme: str) -> None:
    pki = make_pki(scheme)

    party = verify_identity(pki.chain, pki.root, NOW)

    assert party == Party(name=party.name, key=pki.identity_key.public)
    assert party.name == str(NAME)
    assert root_key(pki.root) == pki.root_key.public


@pytest.mark.parametrize("scheme", [ED25519, P256])
def test_a_confidential_chain_proves_the_party_behind_a_one_time_key(scheme: str) -> None:
    pki, one_time = make_pki(scheme), PrivateKey.generate().public

    leaf = issue_confidential(pki.identity_key, pki.identity, one_time)
    certified = verify_confidential([leaf, *pki.chain], pki.root, NOW)

    assert certified.key == one_time
    assert certified.party == verify_identity(pki.chain, pki.root, NOW)
    assert certified.role is Role.CONFIDENTIAL


def test_the_same_one_time_key_gives_the_same_certificate() -> None:
    one_time = PrivateKey.generate().public

    certificates = {issue_confidential(PKI.identity_key, PKI.identity, one_time) for _ in "ab"}

    assert len(certificates) == 1


def test_a_one_time_key_is_not_attested_with_a_key_of_another_identity() -> None:
    with pytest.raises(KeyInvalid, match="do not belong together"):
        issue_confidential(PrivateKey.generate(), PKI.identity, PrivateKey.generate().public)


def test_a_chain_of_one_kind_is_refused_where_the_other_is_asked_for() -> None:
    leaf = issue_confidential(PKI.identity_key, PKI.identity, PrivateKey.generate().public)

    with pytest.raises(CertificateInvalid, match="is of a confidential key, not of an identity"):
        verify_identity([leaf, *PKI.chain], PKI.root, NOW)
    with pytest.raises(CertificateInvalid, match="is of an identity, not of a one-time key"):
        verify_confidential(PKI.chain, PKI.root, NOW)


def test_a_chain_survives_pem() -> None:
    assert from_pem(to_pem(PKI.chain)) == PKI.chain


@pytest.mark.parametrize("length", [0, 1, 4, 1000])
def test_a_chain_of_another_length_is_refused_before_it_is_read(length: int) -> None:
    assert refused([b"junk"] * length) == f"the chain has {length} certificates, not 2 or 3"


def test_bytes_that_are_no_certificate_are_refused_with_their_place() -> None:
    assert "certificate 1 of 2 (identity) is no X.509" in refused([b"junk", PKI.node_ca])
    assert "certificate 2 of 2 (node CA) is no X.509" in refused([PKI.identity, b"junk"])
    assert "(identity) is no X.509" in refused([PKI.identity + b"\0", PKI.node_ca])
    assert "has 4097 bytes, more than 4096" in refused([b"x" * 4097, PKI.node_ca])


def test_a_certificate_of_an_older_version_of_x509_is_refused() -> None:
    honest, version_3 = PKI.identity, bytes.fromhex("a003020102")
    assert honest[8:13] == version_3
    # Without the version, which then is 1; both lengths around it are five less.
    lengths = [int.from_bytes(honest[start : start + 2], "big") - 5 for start in (2, 6)]
    head = [b"\x30\x82" + length.to_bytes(2, "big") for length in lengths]

    older = b"".join(head) + honest[13:]

    assert "certificate 1 of 2 (identity) is not of X.509 version 3" in refused(
        [older, PKI.node_ca]
    )


@given(place=st.integers(0, len(PKI.identity) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_makes_the_chain_invalid(place: int, bit: int) -> None:
    spoiled = bytearray(PKI.identity)
    spoiled[place] ^= 1 << bit

    assert refused([bytes(spoiled), PKI.node_ca])


def test_a_name_whose_value_is_of_another_asn1_type_is_refused() -> None:
    printable, bit_string = b"\x13\x02GB", b"\x03\x02GB"
    assert printable in PKI.identity

    assert "is no X.509 certificate" in refused(
        [PKI.identity.replace(printable, bit_string), PKI.node_ca]
    )


def test_a_signature_with_unused_bits_is_refused() -> None:
    spoiled = bytearray(PKI.identity)
    spoiled[-65] = 1

    assert refused([bytes(spoiled), PKI.node_ca])


def test_a_chain_of_another_network_is_refused() -> None:
    other = make_pki()

    message = refused(other.chain)

    assert message == "certificate 2 of 2 (node CA) is not signed by the key of CN=demo root"


def test_an_identity_issued_by_another_node_ca_of_the_same_name_is_refused() -> None:
    impostor = make_pki()

    message = refused([impostor.identity, PKI.node_ca])

    assert "certificate 1 of 2 (identity) is not signed by the key of" in message


def test_an_identity_with_another_issuer_is_refused() -> None:
    other = make_pki(name=OTHER)

    message = refused([other.identity, PKI.node_ca])

    assert "certificate 1 of 2 (identity) was issued by CN" not in message
    assert "was issued by O=Bank B,L=London,C=GB, not by CN=Desk 1" in message


def test_a_node_ca_can_not_issue_an_identity_of_another_name() -> None:
    other = x509.load_der_x509_certificate(make_pki(name=OTHER).identity).subject
    forged = forgery()
    forged.subject = other

    message = refused([forged.der(), PKI.node_ca])

    assert message == (
        "certificate 1 of 2 (identity) is for O=Bank B,L=London,C=GB, "
        f"but the one that issued it is for {NAME}"
    )


def test_swapped_certificates_are_refused() -> None:
    assert "certificate 2 of 2 (node CA) was issued by" in refused(PKI.chain[::-1])


def test_an_expired_or_early_certificate_is_refused_with_its_date() -> None:
    day = timedelta(days=1)
    short = Validity(start=NOW - day, end=NOW + day)
    brief_identity, brief_node_ca = (
        make_pki(identity_validity=short),
        make_pki(node_ca_validity=short),
    )

    assert refused(brief_identity.chain, NOW + 2 * day, brief_identity.root) == (
        "certificate 1 of 2 (identity) has expired on 2026-03-02 00:00:00 UTC"
    )
    assert refused(brief_node_ca.chain, NOW + 2 * day, brief_node_ca.root) == (
        "certificate 2 of 2 (node CA) has expired on 2026-03-02 00:00:00 UTC"
    )
    assert "root certificate is not valid before 2026-02-28" in refused(
        PKI.chain, YEARS.start - day
    )
    assert "the network root certificate has expired" in refused(PKI.chain, YEARS.end + day)


def test_the_last_second_of_a_certificate_is_still_valid() -> None:
    assert verify_identity(PKI.chain, PKI.root, YEARS.end).name == str(NAME)
    assert verify_identity(PKI.chain, PKI.root, YEARS.start).name == str(NAME)


@pytest.mark.parametrize("role", [None, b"\x02\x01\x02", b"\x02\x01\x04", b"\x03", b""])
def test_a_certificate_in_another_role_is_refused(role: bytes | None) -> None:
    forged = forgery()
    forged.role = role

    message = refused([forged.der(), PKI.node_ca])

    assert message == "certificate 1 of 2 (identity) is not marked with the role identity"


@pytest.mark.parametrize(
    "constraints",
    [
        None,
        x509.BasicConstraints(ca=True, path_length=None),
        x509.BasicConstraints(ca=True, path_length=1),
        x509.BasicConstraints(ca=False, path_length=None),
    ],
)
def test_a_certificate_with_other_constraints_is_refused(
    constraints: x509.BasicConstraints | None,
) -> None:
    forged = forgery()
    forged.constraints = constraints

    message = refused([forged.der(), PKI.node_ca])

    assert "must have the critical constraint 'CA with path length 0' of its role" in message


def test_constraints_that_are_not_critical_are_refused() -> None:
    forged = forgery()
    forged.constraints_critical = False

    assert "must have the critical constraint" in refused([forged.der(), PKI.node_ca])


def test_a_one_time_key_that_is_made_a_ca_is_refused() -> None:
    honest = x509.load_der_x509_certificate(PKI.identity)
    forged = forgery()
    forged.signer, forged.issuer, forged.role = PKI.identity_key, honest.subject, b"\x02\x01\x04"

    message = refused([forged.der(), *PKI.chain])

    assert "certificate 1 of 3 (confidential) must have the critical constraint 'no CA'" in message


def test_a_one_time_key_can_not_attest_further_keys() -> None:
    one_time = PrivateKey.generate()
    leaf = issue_confidential(PKI.identity_key, PKI.identity, one_time.public)
    further = issue_confidential(one_time, leaf, PrivateKey.generate().public)

    assert "4 certificates" in refused([further, leaf, *PKI.chain])
    assert "(confidential) is not signed by" in refused([further, *PKI.chain])


def test_a_certificate_with_another_key_usage_is_refused() -> None:
    node_ca = x509.load_der_x509_certificate(PKI.node_ca)
    forged = forgery()

    for usage in (None, node_ca.extensions.get_extension_for_class(x509.KeyUsage).value):
        forged.usage = usage
        message = refused([forged.der(), PKI.node_ca])
        assert "(identity) must have the critical key usage of its role" in message


def test_an_unknown_critical_extension_is_refused() -> None:
    forged = forgery()
    forged.extra = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")

    assert "critical extension 1.2.3.4, which we do not know" in refused(
        [forged.der(), PKI.node_ca]
    )


def test_a_subject_that_hides_a_second_name_in_its_value_is_refused() -> None:
    forged = forgery()
    forged.subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bank A,L=London"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "GB"),
        ]
    )

    assert "has no legal name as its subject: L is missing" in refused([forged.der(), PKI.node_ca])


@pytest.mark.parametrize(
    ("oid", "words"),
    [
        (NameOID.EMAIL_ADDRESS, "is no attribute of a legal name"),
        (NameOID.ORGANIZATION_NAME, "O stands in the name twice"),
    ],
)
def test_a_subject_with_foreign_or_repeated_attributes_is_refused(
    oid: ObjectIdentifier, words: str
) -> None:
    forged = forgery()
    forged.subject = x509.Name([*forged.subject, x509.NameAttribute(oid, "Bank Z")])

    assert words in refused([forged.der(), PKI.node_ca])


def test_a_key_of_a_foreign_scheme_is_refused() -> None:
    forged = forgery()
    forged.public = rsa.generate_private_key(65537, 2048).public_key()

    assert "has an unusable key" in refused([forged.der(), PKI.node_ca])


def test_a_signature_with_another_hash_is_refused() -> None:
    pki = make_pki(P256)
    forged = forgery(pki)
    forged.hash = hashes.SHA384()

    message = refused([forged.der(), pki.node_ca], root=pki.root)

    assert "which is not Ed25519 or ECDSA with SHA-256" in message


def test_a_root_must_be_alone_self_signed_and_marked_as_root() -> None:
    for pem, words in [
        (to_pem([PKI.root_der, PKI.root_der]), "must be alone in its file, which has 2"),
        (to_pem([PKI.node_ca]), "is not marked with the role network root"),
        (b"nonsense", "holds no certificates"),
        (b"x" * 100_000, "has 100000 bytes"),
    ]:
        with pytest.raises(CertificateInvalid, match=words):
            read_root(pem)


def test_a_root_with_a_malformed_part_is_refused() -> None:
    issuer = PKI.root_der.index(b"\x0c\x09demo root")
    spoiled = bytearray(PKI.root_der)
    spoiled[issuer] = 0x0D
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(spoiled))

    with pytest.raises(CertificateInvalid, match="the network root certificate is no X"):
        read_root(pem + b"-----END CERTIFICATE-----\n")


def test_an_issued_certificate_names_the_keys_it_stands_on() -> None:
    identity = x509.load_der_x509_certificate(PKI.identity)
    node_ca = x509.load_der_x509_certificate(PKI.node_ca)

    authority = identity.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    subject = node_ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value

    assert authority.key_identifier == subject.digest
    assert identity.extensions.get_extension_for_oid(ExtensionOID.KEY_USAGE).critical
