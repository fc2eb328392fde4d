"""The files of RPC users: who they are, which keys they have, where the nodes are.

``users.toml`` in a node's directory, mode 0600, says who may connect:

    [[user]]
    name = "admin"
    key = "..."                     the public CURVE key, 40 characters of Z85
    permissions = ["ALL"]

``<name>.key``, mode 0600, is the user's own: ``name``, ``public`` and ``secret``. ``client.toml``
beside it lists the nodes:

    [[node]]
    name = "O=Bank A,L=London,C=GB"
    short_name = "bank-a"
    rpc_address = "tcp://127.0.0.1:10003"
    curve_key = "..."               the node's public CURVE key
"""

import contextlib
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq

from runtime.config import read_name
from runtime.edge.node_info import check_address, check_curve_key
from runtime.edge.zmq_auth import CurveKeys
from runtime.errors import ConfigurationError, NameInvalid
from runtime.ids import PeerName, UserName
from runtime.names import peer_name
from runtime.permissions import Permissions, permissions
from runtime.toml_file import Table, TomlFile

CLIENT_FILE: Final = "client.toml"
USER_KEY_SUFFIX: Final = ".key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUser:
    """One entry of ``users.toml``."""

    name: UserName
    public_key: bytes
    permissions: Permissions


@dataclass(frozen=True, slots=True, kw_only=True)
class UserKey:
    """What a user proves their name with."""

    name: UserName
    curve: CurveKeys

    @classmethod
    def load(cls, path: Path) -> "UserKey":
        """Read a ``.key`` file; raises `ConfigurationError` if others may read it too."""
        file = TomlFile(path, is_private=True)
        table = file.top
        name = table.text("name")
        public, secret = _curve_key(table, "public"), _curve_key(table, "secret")
        table.done()
        file.finish()
        if zmq.curve_public(secret) != public:
            do = "Get a new key from whoever runs the node"
            raise ConfigurationError(str(path), "public and secret are no pair", do)
        return cls(name=UserName(name), curve=CurveKeys(public_key=public, secret_key=secret))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientNode:
    """Where a node takes RPC, and the key that it must prove to have."""

    name: PeerName
    short_name: str
    rpc_address: str
    curve_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """The nodes that a user may speak to."""

    path: Path
    nodes: tuple[ClientNode, ...]

    @classmethod
    def load(cls, path: Path) -> "ClientConfig":
        """Read a ``client.toml``; one `ConfigurationError` names all its mistakes."""
        file = TomlFile(path)
        nodes = tuple(_client_node(table) for table in file.top.tables("node"))
        file.top.done()
        file.finish()
        return cls(path=path.absolute(), nodes=nodes)

    def node(self, name: str) -> ClientNode:
        """Return the node of this short or legal name; raises `ConfigurationError`."""
        wanted = {name}
        with contextlib.suppress(NameInvalid):
            wanted.add(peer_name(name))
        for node in self.nodes:
            if node.short_name in wanted or node.name in wanted:
                return node
        short_names = [node.short_name for node in self.nodes]
        near = difflib.get_close_matches(name, short_names, n=1) or short_names
        do = "Get the file anew from whoever made the network"
        if near:
            do = f"Did you mean {' or '.join(near)}?"
        raise ConfigurationError(str(self.path), f"lists no node {name!r}", do)


def load_users(path: Path) -> list[ListedUser]:
    """Read a ``users.toml``; raises `ConfigurationError`, also if others may write to it."""
    file = TomlFile(path, is_private=True)
    users: dict[str, ListedUser] = {}
    for table in file.top.tables("user"):
        user = _listed_user(table)
        if user.name in users:
            table.mistake("name", f"name {user.name!r} is there twice", "Choose another")
        users[user.name] = user
        table.done()
    file.top.done()
    file.finish()
    return list(users.values())


def read_permissions(table: Table) -> Permissions:
    """Return the permissions of a user's table."""
    try:
        return permissions(table.texts("permissions"), where="permissions")
    except ConfigurationError as error:
        table.mistake("permissions", error.what, error.do)
        return Permissions(frozenset())


def _listed_user(table: Table) -> ListedUser:
    return ListedUser(
        name=UserName(table.text("name")),
        public_key=_curve_key(table, "key"),
        permissions=read_permissions(table),
    )


def _client_node(table: Table) -> ClientNode:
    node = ClientNode(
        name=read_name(table, "name"),
        short_name=table.text("short_name"),
        rpc_address=table.text("rpc_address"),
        curve_key=_curve_key(table, "curve_key"),
    )
    try:
        if node.rpc_address:
            check_address(node.rpc_address)
    except ValueError as error:
        do = "Write it like tcp://127.0.0.1:10000"
        table.mistake("rpc_address", f"rpc_address: {error}", do)
    table.done()
    return node


def _curve_key(table: Table, key: str) -> bytes:
    value = table.text(key).encode()
    try:
        if value:
            check_curve_key(value)
    except ValueError:
        # Not the message of the error: what is here may be a secret.
        what = f"{key} is no CURVE key, which has 40 characters of Z85"
        table.mistake(key, what, "Restore the file that was here before")
    return value
