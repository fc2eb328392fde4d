"""How the peers and the store of a node do, as operators see it."""

from runtime.engine.engine import Engine
from runtime.ids import PeerName
from runtime.operations import PEERS_MAX, PeerRow, StoreRow


def peer_rows(engine: Engine) -> list[PeerRow]:
    """Return whom this node knows or has sent to; those first that something waits for."""
    now = engine.clock.now_ms()
    links = {link.peer: link for link in engine.transport.links()}
    waiting = engine.outbox.waiting()
    names = {PeerName(party.name) for party in engine.host.directory.parties()}
    names = (names | set(links) | set(waiting)) - {PeerName(engine.host.me.name)}
    rows = []
    for name in names:
        link = links.get(name)
        messages, sessions = waiting.get(name, (0, 0))
        status, since_ms = "not tried", None
        if link is not None:
            status = "reachable" if link.is_up else "unreachable"
            since_ms = None if link.for_ms is None else now - link.for_ms
        rows.append(PeerRow(name, status, since_ms, messages, sessions))
    return sorted(rows, key=lambda row: (-row.messages, row.peer))[:PEERS_MAX]


def store_row(engine: Engine) -> StoreRow:
    """Return how the store does."""
    status, now = engine.commits.store.status(), engine.clock.now_ms()
    return StoreRow(
        batches=status.batches,
        batches_waiting=status.batches_waiting,
        size_bytes=status.size_bytes,
        free_bytes=status.free_bytes,
        synced_ms=None if status.synced_ms_ago is None else now - status.synced_ms_ago,
        trouble=status.trouble,
        trouble_since_ms=now - status.trouble_ms if status.trouble else None,
    )
