"""Find the node that a command is for, and the key to speak to it with.

A node is named by its directory, as `sennit network create` has made it: ``demo/nodes/bank-a``.
Then ``demo/users`` has the keys. Somebody who has only such a directory of users, with
``client.toml`` and their own key in it, names the node as if it lay in there: ``users/bank-a``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import gevent
from click.core import ParameterSource

from runtime.client_config import CLIENT_FILE, USER_KEY_SUFFIX, ClientConfig, UserKey
from runtime.config import NODE_FILE, NodeConfig
from runtime.edge.rpc_client import RpcAddress, RpcClient
from runtime.errors import ConfigurationError

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_USER: Final = "admin"

# Somebody looks on and waits.
CONNECT_SECONDS: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChoice:
    """What the options, the environment and the first word say about the node."""

    node: str | None
    is_by_option: bool
    user: str | None

    def take(self, words: Sequence[str]) -> tuple[RpcAddress, list[str]]:
        """Return where the node is, and the words without the one that names it."""
        if self.node is not None and self.is_by_option:
            return locate(self.node, self.user), list(words)
        if words and is_node(words[0]):
            return locate(words[0], self.user), list(words[1:])
        if self.node is not None:
            return locate(self.node, self.user), list(words)
        if is_node("."):
            return locate(".", self.user), list(words)
        if words and ("/" in words[0] or Path(words[0]).exists()):
            raise _no_node(words[0])
        raise click.UsageError(
            "which node? Name its directory first, or with --node, or in SENNIT_NODE"
        )


def node_options(command: Command) -> Command:
    """Give a command ``--node`` and ``--user``; it gets a ``choice: NodeChoice``."""

    def choose(ctx: click.Context, parameter: click.Parameter, value: str | None) -> NodeChoice:
        source = ctx.get_parameter_source("choice")
        user = ctx.params.pop("user", None)
        return NodeChoice(node=value, is_by_option=source is ParameterSource.COMMANDLINE, user=user)

    with_node = click.option(
        "--node",
        "choice",
        metavar="DIR",
        envvar="SENNIT_NODE",
        callback=choose,
        help="The node's directory; also SENNIT_NODE, or the first word.",
    )(command)
    return click.option(
        "--user",
        metavar="NAME",
        envvar="SENNIT_USER",
        is_eager=True,
        help=f"Whose key to use; also SENNIT_USER. Else the only one, or {DEFAULT_USER}.",
    )(with_node)


def is_node(text: str) -> bool:
    """Tell whether ``text`` names a node."""
    path = Path(text)
    return (path / NODE_FILE).is_file() or (
        (path.parent / CLIENT_FILE).is_file() and not path.exists()
    )


def locate(node: str, user: str | None) -> RpcAddress:
    """Return address and keys, or raise `ConfigurationError` that says which file lacks what."""
    path = Path(node)
    if (path / NODE_FILE).is_file():
        name: str = NodeConfig.load(path).name
        users_directory = path.resolve().parent.parent / "users"
        start_with = f"sennit node run {node}"
    elif (path.parent / CLIENT_FILE).is_file():
        name = path.name
        users_directory = path.parent
        start_with = "sennit node run DIRECTORY (on the machine of the node)"
    else:
        raise _no_node(node)
    if not (users_directory / CLIENT_FILE).is_file():
        raise ConfigurationError(
            str(users_directory),
            f"there is no {CLIENT_FILE}, which says how to reach the node",
            f"Get the directory with {CLIENT_FILE} and your key from whoever made the network, "
            "and name the node as DIRECTORY/NAME",
        )
    entry = ClientConfig.load(users_directory / CLIENT_FILE).node(name)
    return RpcAddress(
        endpoint=entry.rpc_address,
        server_key=entry.curve_key,
        user_keys=UserKey.load(_key_file(users_directory, user)).curve,
        start_with=start_with,
        node=node,
    )


def open_client(
    address: RpcAddress, on_link: Callable[[bool], None] = lambda is_up: None
) -> RpcClient:
    """Connect."""
    hub = gevent.get_hub()
    # Else gevent announces a Ctrl-C on standard error before it raises it where we wait.
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    return RpcClient(address, connect_seconds=CONNECT_SECONDS, on_link=on_link)


def _key_file(directory: Path, user: str | None) -> Path:
    keys = {path.stem: path for path in sorted(directory.glob(f"*{USER_KEY_SUFFIX}"))}
    names = ", ".join(keys) or "nobody"
    if user is not None:
        if user not in keys:
            raise ConfigurationError(
                str(directory), f"there is no key of user {user!r}", f"It has keys of: {names}"
            )
        return keys[user]
    if len(keys) == 1:
        return next(iter(keys.values()))
    if DEFAULT_USER in keys:
        return keys[DEFAULT_USER]
    if not keys:
        raise ConfigurationError(
            str(directory),
            f"there is no key of a user, which is a file NAME{USER_KEY_SUFFIX}",
            "Get yours from whoever made the network",
        )
    raise ConfigurationError(
        str(directory), f"it has keys of {names}", "Say with --user NAME whose to use"
    )


def _no_node(text: str) -> ConfigurationError:
    return ConfigurationError(
        text,
        f"is no directory of a node: it has no {NODE_FILE}",
        "Name one that `sennit network create` has made, like NETWORK/nodes/NAME",
    )
