"""The keystore: secrets encrypted on a real disk, opened only by the right password and owner."""

from pathlib import Path

import pytest
import zmq

from runtime.edge.files import write_private_file
from runtime.edge.keystore import KeyStore, new_curve_keys
from runtime.edge.zmq_auth import CurveKeys
from runtime.errors import ConfigurationError, KeyInvalid, StoreUnusable
from runtime.keys import ED25519, P256, PrivateKey

PASSWORD = b"correct horse"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def create(
    directory: Path, identity: PrivateKey | None = None, curve: CurveKeys | None = None
) -> KeyStore:
    return KeyStore.create(
        directory,
        PASSWORD,
        identity=identity or PrivateKey.generate(),
        curve=curve or new_curve_keys(),
    )


def keystore_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


@pytest.mark.parametrize("scheme", [ED25519, P256])
def test_a_keystore_has_the_same_keys_when_it_is_opened_again(directory: Path, scheme: str) -> None:
    identity, curve = PrivateKey.generate(scheme), new_curve_keys()
    create(directory, identity, curve)

    keystore = KeyStore.open(directory, PASSWORD)

    assert keystore.identity == identity.public
    assert keystore.curve == curve
    assert keystore.keys == {identity.public}
    identity.public.verify(keystore.sign(keystore.identity, b"content"), b"content")


def test_no_secret_lies_open_on_the_disk_or_in_a_representation(directory: Path) -> None:
    identity, curve = PrivateKey.generate(), new_curve_keys()
    keystore = create(directory, identity, curve)

    content = keystore_file(directory).read_bytes()

    assert identity.secret_der()[-32:] not in content
    assert curve.secret_key not in content
    assert curve.secret_key.decode() not in repr(keystore) + repr(curve)


def test_files_and_directory_are_private_from_the_start(directory: Path) -> None:
    create(directory)

    assert directory.stat().st_mode & 0o777 == 0o700
    assert keystore_file(directory).stat().st_mode & 0o777 == 0o600


def test_a_wrong_password_is_refused_with_the_place_where_it_comes_from(directory: Path) -> None:
    create(directory)

    with pytest.raises(ConfigurationError, match="SENNIT_KEY_PASSWORD") as caught:
        KeyStore.open(directory, b"wrong")

    assert caught.value.where == str(keystore_file(directory))


def test_a_keystore_open_to_others_is_refused(directory: Path) -> None:
    create(directory)
    path = keystore_file(directory)

    path.chmod(0o644)

    with pytest.raises(ConfigurationError, match=f"Run: chmod 600 {path}"):
        KeyStore.open(directory, PASSWORD)
    path.chmod(0o600)
    directory.chmod(0o755)
    with pytest.raises(ConfigurationError, match=f"Run: chmod 700 {directory}"):
        KeyStore.open(directory, PASSWORD)


@pytest.mark.parametrize("place", [0, 8, 9, 10, 11, 12, 20, 28, 39, 40, 60, -1])
def test_a_spoiled_keystore_is_refused(directory: Path, place: int) -> None:
    create(directory)
    path = keystore_file(directory)
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF

    write_private_file(path, bytes(content))

    with pytest.raises(ConfigurationError):
        KeyStore.open(directory, PASSWORD)


@pytest.mark.parametrize(("place", "cost"), [(9, 31), (10, 255), (11, 255)])
def test_a_spoiled_keystore_can_not_make_us_take_gigabytes(
    directory: Path, place: int, cost: int
) -> None:
    create(directory)
    path = keystore_file(directory)
    content = bytearray(path.read_bytes())
    content[place] = cost

    write_private_file(path, bytes(content))

    with pytest.raises(ConfigurationError, match="is spoiled"):
        KeyStore.open(directory, PASSWORD)


@pytest.mark.parametrize("size", [0, 7, 27, 28, 39, 40, 100])
def test_a_torn_keystore_is_refused(directory: Path, size: int) -> None:
    create(directory)
    path = keystore_file(directory)

    write_private_file(path, path.read_bytes()[:size])

    with pytest.raises(ConfigurationError):
        KeyStore.open(directory, PASSWORD)


def test_a_keystore_of_a_newer_version_is_refused_as_such(directory: Path) -> None:
    create(directory)
    path = keystore_file(directory)
    content = bytearray(path.read_bytes())
    content[8] = 2

    write_private_file(path, bytes(content))

    with pytest.raises(ConfigurationError, match="is of version 2, and this program reads 1"):
        KeyStore.open(directory, PASSWORD)


def test_an_existing_keystore_is_never_replaced(directory: Path) -> None:
    identity = create(directory).identity

    with pytest.raises(ConfigurationError, match="exists already"):
        create(directory)

    assert KeyStore.open(directory, PASSWORD).identity == identity


def test_a_key_that_was_added_signs_and_an_unknown_one_does_not(directory: Path) -> None:
    keystore, one_time = create(directory), PrivateKey.generate()

    with pytest.raises(KeyInvalid, match=f"no private key for {one_time.public}"):
        keystore.sign(one_time.public, b"content")
    keystore.add(one_time)

    one_time.public.verify(keystore.sign(one_time.public, b"content"), b"content")
    assert keystore.keys == {keystore.identity, one_time.public}


def test_sealed_bytes_are_opened_by_the_same_keystore_and_context_after_a_restart(
    directory: Path,
) -> None:
    sealed = create(directory).seal(b"secret", b"context")

    keystore = KeyStore.open(directory, PASSWORD)

    assert b"secret" not in sealed
    assert keystore.unseal(sealed, b"context") == b"secret"
    assert keystore.unseal(keystore.seal(b"")) == b""
    assert keystore.seal(b"secret", b"context") != sealed


def test_sealed_bytes_that_were_changed_or_moved_are_refused(
    directory: Path, tmp_path: Path
) -> None:
    keystore, other = create(directory), create(tmp_path / "other")
    sealed = keystore.seal(b"secret", b"context")

    for opener, content, context in [
        (other, sealed, b"context"),
        (keystore, sealed, b"another"),
        (keystore, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"context"),
        (keystore, b"", b"context"),
        (keystore, sealed[:5], b"context"),
        (keystore, b"\x02" + sealed[1:], b"context"),
    ]:
        with pytest.raises(StoreUnusable):
            opener.unseal(content, context)


def test_a_generated_curve_pair_belongs_together() -> None:
    curve = new_curve_keys()

    assert zmq.curve_public(curve.secret_key) == curve.public_key
