"""Put the ledger on a host, real or simulated: its services, flows, and hooks.

A host whose role is notary answers notarisation requests too.
"""

from typing import Final

from ledger.flows import notarise, notary_service, receive_finality, waiting
from ledger.flows.keys import load_keys, owner_of_anonymous
from ledger.flows.notary_service import NON_VALIDATING, VALIDATING, Notary
from ledger.stores.transactions import forget_collected_by
from ledger.vault import Vault, release_at_end
from runtime.errors import ConfigurationError
from runtime.host import Host
from runtime.party import AnonymousParty, Party

INDEX_FILE: Final = "vault-index.sqlite"


def install(host: Host) -> None:
    """Make ``host`` a node of the ledger. Call it before the node starts; again is no error."""
    if _is_installed(host):
        return
    host.provide(Host, host)
    _install_vault(host)
    host.register(notarise.notarise, receive_finality, waiting.waiting)
    if host.notary_role is not None:
        _install_notary(host, host.notary_role)

    def resolve(party: AnonymousParty) -> Party | None:
        return owner_of_anonymous(host, party)

    host.resolvers.append(resolve)
    host.on_start(lambda: load_keys(host))
    host.on_flow_end(release_at_end)
    host.on_flow_end(forget_collected_by)


def _is_installed(host: Host) -> bool:
    """Tell whether another app of the node has installed the ledger before."""
    try:
        host.service(Vault)
    except ConfigurationError:
        return False
    return True


def _install_vault(host: Host) -> None:
    directory = host.data_directory
    vault = Vault(host, None if directory is None else directory / INDEX_FILE)
    host.provide(Vault, vault)
    host.on_stop(vault.close)


def _install_notary(host: Host, role: str) -> None:
    if role not in (VALIDATING, NON_VALIDATING):
        raise ConfigurationError(
            "notary", f"there is no role {role!r}", f"Use {VALIDATING!r} or {NON_VALIDATING!r}"
        )
    notary = Notary(host.me.key, host.signer.sign, host.clock, is_validating=role == VALIDATING)
    host.provide(Notary, notary)
    host.register(notary_service)
    host.on_flow_end(notary_service.leave_queue)
