"""Development networks for tests, on a real disk."""

from pathlib import Path
from typing import TypeVar

from runtime.edge.key_password import PasswordReader, PasswordSource
from runtime.edge.keystore import KeyStore
from runtime.network_bootstrap import CreatedNetwork, CreatedNode, create_network

SPEC = """\
[network]
name = "demo"

[[node]]
name = "O=Notary,L=London,C=GB"
notary = "non-validating"

[[node]]
name = "O=Bank A,L=London,C=GB"
apps = ["samples.trade"]

[[node]]
name = "O=Bank B,L=Paris,C=FR"
"""


T = TypeVar("T")


def changed(value: T, **changes: object) -> T:
    """Return a copy of a message with some fields changed."""
    fields = {name: getattr(value, name) for name in type(value).__annotations__}
    return type(value)(**{**fields, **changes})


class FixedClock:
    """A clock that a test moves by hand: time goes on by `pass_ms`, ``ahead_ms`` sets the clock."""

    def __init__(self, time_ms: int) -> None:
        self.began_ms = time_ms
        self.passed_ms = 0
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return self.began_ms + self.passed_ms + self.ahead_ms

    def steady_ms(self) -> int:
        return self.passed_ms

    def pass_ms(self, ms: int) -> None:
        self.passed_ms += ms


def make_network(directory: Path, spec: str = SPEC) -> CreatedNetwork:
    """Write the spec into the directory and make its network beside it."""
    path = directory / "demo.toml"
    path.write_text(spec)
    return create_network(path)


def open_keystore(node: CreatedNode) -> KeyStore:
    """Open a node's keystore as the node would."""
    password = PasswordReader({}).read(PasswordSource(file=node.directory / "password"))
    return KeyStore.open(node.directory / "keys", password)
