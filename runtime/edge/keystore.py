"""The private keys of a node, in one file, encrypted under one password.

File ``keystore`` in a directory of mode 0700, itself 0600, at most 64 KiB:

    header: magic "SENNITKS" | version u8 = 1 | log2(n) u8 | r u8 = 8 | p u8 = 1 | salt 16
    nonce 12 | ciphertext

The ciphertext is AES-256-GCM under scrypt(password, salt, n, r, p), with the header as associated
data, over msgpack of `_Secrets`: the identity key as PKCS 8, the CURVE pair as Z85 text, and the
sealing key. All is in one file so that a node derives a key from its password once, not once for
each secret.

Sealed bytes (`KeyStore.seal`), which others keep in places of their own:

    version u8 = 1 | nonce 12 | AES-256-GCM under the sealing key, ``context`` as associated data
"""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runtime.certificates import issue_confidential
from runtime.edge.files import (
    check_private_directory,
    make_private_directory,
    read_private_file,
    write_private_file,
)
from runtime.edge.key_password import PASSWORD_VARIABLE
from runtime.edge.zmq_auth import CurveKeys, curve_keypair
from runtime.errors import ConfigurationError, KeyInvalid, StoreUnusable
from runtime.keys import PrivateKey, PublicKey

_FILE_NAME: Final = "keystore"
_FILE_BYTES_MAX: Final = 64 * 1024

_MAGIC: Final = b"SENNITKS"
_VERSION: Final = 1
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_HEADER_BYTES: Final = len(_MAGIC) + 4 + _SALT_BYTES

# 16 MiB of memory and about 50 ms: dear to guess with, cheap to start a node with.
_LOG2_N: Final = 14
_R: Final = 8
_P: Final = 1
# A spoiled file must not make us take gigabytes.
_LOG2_N_MAX: Final = 18


class _Secrets(msgspec.Struct):
    identity: bytes
    curve_public: bytes
    curve_secret: bytes
    sealing_key: bytes


class KeyStore:
    """Signs with the node's keys, and seals what must not lie open on a disk.

    Secrets are in memory from `open` on, and on disk only encrypted.
    """

    def __init__(self, secrets: _Secrets) -> None:
        self._identity = PrivateKey.from_secret_der(secrets.identity)
        self._keys = {self._identity.public: self._identity}
        self._sealer = AESGCM(secrets.sealing_key)
        self.curve = CurveKeys(public_key=secrets.curve_public, secret_key=secrets.curve_secret)

    @classmethod
    def create(
        cls, directory: Path, password: bytes, *, identity: PrivateKey, curve: CurveKeys
    ) -> "KeyStore":
        """Make the directory and its keystore; refuses to replace one that exists."""
        path = directory / _FILE_NAME
        if path.exists():
            what = "exists already, and its keys may be all there is of an identity"
            raise ConfigurationError(str(path), what, "Move it away yourself if it may go")
        make_private_directory(directory)
        secrets = _Secrets(
            identity=identity.secret_der(),
            curve_public=curve.public_key,
            curve_secret=curve.secret_key,
            sealing_key=AESGCM.generate_key(_KEY_BYTES * 8),
        )
        write_private_file(path, _encrypt(secrets, password))
        return cls(secrets)

    @classmethod
    def open(cls, directory: Path, password: bytes) -> "KeyStore":
        """Read the keystore of ``directory``; takes about 50 ms of CPU.

        Raises `ConfigurationError` if others may read it, the password is wrong or it is spoiled.
        """
        check_private_directory(directory)
        path = directory / _FILE_NAME
        return cls(_decrypt(read_private_file(path, bytes_max=_FILE_BYTES_MAX), password, path))

    @property
    def identity(self) -> PublicKey:
        """Return the key that stands for the node's legal identity."""
        return self._identity.public

    @property
    def keys(self) -> frozenset[PublicKey]:
        """Return all keys that `sign` can sign for."""
        return frozenset(self._keys)

    def add(self, key: PrivateKey) -> None:
        """Sign for ``key`` too, until the process ends; keep it with `seal` if it must last."""
        self._keys[key.public] = key

    def sign(self, key: PublicKey, content: bytes) -> bytes:
        """Return the signature of ``key`` over ``content``; `KeyInvalid` if it is not ours."""
        private_key = self._keys.get(key)
        if private_key is None:
            raise KeyInvalid(
                f"this node has no private key for {key}. "
                "Ask the party that the key belongs to for the signature"
            )
        return private_key.sign(content)

    def certify(self, identity: bytes, key: PublicKey) -> bytes:
        """Return a certificate (DER) that the one-time ``key`` belongs to the identity.

        ``identity`` is the certificate of this keystore's identity key.
        """
        return issue_confidential(self._identity, identity, key)

    def seal(self, content: bytes, context: bytes = b"") -> bytes:
        """Encrypt ``content`` so that only this keystore, given the same context, opens it."""
        nonce = os.urandom(_NONCE_BYTES)
        return bytes([_VERSION]) + nonce + self._sealer.encrypt(nonce, content, context)

    def unseal(self, sealed: bytes, context: bytes = b"") -> bytes:
        """Return what was sealed; raises `StoreUnusable` if it was changed or is not ours."""
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != bytes([_VERSION]):
                raise StoreUnusable("sealed bytes are of an unknown version")
            return self._sealer.decrypt(nonce, body, context)
        except (InvalidTag, ValueError) as error:
            raise StoreUnusable(
                "sealed bytes were changed, or sealed by another keystore. "
                "Restore the keystore that belongs to this node's store"
            ) from error

    def __repr__(self) -> str:
        return f"KeyStore(identity={self.identity})"


def new_curve_keys() -> CurveKeys:
    """Make a new CURVE pair."""
    public_key, secret_key = curve_keypair()
    return CurveKeys(public_key=public_key, secret_key=secret_key)


def _encrypt(secrets: _Secrets, password: bytes) -> bytes:
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    header = _MAGIC + bytes([_VERSION, _LOG2_N, _R, _P]) + salt
    cipher = AESGCM(_derive(password, header))
    return header + nonce + cipher.encrypt(nonce, msgspec.msgpack.encode(secrets), header)


def _decrypt(content: bytes, password: bytes, path: Path) -> _Secrets:
    header, rest = content[:_HEADER_BYTES], content[_HEADER_BYTES:]
    nonce, body = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
    restore = "Restore it from a backup"
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise ConfigurationError(str(path), "is no keystore", restore)
    version, log2_n, r, p = header[len(_MAGIC) : len(_MAGIC) + 4]
    if version != _VERSION:
        what = f"is of version {version}, and this program reads {_VERSION}"
        raise ConfigurationError(str(path), what, "Install a newer one")
    if log2_n > _LOG2_N_MAX or (r, p) != (_R, _P):
        raise ConfigurationError(str(path), "is spoiled", restore)
    try:
        plain = AESGCM(_derive(password, header)).decrypt(nonce, body, header)
    except (InvalidTag, ValueError) as error:
        what = "can't be opened: the password is wrong, or the file was changed"
        do = f"Check {PASSWORD_VARIABLE}, or the place of the password that node.toml names"
        raise ConfigurationError(str(path), what, do) from error
    return msgspec.msgpack.decode(plain, type=_Secrets)


def _derive(password: bytes, header: bytes) -> bytes:
    log2_n, r, p = header[len(_MAGIC) + 1 : len(_MAGIC) + 4]
    n = 1 << log2_n
    return hashlib.scrypt(
        password,
        salt=header[-_SALT_BYTES:],
        n=n,
        r=r,
        p=p,
        maxmem=256 * n * r + 1024 * 1024,
        dklen=_KEY_BYTES,
    )
