"""Public and private keys of the two signature schemes.

A public key is its scheme and its one accepted encoding, so equal keys are equal bytes:

    ed25519   32 bytes, RFC 8032; the y coordinate is reduced, and points of small order are refused
    p256      33 bytes, SEC 1 compressed point on secp256r1

A signature is 64 bytes for both: RFC 8032 for ed25519; for p256 ECDSA over SHA-256 as r | s, each
32 bytes big-endian, with s in the lower half, so that nobody can make a second one of it.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from runtime.codec import message
from runtime.errors import KeyInvalid, SignatureInvalid

ED25519: Final = "ed25519"
P256: Final = "p256"
SIGNATURE_BYTES: Final = 64
SEED_BYTES: Final = 32

# An encrypted PKCS 8 key takes less than 500.
PEM_BYTES_MAX: Final = 4_096

_KEY_BYTES: Final = {ED25519: 32, P256: 33}
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ED25519_FIELD: Final = 2**255 - 19
_Y_MASK: Final = 2**255 - 1

# y of the points of order 1, 2, 4 and 8: under such a "key" one signature fits many contents.
_ED25519_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _ED25519_FIELD - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)

_ParsedPublic = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
_ParsedPrivate = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@message
class PublicKey:
    """A key that checks signatures; it is valid, and has only one form."""

    scheme: str
    data: bytes

    def __post_init__(self) -> None:
        size = _KEY_BYTES.get(self.scheme)
        if size is None:
            raise KeyInvalid(
                f"{self.scheme[:32]!r} is no signature scheme. Use {ED25519} or {P256}"
            )
        if len(self.data) != size:
            raise KeyInvalid(f"a {self.scheme} public key has {size} bytes, not {len(self.data)}")
        if self.scheme == ED25519:
            _check_ed25519(self.data)
        else:
            _parsed(self.scheme, self.data)

    def verify(self, signature: bytes, content: bytes) -> None:
        """Return if ``signature`` was made over ``content`` with this key's private key.

        Raises `SignatureInvalid` otherwise, whatever the bytes are.
        """
        if not self.is_valid(signature, content):
            raise SignatureInvalid(f"the signature does not fit key {self.fingerprint()}")

    def is_valid(self, signature: bytes, content: bytes) -> bool:
        """Tell whether `verify` would return."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        key = _parsed(self.scheme, self.data)
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, content)
            else:
                key.verify(_to_dss(signature), content, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits for people to compare; too few to be trusted by code."""
        return blake2b(self.scheme.encode() + b":" + self.data, digest_size=8).hexdigest()

    def __str__(self) -> str:
        return f"{self.scheme}:{self.fingerprint()}"


class PrivateKey:
    """A key that signs. It shows its secret only where a method's name says so."""

    __slots__ = ("_key", "public")

    def __init__(self, key: _ParsedPrivate) -> None:
        self._key = key
        self.public = public_key(key.public_key())

    @classmethod
    def generate(cls, scheme: str = ED25519) -> "PrivateKey":
        """Make a new key from the machine's entropy."""
        if scheme == ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate())
        if scheme == P256:
            return cls(ec.generate_private_key(ec.SECP256R1()))
        raise KeyInvalid(f"{scheme!r} is no signature scheme. Use {ED25519} or {P256}")

    @classmethod
    def from_seed(cls, seed: bytes) -> "PrivateKey":
        """Return the ed25519 key of a 32-byte seed; for simulations, where keys must repeat."""
        if len(seed) != SEED_BYTES:
            raise KeyInvalid(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes) -> "PrivateKey":
        """Read what `to_pem` wrote; raises `KeyInvalid` if not so, or not with this password.

        What is not encrypted is refused too.
        """
        if len(pem) > PEM_BYTES_MAX:
            raise KeyInvalid(f"a key file has {PEM_BYTES_MAX} bytes at most, not {len(pem)}")
        try:
            return cls(_supported(serialization.load_pem_private_key(pem, password)))
        except (ValueError, TypeError) as error:
            raise KeyInvalid("the private key can't be read with this password") from error

    @classmethod
    def from_secret_der(cls, der: bytes) -> "PrivateKey":
        """Read what `secret_der` returned; raises `KeyInvalid` for anything else."""
        try:
            return cls(_supported(serialization.load_der_private_key(der, None)))
        except (ValueError, TypeError) as error:
            raise KeyInvalid("these bytes are no private key") from error

    def sign(self, content: bytes) -> bytes:
        """Return the 64-byte signature over ``content``."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(content)
        return _from_dss(self._key.sign(content, ec.ECDSA(hashes.SHA256())))

    def to_pem(self, password: bytes) -> bytes:
        """Return the key as PKCS 8 PEM, encrypted under ``password``."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        )

    def secret_der(self) -> bytes:
        """Return the bare secret as PKCS 8 DER. Seal it before it reaches a disk."""
        return self._key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def for_certificates(self) -> _ParsedPrivate:
        """Return the key as `cryptography` has it, to sign certificates with."""
        return self._key

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is never pickled")


def public_key(key: object) -> PublicKey:
    """Return our form of a public key of `cryptography`; raises `KeyInvalid` for other schemes."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return PublicKey(ED25519, key.public_bytes_raw())
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        point = key.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        )
        return PublicKey(P256, point)
    raise KeyInvalid(f"a {type(key).__name__} is not supported. Use {ED25519} or {P256}")


def parsed(key: PublicKey) -> _ParsedPublic:
    """Return a key as `cryptography` has it, to put it into a certificate."""
    return _parsed(key.scheme, key.data)


# Parsing a point costs as much as half a verification, and the same few keys come again and again.
@lru_cache(maxsize=4_096)
def _parsed(scheme: str, data: bytes) -> _ParsedPublic:
    if scheme == ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(data)
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
    except ValueError as error:
        raise KeyInvalid("these 33 bytes are no point of p256") from error


def _check_ed25519(data: bytes) -> None:
    y = int.from_bytes(data, "little") & _Y_MASK
    if y >= _ED25519_FIELD:
        raise KeyInvalid("this ed25519 public key is not in its reduced form")
    if y in _ED25519_SMALL_ORDER_Y:
        raise KeyInvalid("this ed25519 public key is a point of small order, made to deceive")


def _supported(key: object) -> _ParsedPrivate:
    if isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise KeyInvalid(f"a {type(key).__name__} is not supported. Use {ED25519} or {P256}")


def _to_dss(signature: bytes) -> bytes:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if s > _P256_ORDER // 2:
        raise ValueError("the signature is not in its lower form")
    return encode_dss_signature(r, s)


def _from_dss(der: bytes) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")
