"""Make a whole development network, keys and all, from one small file.

    [network]
    name = "demo"
    base_port = 10000                  0: free ports, picked now
    host = "127.0.0.1"                 left out: this

    [[node]]
    name = "O=Notary,L=London,C=GB"
    notary = "non-validating"          or "validating"; left out: no notary

    [[node]]
    name = "O=Bank A,L=London,C=GB"
    apps = ["samples.trade"]

    [[user]]                           left out: one user "admin" with all permissions
    name = "alice"
    permissions = ["Read", "StartFlow.samples.trade.*"]

It makes, in a directory named after the network:

    network/                           what all nodes read: root.pem, parameters, node-infos/*.info
    nodes/<short name>/                node.toml, keys/, certificates/, password, users.toml
    users/                             client.toml and a <name>.key for each user

The root's private key is forgotten at the end: such a network can't be extended, only made again.
"""

import secrets
import shutil
import socket
import unicodedata
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from runtime.certificates import (
    Validity,
    issue_identity,
    issue_node_ca,
    issue_root,
    to_pem,
)
from runtime.client_config import CLIENT_FILE, USER_KEY_SUFFIX, read_permissions
from runtime.codec import encode
from runtime.config import NODE_FILE, NOTARY_ROLES, read_apps, read_name
from runtime.edge.directory import (
    NODE_INFO_SUFFIX,
    NODE_INFOS_DIRECTORY,
    PARAMETERS_FILE,
    ROOT_FILE,
)
from runtime.edge.files import (
    make_directory,
    make_private_directory,
    write_private_file,
    write_public_file,
)
from runtime.edge.keystore import KeyStore, new_curve_keys
from runtime.edge.node_identity import IDENTITY_FILE
from runtime.edge.node_info import (
    PLATFORM_VERSION,
    NetworkParameters,
    NodeInfo,
    Notary,
    SignedNodeInfo,
    check_address,
    sign_node_info,
    sign_parameters,
)
from runtime.edge.zmq_auth import CurveKeys
from runtime.errors import ConfigurationError
from runtime.ids import PeerName, UserName
from runtime.keys import PrivateKey
from runtime.names import X500Name
from runtime.toml_file import Table, TomlFile, quoted, quoted_list

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_USER: Final = "admin"
NODES_MAX: Final = 200

_PORT_MAX: Final = 65_535
_PORTS_PER_NODE: Final = 2
_VALIDITY: Final = timedelta(days=3_650)
# Clocks of machines that share a development network may differ.
_CLOCK_SKEW: Final = timedelta(days=1)
_PARTS: Final = ("network", "nodes", "users")
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_NAME_CHARACTERS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedNode:
    """A node of the new network. ``directory`` is what the node is run with."""

    name: PeerName
    short_name: str
    directory: Path
    p2p_address: str
    rpc_address: str
    notary: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedNetwork:
    """What `create_network` has made."""

    name: str
    directory: Path
    nodes: tuple[CreatedNode, ...]
    users: tuple[UserName, ...]
    client_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _NodeSpec:
    name: PeerName
    apps: tuple[str, ...]
    notary: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _UserSpec:
    name: UserName
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _NetworkSpec:
    name: str
    base_port: int
    host: str
    nodes: tuple[_NodeSpec, ...]
    users: tuple[_UserSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _User:
    spec: _UserSpec
    curve: CurveKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    place: CreatedNode
    info: NodeInfo
    signed: SignedNodeInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authority:
    """The network root, for as long as the network is being made."""

    key: PrivateKey
    certificate: bytes
    validity: Validity


def create_network(
    spec_file: Path | str, out: Path | str | None = None, *, force: bool = False
) -> CreatedNetwork:
    """Make the network that ``spec_file`` describes, in ``out`` or in a directory beside the file.

    Raises one `ConfigurationError` for all mistakes in the file, before anything is written; and
    another if a network is there already, which ``force`` deletes, with the nodes' data.
    """
    spec_path = Path(spec_file)
    spec = _read_spec(spec_path)
    directory = (spec_path.parent / spec.name if out is None else Path(out)).absolute()
    _make_room(directory, force=force)
    authority = _authority(spec.name)
    # First, because it marks the directory as ours to delete, should we not come to the end.
    write_public_file(directory / "network" / ROOT_FILE, to_pem([authority.certificate]))
    users = [_User(spec=user, curve=new_curve_keys()) for user in spec.users]
    nodes = [
        _create_node(place, node_spec, users, authority)
        for place, node_spec in zip(_place_nodes(spec, directory), spec.nodes, strict=True)
    ]
    _create_users(directory / "users", users, nodes)
    _create_network_files(directory / "network", spec, authority, nodes)
    return CreatedNetwork(
        name=spec.name,
        directory=directory,
        nodes=tuple(node.place for node in nodes),
        users=tuple(user.spec.name for user in users),
        client_file=directory / "users" / CLIENT_FILE,
    )


def short_names(names: Iterable[PeerName]) -> list[str]:
    """Return a short, unique name in lower case for each legal name, made of its organisation."""
    found: list[str] = []
    for name in names:
        slug = _slug(X500Name.parse(name).organisation)
        number = 2
        unique = slug
        while unique in found:
            unique = f"{slug}-{number}"
            number += 1
        found.append(unique)
    return found


def _read_spec(path: Path) -> _NetworkSpec:
    file = TomlFile(path)
    network = file.top.table("network")
    name = network.text("name")
    if name and not _is_short_name(name):
        what = f"name {name!r} can't be the name of a directory"
        network.mistake("name", what, "Use lower-case letters, digits and hyphens, 64 at most")
    host = network.text("host", DEFAULT_HOST)
    base_port = network.number("base_port", 0)
    nodes = _read_nodes(file.top)
    _check_ports(network, host=host, base_port=base_port, nodes=len(nodes))
    users = _read_users(file.top)
    network.done()
    file.top.done()
    file.finish()
    return _NetworkSpec(name=name, base_port=base_port, host=host, nodes=nodes, users=users)


def _read_nodes(top: Table) -> tuple[_NodeSpec, ...]:
    nodes: list[_NodeSpec] = []
    tables = top.tables("node")
    if not 1 <= len(tables) <= NODES_MAX:
        what = f"there are {len(tables)} nodes"
        top.mistake("node", what, f"Describe 1 to {NODES_MAX}, each under [[node]]")
    for table in tables:
        node = _NodeSpec(
            name=read_name(table, "name"),
            apps=read_apps(table),
            notary=table.choice("notary", NOTARY_ROLES, "") or None,
        )
        if node.name and node.name in {other.name for other in nodes}:
            what = f"name {node.name!r} is there twice"
            table.mistake("name", what, "Give each node a name of its own")
        nodes.append(node)
        table.done()
    return tuple(nodes)


def _read_users(top: Table) -> tuple[_UserSpec, ...]:
    users: dict[str, _UserSpec] = {}
    for table in top.tables("user"):
        name = table.text("name")
        if name and not _is_short_name(name):
            what = f"name {name!r} can't be the name of a file"
            table.mistake("name", what, "Use lower-case letters, digits and hyphens, 64 at most")
        if name and name in users:
            table.mistake("name", f"name {name!r} is there twice", "Choose another")
        granted = tuple(sorted(read_permissions(table).granted))
        users[name] = _UserSpec(name=UserName(name), permissions=granted)
        table.done()
    return tuple(users.values()) or (_UserSpec(name=UserName(DEFAULT_USER), permissions=("ALL",)),)


def _check_ports(network: Table, *, host: str, base_port: int, nodes: int) -> None:
    try:
        check_address(f"tcp://{host}:1")
    except ValueError:
        network.mistake("host", f"host {host!r} is no name of a host", "Write it like 127.0.0.1")
    last_port = base_port + _PORTS_PER_NODE * nodes - 1
    if base_port and not 1 <= base_port <= last_port <= _PORT_MAX:
        what = f"base_port {base_port} leaves no room for {_PORTS_PER_NODE * nodes} ports"
        network.mistake("base_port", what, "Use one between 1024 and 60000, or 0 for free ports")


def _is_short_name(name: str) -> bool:
    return len(name) <= _NAME_CHARACTERS_MAX and name[0].isalnum() and set(name) <= _NAME_CHARACTERS


def _slug(organisation: str) -> str:
    plain = unicodedata.normalize("NFKD", organisation.casefold())
    kept = (
        c if c.isascii() and c.isalnum() else " " for c in plain if not unicodedata.combining(c)
    )
    return "-".join("".join(kept).split()) or "node"


def _make_room(directory: Path, *, force: bool) -> None:
    present = [directory / part for part in _PARTS if (directory / part).exists()]
    if present and not force:
        what = "there is a network already"
        do = "Choose another directory, or delete the network with all data of its nodes by --force"
        raise ConfigurationError(str(directory), what, do)
    if present and not (directory / "network" / ROOT_FILE).exists():
        what = f"has a {present[0].name}/ that is not of a network"
        raise ConfigurationError(str(directory), what, "Choose another directory")
    for path in present:
        shutil.rmtree(path)
    make_directory(directory / "network" / NODE_INFOS_DIRECTORY)


def _authority(network: str) -> _Authority:
    now = datetime.now(UTC).replace(microsecond=0)
    validity = Validity(start=now - _CLOCK_SKEW, end=now + _VALIDITY)
    key = PrivateKey.generate()
    certificate = issue_root(key, network, validity)
    return _Authority(key=key, certificate=certificate, validity=validity)


def _place_nodes(spec: _NetworkSpec, directory: Path) -> tuple[CreatedNode, ...]:
    ports = _ports(spec)
    return tuple(
        CreatedNode(
            name=node.name,
            short_name=short_name,
            directory=directory / "nodes" / short_name,
            p2p_address=f"tcp://{spec.host}:{ports[_PORTS_PER_NODE * index]}",
            rpc_address=f"tcp://{spec.host}:{ports[_PORTS_PER_NODE * index + 1]}",
            notary=node.notary,
        )
        for index, (node, short_name) in enumerate(
            zip(spec.nodes, short_names(node.name for node in spec.nodes), strict=True)
        )
    )


def _ports(spec: _NetworkSpec) -> list[int]:
    count = _PORTS_PER_NODE * len(spec.nodes)
    if spec.base_port:
        return list(range(spec.base_port, spec.base_port + count))
    with ExitStack() as stack:
        # All are held at once, so that none is given out twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind((spec.host.strip("[]"), 0))
        return [listener.getsockname()[1] for listener in sockets]


def _create_node(
    node: CreatedNode, spec: _NodeSpec, users: list[_User], authority: _Authority
) -> _Node:
    make_private_directory(node.directory)
    password = secrets.token_urlsafe(24).encode()
    write_private_file(node.directory / "password", password + b"\n")
    keystore = KeyStore.create(
        node.directory / "keys",
        password,
        identity=PrivateKey.generate(),
        curve=new_curve_keys(),
    )
    chain = _certify(node.name, keystore, authority)
    make_private_directory(node.directory / "certificates")
    write_public_file(node.directory / "certificates" / IDENTITY_FILE, to_pem(chain))
    write_private_file(node.directory / "users.toml", _users_toml(users).encode())
    write_public_file(node.directory / NODE_FILE, _node_toml(node, spec).encode())
    info = NodeInfo(
        name=node.name,
        addresses=[node.p2p_address],
        curve_key=keystore.curve.public_key,
        identity=keystore.identity,
        certificates=chain,
        platform_version=PLATFORM_VERSION,
        serial=1,
    )
    return _Node(place=node, info=info, signed=sign_node_info(info, keystore.sign))


def _certify(name: PeerName, keystore: KeyStore, authority: _Authority) -> list[bytes]:
    """Return the chain of the node's identity, leaf first. The node CA's key is not kept either."""
    node_ca_key = PrivateKey.generate()
    node_ca = issue_node_ca(
        authority.key,
        authority.certificate,
        name=X500Name.parse(name),
        key=node_ca_key.public,
        validity=authority.validity,
    )
    identity = issue_identity(
        node_ca_key, node_ca, key=keystore.identity, validity=authority.validity
    )
    return [identity, node_ca]


def _create_network_files(
    directory: Path, spec: _NetworkSpec, authority: _Authority, nodes: list[_Node]
) -> None:
    for node in nodes:
        path = directory / NODE_INFOS_DIRECTORY / f"{node.place.short_name}{NODE_INFO_SUFFIX}"
        write_public_file(path, encode(node.signed))
    parameters = NetworkParameters(
        network=spec.name,
        epoch=1,
        notaries=[
            Notary(party=node.info.party, validating=node.place.notary == "validating")
            for node in nodes
            if node.place.notary is not None
        ],
    )
    signed = sign_parameters(parameters, authority.key)
    write_public_file(directory / PARAMETERS_FILE, encode(signed))


def _create_users(directory: Path, users: list[_User], nodes: list[_Node]) -> None:
    make_private_directory(directory)
    for user in users:
        path = directory / f"{user.spec.name}{USER_KEY_SUFFIX}"
        write_private_file(path, _user_key_toml(user).encode())
    client = "".join(
        f"[[node]]\n"
        f"name = {quoted(node.place.name)}\n"
        f"short_name = {quoted(node.place.short_name)}\n"
        f"rpc_address = {quoted(node.place.rpc_address)}\n"
        f"curve_key = {quoted(node.info.curve_key.decode())}\n\n"
        for node in nodes
    )
    write_public_file(directory / CLIENT_FILE, client.encode())


def _node_toml(node: CreatedNode, spec: _NodeSpec) -> str:
    notary = f"notary = {quoted(spec.notary)}\n" if spec.notary else ""
    return (
        f"name = {quoted(node.name)}\n"
        f"p2p_address = {quoted(node.p2p_address)}\n"
        f"rpc_address = {quoted(node.rpc_address)}\n"
        f"apps = {quoted_list(spec.apps)}\n"
        f'network = "../../network"\n'
        f'key_password_file = "password"\n'
        f"{notary}"
    )


def _users_toml(users: list[_User]) -> str:
    return "".join(
        f"[[user]]\n"
        f"name = {quoted(user.spec.name)}\n"
        f"key = {quoted(user.curve.public_key.decode())}\n"
        f"permissions = {quoted_list(user.spec.permissions)}\n\n"
        for user in users
    )


def _user_key_toml(user: _User) -> str:
    return (
        f"name = {quoted(user.spec.name)}\n"
        f"public = {quoted(user.curve.public_key.decode())}\n"
        f"secret = {quoted(user.curve.secret_key.decode())}\n"
    )
