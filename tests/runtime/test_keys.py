"""Keys: two schemes, one form each, signatures that nobody can bend, secrets that stay inside."""

import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec import decode, encode
from runtime.errors import BadMessage, KeyInvalid, SignatureInvalid
from runtime.keys import ED25519, P256, PrivateKey, PublicKey, parsed, public_key

SCHEMES = [ED25519, P256]
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
FIELD = 2**255 - 19


@pytest.mark.parametrize("scheme", SCHEMES)
def test_signature_fits_its_key_and_content_only(scheme: str) -> None:
    key, other = PrivateKey.generate(scheme), PrivateKey.generate(scheme)

    signature = key.sign(b"content")

    key.public.verify(signature, b"content")
    assert key.public.is_valid(signature, b"content")
    assert len(signature) == 64
    for public, content in [(other.public, b"content"), (key.public, b"Content")]:
        with pytest.raises(SignatureInvalid, match=public.fingerprint()):
            public.verify(signature, content)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(signature=st.binary(max_size=80))
def test_arbitrary_bytes_are_no_signature(scheme: str, signature: bytes) -> None:
    key = PrivateKey.generate(scheme).public

    assert not key.is_valid(signature, b"content")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_signature_longer_than_64_bytes_is_refused(scheme: str) -> None:
    key = PrivateKey.generate(scheme)

    assert not key.public.is_valid(key.sign(b"x") + b"\0", b"x")


def test_nobody_can_make_a_second_p256_signature_of_a_first() -> None:
    key = PrivateKey.generate(P256)
    signature = key.sign(b"content")
    s = int.from_bytes(signature[32:], "big")

    twin = signature[:32] + (P256_ORDER - s).to_bytes(32, "big")

    assert s <= P256_ORDER // 2
    assert not key.public.is_valid(twin, b"content")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_public_key_survives_the_codec_and_is_hashable(scheme: str) -> None:
    key = PrivateKey.generate(scheme).public

    copy = decode(encode(key), PublicKey)

    assert copy == key
    assert {key: 1}[copy] == 1
    assert public_key(parsed(key)) == key


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fingerprint_is_short_and_differs_between_keys(scheme: str) -> None:
    one, two = PrivateKey.generate(scheme).public, PrivateKey.generate(scheme).public

    assert len(one.fingerprint()) == 16
    assert one.fingerprint() != two.fingerprint()
    assert str(one) == f"{scheme}:{one.fingerprint()}"


@pytest.mark.parametrize(
    ("scheme", "data", "words"),
    [
        ("rsa", b"x" * 32, "'rsa' is no signature scheme. Use ed25519 or p256"),
        (ED25519, b"x" * 31, "has 32 bytes, not 31"),
        (ED25519, b"\xff" * 32, "not in its reduced form"),
        (P256, b"\x02" + b"\xff" * 32, "no point of p256"),
        (P256, b"\x04" + b"x" * 64, "has 33 bytes, not 65"),
        (P256, b"\x05" + b"x" * 32, "no point of p256"),
    ],
)
def test_bytes_that_are_no_key_are_refused(scheme: str, data: bytes, words: str) -> None:
    with pytest.raises(KeyInvalid, match=words):
        PublicKey(scheme, data)


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize(
    "y",
    [
        0,
        1,
        FIELD - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    ],
)
def test_points_of_small_order_are_no_keys(y: int, sign: int) -> None:
    with pytest.raises(KeyInvalid, match="small order"):
        PublicKey(ED25519, (y | sign).to_bytes(32, "little"))


def test_a_key_from_the_wire_is_checked_while_it_is_decoded() -> None:
    body = encode(PrivateKey.generate().public).replace(b"ed25519", b"rsa2048")

    with pytest.raises(BadMessage, match="no signature scheme"):
        decode(body, PublicKey)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_private_key_returns_from_its_encrypted_pem(scheme: str) -> None:
    key = PrivateKey.generate(scheme)

    pem = key.to_pem(b"password")

    assert b"ENCRYPTED PRIVATE KEY" in pem
    assert PrivateKey.from_pem(pem, b"password").public == key.public
    with pytest.raises(KeyInvalid, match="with this password"):
        PrivateKey.from_pem(pem, b"other")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_private_key_returns_from_its_secret_der(scheme: str) -> None:
    key = PrivateKey.generate(scheme)

    copy = PrivateKey.from_secret_der(key.secret_der())

    key.public.verify(copy.sign(b"x"), b"x")
    with pytest.raises(KeyInvalid, match="no private key"):
        PrivateKey.from_secret_der(b"nonsense")


def test_a_pem_that_is_not_encrypted_or_not_ours_is_refused() -> None:
    bare = PrivateKey.generate().for_certificates()
    pem = bare.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    foreign = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )

    for hostile in (pem, foreign, b"x" * 5_000, b"nonsense"):
        with pytest.raises(KeyInvalid):
            PrivateKey.from_pem(hostile, b"password")


def test_another_curve_is_refused() -> None:
    with pytest.raises(KeyInvalid, match="not supported"):
        PrivateKey(ec.generate_private_key(ec.SECP384R1()))


def test_an_unknown_scheme_is_refused_at_generation() -> None:
    with pytest.raises(KeyInvalid, match="Use ed25519 or p256"):
        PrivateKey.generate("rsa")


def test_a_private_key_never_shows_its_secret() -> None:
    key = PrivateKey.generate()

    shown = repr(key) + str(key)

    assert key.secret_der().hex() not in shown
    assert shown == f"PrivateKey(public={key.public})" * 2
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(key)


def test_the_same_seed_gives_the_same_key() -> None:
    assert PrivateKey.from_seed(b"7" * 32).public == PrivateKey.from_seed(b"7" * 32).public
    with pytest.raises(KeyInvalid, match="a seed has 32 bytes, not 3"):
        PrivateKey.from_seed(b"777")
