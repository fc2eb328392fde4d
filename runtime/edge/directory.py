"""The network's members, read from a directory of signed files.

    root.pem              the network root's certificate; read once, at the start
    parameters            `SignedParameters`
    node-infos/*.info     one `SignedNodeInfo` each

Nothing is believed before its signature and certificates are verified against the root; dates are
compared with the time at which a file is read. A file that can't be used is reported once, left
out, and disturbs none of the others. If the system can't read at the moment (no descriptors are
left, or a disk fails), what was read before holds, and is looked for again. The directory is read
at the start, and again when somebody asks for a name or key that is not there, or can't reach a
member, but never more often than once a second; nothing polls.
Files should be put there by renaming.
"""

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from cryptography import x509

from runtime.certificates import read_root
from runtime.codec import decode
from runtime.edge.files import read_public_file
from runtime.edge.node_info import NetworkParameters, NodeInfo, SignedNodeInfo, SignedParameters
from runtime.edge.zmq_auth import PeerAddress
from runtime.errors import BadMessage, CertificateInvalid, ConfigurationError, SignatureInvalid
from runtime.ids import PeerName
from runtime.limits import (
    CERTIFICATE_BYTES_MAX,
    DIRECTORY_REFRESH_MS_MIN,
    NETWORK_NODES_MAX,
    NETWORK_PARAMETERS_BYTES_MAX,
    NODE_INFO_BYTES_MAX,
)
from runtime.party import Party
from runtime.ports import Clock
from runtime.seldom_log import SeldomLog

ROOT_FILE: Final = "root.pem"
PARAMETERS_FILE: Final = "parameters"
NODE_INFOS_DIRECTORY: Final = "node-infos"
NODE_INFO_SUFFIX: Final = ".info"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED: Final = (BadMessage, CertificateInvalid, SignatureInvalid, ConfigurationError)

# Of the system or the disk, not of the file.
_FOR_NOW: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
)

# Of each file, in the time that `SeldomLog` has. Strangers and peers make the directory look, so
# they would decide how often it complains.
LINES_PER_FILE: Final = 3

log = logging.getLogger("sennit.network")


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What changes when a file is replaced or written to."""

    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class _File:
    """What was read from a file, None if it was refused."""

    stamp: _Stamp
    info: NodeInfo | None


class NetworkDirectory:
    """Looks up members of the network by name and by key. Answers come from memory."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Read the directory; raises `ConfigurationError` if root or parameters can't be used."""
        self._directory = directory
        self._clock = clock
        self._log = SeldomLog(log, burst=LINES_PER_FILE, now=lambda: clock.steady_ms() / 1_000)
        self._root = _read_root(directory / ROOT_FILE)
        self._parameters_stamp = _stamp(directory / PARAMETERS_FILE)
        self._parameters = self._first_parameters()
        self._files: dict[Path, _File] = {}
        self._by_name: dict[PeerName, NodeInfo] = {}
        self._by_curve_key: dict[bytes, NodeInfo] = {}
        self._refreshed_ms = clock.steady_ms()
        self._on_change: Callable[[], None] | None = None
        self._read_node_infos()

    @property
    def root(self) -> x509.Certificate:
        """Return the certificate that all others are verified against."""
        return self._root

    @property
    def parameters(self) -> NetworkParameters:
        """Return the newest parameters that the network root has signed."""
        return self._parameters

    def party(self, name: PeerName) -> Party | None:
        """Return the party of this canonical name, if the network has it."""
        info = self.node_info(name)
        return None if info is None else info.party

    def parties(self) -> list[Party]:
        """Return all members, in order of their names."""
        self.refresh()
        return [info.party for _, info in sorted(self._by_name.items())]

    def notaries(self) -> list[Party]:
        """Return the notaries that the network's parameters name."""
        return [notary.party for notary in self._parameters.notaries]

    def node_info(self, name: PeerName) -> NodeInfo | None:
        """Return what the node of this name says of itself."""
        if name not in self._by_name:
            self.refresh()
        return self._by_name.get(name)

    def address(self, peer: PeerName) -> PeerAddress | None:
        """Return where ``peer`` is to be found, or None if the network does not list it."""
        info = self.node_info(peer)
        return None if info is None else PeerAddress(info.addresses[0], info.curve_key)

    def peer_of(self, curve_key: bytes) -> PeerName | None:
        """Return whose key this is (in Z85), or None if it is nobody's (any more)."""
        if curve_key not in self._by_curve_key:
            self.refresh()
        info = self._by_curve_key.get(curve_key)
        return None if info is None else info.name

    def when_changed(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` each time that other members, addresses or keys were read.

        It is called from inside of whatever question made the directory look.
        """
        self._on_change = callback

    def refresh(self) -> None:
        """Read what has changed on disk, unless that was done less than a second ago."""
        now_ms = self._clock.steady_ms()
        if now_ms - self._refreshed_ms < DIRECTORY_REFRESH_MS_MIN:
            return
        self._refreshed_ms = now_ms
        self._refresh_parameters()
        self._read_node_infos()

    def _first_parameters(self) -> NetworkParameters:
        path = self._directory / PARAMETERS_FILE
        try:
            return self._read_parameters(path)
        except (BadMessage, SignatureInvalid) as error:
            do = "Get the file from whoever runs the network"
            raise ConfigurationError(str(path), f"can't be used: {error}", do) from error

    def _refresh_parameters(self) -> None:
        path = self._directory / PARAMETERS_FILE
        stamp = _stamp(path)
        if stamp == self._parameters_stamp:
            return
        try:
            parameters = self._read_parameters(path)
            self._parameters_stamp = stamp
        except _REFUSED as error:
            if not _is_for_now(error.__cause__):
                self._parameters_stamp = stamp
            self._log.warn(str(path), f"network parameters refused: {path}: {error}")
            return
        if parameters.epoch > self._parameters.epoch:
            self._parameters = parameters
        elif parameters != self._parameters:
            self._log.warn(
                str(path),
                f"network parameters refused: {path}: epoch {parameters.epoch} does not follow "
                f"{self._parameters.epoch}",
            )

    def _read_parameters(self, path: Path) -> NetworkParameters:
        body = read_public_file(path, bytes_max=NETWORK_PARAMETERS_BYTES_MAX)
        return decode(body, SignedParameters).verified(self._root)

    def _read_node_infos(self) -> None:
        paths = self._node_info_paths(self._directory / NODE_INFOS_DIRECTORY)
        if paths is None:
            return
        files: dict[Path, _File] = {}
        for path in paths:
            known, stamp = self._files.get(path), _stamp(path)
            if known is not None and known.stamp == stamp:
                files[path] = known
            elif stamp is not None:
                read = self._read_node_info(path, stamp) or known
                if read is not None:
                    files[path] = read
        if files != self._files:
            self._files = files
            infos = [file.info for file in files.values() if file.info is not None]
            self._by_name = _newest_by_name(infos)
            self._by_curve_key = self._owners(self._by_name.values())
            if self._on_change is not None:
                self._on_change()

    def _read_node_info(self, path: Path, stamp: _Stamp) -> _File | None:
        """Return what is in a file; None if it can't be read at the moment."""
        try:
            body = read_public_file(path, bytes_max=NODE_INFO_BYTES_MAX)
            at = _EPOCH + timedelta(milliseconds=self._clock.now_ms())
            return _File(stamp, decode(body, SignedNodeInfo).verified(self._root, at))
        except _REFUSED as error:
            self._log.warn(str(path), f"node info refused: {path}: {error}")
            return None if _is_for_now(error.__cause__) else _File(stamp, None)

    def _node_info_paths(self, directory: Path) -> list[Path] | None:
        """Return the files in order of their names, so that no luck decides which are refused.

        None if the directory can't be read at the moment.
        """
        try:
            with os.scandir(directory) as entries:
                names = [e.name for e in entries if e.name.endswith(NODE_INFO_SUFFIX)]
        except OSError as error:
            self._log.warn(str(directory), f"no node infos: {directory}: {error}")
            return None if _is_for_now(error) else []
        if len(names) > NETWORK_NODES_MAX:
            self._log.warn(
                str(directory), f"only {NETWORK_NODES_MAX} of {len(names)} node infos are read"
            )
        return [directory / name for name in islice(sorted(names), NETWORK_NODES_MAX)]

    def _owners(self, infos: Iterable[NodeInfo]) -> dict[bytes, NodeInfo]:
        """Return the owners of keys. A key that two members claim is nobody's.

        Members can't prove here that a CURVE key is theirs, only that they say so. If we believed
        the first, frames of one member could be taken for those of another.
        """
        infos = list(infos)
        claims = Counter(info.curve_key for info in infos)
        for info in infos:
            if claims[info.curve_key] > 1:
                self._log.warn(
                    info.name, f"link key refused: {info.name} claims the key of another member"
                )
        return {info.curve_key: info for info in infos if claims[info.curve_key] == 1}


def _read_root(path: Path) -> x509.Certificate:
    pem = read_public_file(path, bytes_max=2 * CERTIFICATE_BYTES_MAX)
    try:
        return read_root(pem)
    except CertificateInvalid as error:
        do = "Get the file from whoever runs the network"
        raise ConfigurationError(str(path), f"can't be used: {error}", do) from error


def _is_for_now(error: BaseException | None) -> bool:
    """Tell whether an error says nothing about what is there: it may be read later."""
    return isinstance(error, OSError) and error.errno in _FOR_NOW


def _stamp(path: Path) -> _Stamp | None:
    """Return the stamp of a file, None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def _newest_by_name(infos: Iterable[NodeInfo]) -> dict[PeerName, NodeInfo]:
    newest: dict[PeerName, NodeInfo] = {}
    for info in infos:
        known = newest.get(info.name)
        if known is None or info.serial > known.serial:
            newest[info.name] = info
    return newest
