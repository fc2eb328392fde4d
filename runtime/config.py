"""What a node is told at its start: ``node.toml``, read and checked once, then frozen.

    name = "O=Bank A,L=London,C=GB"
    p2p_address = "tcp://127.0.0.1:10002"      where peers connect to
    rpc_address = "tcp://127.0.0.1:10003"      where users connect to
    apps = ["samples.trade"]                   modules with flows
    network = "../../network"                  directory of the network's files
    keys = "keys"                              directory of the keystore
    certificates = "certificates"              directory of the identity's certificates
    store = "store"                            directory of the database
    users = "users.toml"                       RPC users
    notary = "non-validating"                  left out: the node is no notary
    key_password_file = "password"             the keystore's password, in a private file; or
    key_password_command = ["pass", "node"]    what this program prints; or
    key_password_credential = "node-keys"      a credential of systemd; left out all three:
                                               SENNIT_KEY_PASSWORD must be set
    log_level = "info"
    hold_unexpected = false                    hold, rather than fail, flows with unexpected errors
    journal_events_max = 1_000_000             hold flows that have so many events
    hold_after_crashes = 3                     hold a flow that ends the node so often
    step_threads = 20                          steps with thread=True that run at the same time

    [limits]                                   see `PeerLimits`, `RpcLimits`
    sessions_per_peer_max = 50_000

Required are name, both addresses and network. Relative paths count from the directory of the file.
"""

import keyword
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from runtime.edge.key_password import PasswordSource
from runtime.edge.node_info import check_address
from runtime.errors import NameInvalid
from runtime.ids import PeerName
from runtime.limits import (
    DEFAULT_PEER_LIMITS,
    DEFAULT_RPC_LIMITS,
    HOLD_AFTER_CRASHES,
    JOURNAL_EVENTS_MAX,
    STEP_THREADS,
    STEP_THREADS_MAX,
    PeerLimits,
    RpcLimits,
)
from runtime.names import peer_name
from runtime.toml_file import Table, TomlFile

NODE_FILE: Final = "node.toml"
NOTARY_ROLES: Final = ("non-validating", "validating")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_CREDENTIAL: Final = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The configuration of one node. All paths are absolute."""

    directory: Path
    name: PeerName
    p2p_address: str
    rpc_address: str
    apps: tuple[str, ...]
    network_directory: Path
    keys_directory: Path
    certificates_directory: Path
    store_directory: Path
    users_file: Path
    notary: str | None
    key_password: PasswordSource
    log_level: str
    hold_unexpected: bool
    journal_events_max: int = JOURNAL_EVENTS_MAX
    step_threads: int = STEP_THREADS
    hold_after_crashes: int = HOLD_AFTER_CRASHES
    peer_limits: PeerLimits = DEFAULT_PEER_LIMITS
    rpc_limits: RpcLimits = DEFAULT_RPC_LIMITS

    @property
    def keys_lie_open(self) -> bool:
        """Whether the password of the keys is beside them, as in a development network."""
        file = self.key_password.file
        return file is not None and file.is_relative_to(self.directory)

    @classmethod
    def load(cls, directory: Path | str) -> "NodeConfig":
        """Read ``node.toml`` in ``directory``; one `ConfigurationError` names all its mistakes."""
        base = Path(directory).resolve()
        file = TomlFile(base / NODE_FILE)
        table = file.top
        limits = table.table("limits")
        config = cls(
            directory=base,
            name=read_name(table, "name"),
            p2p_address=_address(table, "p2p_address"),
            rpc_address=_address(table, "rpc_address"),
            apps=read_apps(table),
            network_directory=_path(base, table.text("network")),
            keys_directory=_path(base, table.text("keys", "keys")),
            certificates_directory=_path(base, table.text("certificates", "certificates")),
            store_directory=_path(base, table.text("store", "store")),
            users_file=_path(base, table.text("users", "users.toml")),
            notary=table.choice("notary", NOTARY_ROLES, "") or None,
            key_password=_password_source(base, table),
            log_level=table.choice("log_level", LOG_LEVELS, "info"),
            hold_unexpected=table.truth("hold_unexpected", default=False),
            journal_events_max=table.number("journal_events_max", JOURNAL_EVENTS_MAX),
            step_threads=table.number("step_threads", STEP_THREADS),
            hold_after_crashes=table.number("hold_after_crashes", HOLD_AFTER_CRASHES),
            peer_limits=PeerLimits(**read_limits(limits, PeerLimits)),
            rpc_limits=RpcLimits(**read_limits(limits, RpcLimits)),
        )
        limits.done()
        if config.journal_events_max < 1:
            what = "journal_events_max is no number of events"
            table.mistake("journal_events_max", what, f"Write it like {JOURNAL_EVENTS_MAX}")
        if config.hold_after_crashes < 0:
            what = "hold_after_crashes is less than 0"
            table.mistake("hold_after_crashes", what, f"Write it like {HOLD_AFTER_CRASHES}")
        if not 1 <= config.step_threads <= STEP_THREADS_MAX:
            what = f"step_threads is not a number from 1 to {STEP_THREADS_MAX}"
            table.mistake("step_threads", what, f"Write it like {STEP_THREADS}")
        if config.p2p_address and config.p2p_address == config.rpc_address:
            what = "rpc_address is the same as p2p_address"
            table.mistake("rpc_address", what, "Use another port")
        table.done()
        file.finish()
        return config


def read_limits(table: Table, kind: type[PeerLimits] | type[RpcLimits]) -> dict[str, int]:
    """Return the limits of one kind that the table ``limits`` has; each is at least 1."""
    limits: dict[str, int] = {}
    for field in fields(kind):
        assert isinstance(field.default, int)
        limit = table.number(field.name, field.default)
        if limit < 1:
            what = f"{field.name} is less than 1"
            table.mistake(field.name, what, f"Write it like {field.name} = {field.default}")
        limits[field.name] = limit
    return limits


def _password_source(base: Path, table: Table) -> PasswordSource:
    file = table.text("key_password_file", "")
    command = table.texts("key_password_command")
    credential = table.text("key_password_credential", "")
    if sum(map(bool, (file, command, credential))) > 1:
        what = "the password has more than one key_password_... place"
        table.mistake("key_password_file", what, "Keep one of them")
    if credential and not _CREDENTIAL.fullmatch(credential):
        what = f"key_password_credential {credential!r} is not the name of a credential"
        table.mistake("key_password_credential", what, "Write it like node-keys, as in the unit")
    return PasswordSource(
        file=_path(base, file) if file else None,
        command=command,
        credential=credential,
        directory=base,
    )


def read_name(table: Table, key: str) -> PeerName:
    """Return the canonical legal name at ``key``."""
    text = table.text(key)
    try:
        return peer_name(text) if text else PeerName("")
    except NameInvalid as error:
        table.mistake(key, f"{key} {text!r}: {error.attribute} {error.what}", error.do)
        return PeerName("")


def read_apps(table: Table) -> tuple[str, ...]:
    """Return the names of modules at ``apps``; they are not imported here."""
    apps = table.texts("apps")
    for app in apps:
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in app.split(".")):
            what = f"apps has {app!r}, which is no name of a module"
            table.mistake("apps", what, "Write it as one would import it, like samples.trade")
    return apps


def _path(base: Path, text: str) -> Path:
    # What has a NUL is a mistake that is noted already, and could not be resolved.
    return (base / text.replace("\0", "")).resolve()


def _address(table: Table, key: str) -> str:
    text = table.text(key)
    try:
        if text:
            check_address(text)
    except ValueError as error:
        table.mistake(key, f"{key}: {error}", "Write it like tcp://127.0.0.1:10000")
    return text
