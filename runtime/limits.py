"""Every bound of the runtime, each with its unit and its reason."""

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024

# One payload. Larger things travel as attachments, in chunks.
MESSAGE_BYTES_MAX: Final = 10 * MIB

# All values in one payload, the innermost too: each may take a hundred bytes in memory.
MESSAGE_ITEMS_MAX: Final = 1_000_000

# What an exception takes along to a peer or into the journal. It is an answer, not a payload.
ERROR_CHARACTERS_MAX: Final = 4_096
ERROR_BYTES_MAX: Final = 64 * 1024

# One frame on a link carries many envelopes; it stays small enough not to delay the ones behind it.
FRAME_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 64 * 1024
FRAME_BYTES_TARGET: Final = 256 * 1024
FRAME_ENVELOPES_MAX: Final = 1_024

# Arrived but not yet read by the flow. Beyond it, we don't acknowledge, so the peer keeps its copy.
UNREAD_BYTES_PER_SESSION_MAX: Final = 64 * MIB

# Objects around an arrived message. The message itself may take its bytes twice: once as it came,
# once as the body in it.
KEPT_OVERHEAD_BYTES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """What a node keeps for its peers at most; what has no room stays with the peer.

    A peer never gets more than what is left for all others, so half of the node's bound at most.
    """

    sessions_per_peer_max: int = 50_000
    sessions_of_peers_max: int = 200_000
    """Sessions that peers have opened to us: each is a flow of ours, 10 to 20 kB."""

    unread_bytes_per_session_max: int = UNREAD_BYTES_PER_SESSION_MAX
    unread_bytes_per_peer_max: int = 128 * MIB
    unread_bytes_max: int = 512 * MIB
    """Arrived and not read by the flow; in memory up to twice as much, and on disk."""

    received_bytes_per_peer_max: int = 8_192 * MIB
    received_bytes_max: int = 32_768 * MIB
    """Read by flows that have not ended; on disk, in their journals."""

    unacknowledged_bytes_per_peer_max: int = 128 * MIB
    unacknowledged_bytes_max: int = 512 * MIB
    """Sent and not acknowledged by the peer; in memory, and on disk. Beyond it, flows that send to
    the peer wait, and it can open no session. Four sessions can be as far ahead as they may."""

    unclaimed_per_peer_max: int = 1_000
    unclaimed_max: int = 10_000
    """Open messages for flows that are not installed; of each, we keep names and ids."""

    tombstones_per_peer_max: int = 100_000
    tombstones_max: int = 500_000
    """More than the copies of old messages that can be under way on a link. On disk, 200 bytes."""

    connections_per_peer_max: int = 4
    """One is needed, or two while the peer has not noticed that the first one is broken."""

    connections_silent_max: int = 4_096
    """Connections on which no frame has come yet, so that nobody knows whose they are. After a
    restart, those of all peers that have nothing to say; one that is cut comes back by itself."""

    unfinished_bytes_per_connection_max: int = 2 * FRAME_BYTES_MAX
    unfinished_bytes_max: int = 256 * MIB
    """Received of frames that are not complete, in ZeroMQ and in the kernel."""


DEFAULT_PEER_LIMITS: Final = PeerLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """What users of the RPC may make a node do and keep at the same time."""

    rpc_requests_per_user_max: int = 250
    rpc_requests_max: int = 1_000
    """Starts of flows and waits for results: a greenlet and a request each. Interventions (kill,
    retry, drop, forget) count apart for each user, so that there is always room for them."""

    rpc_watches_per_user_max: int = 1_000
    """Flows that one user watches, over all connections."""

    rpc_unread_bytes_per_user_max: int = 64 * MIB
    rpc_unread_bytes_max: int = 256 * MIB
    """Answers that clients have not read. Beyond it, what may be large waits or is refused."""

    rpc_request_bytes_max: int = FRAME_BYTES_MAX
    """One request; what is larger costs the client its connection before it is read."""

    rpc_connections_per_user_max: int = 64
    rpc_connections_max: int = 1_000
    """Each takes a descriptor, and has small answers that its client has not read. One that is one
    too many is told so, and cut."""

    rpc_connections_silent_max: int = 1_000
    """Connections on which nothing was asked yet, so that nobody knows whose they are."""

    rpc_unfinished_bytes_max: int = 128 * MIB
    """Received of requests that are not complete, in ZeroMQ and in the kernel."""


DEFAULT_RPC_LIMITS: Final = RpcLimits()

# All values in one request: a thousand arguments by position and a thousand by name, each in three.
RPC_REQUEST_ITEMS_MAX: Final = 10_000

# Sent but not acknowledged; beyond it, the sending flow waits.
UNACKNOWLEDGED_BYTES_PER_SESSION_MAX: Final = 32 * MIB

# Held for a gap in the numbers of one session; the peer sends again what we drop.
GAP_ENVELOPES_MAX: Final = 1_024

# A session that ended answers late messages for this long after the peer has acknowledged its end.
# Copies of older messages are under way for seconds, and may wait in a queue while a node hangs.
TOMBSTONE_MS: Final = 60 * 60 * 1000

# Sent, not acknowledged: send again after this, doubling to the maximum.
RESEND_MS_FIRST: Final = 500
RESEND_MS_MAX: Final = 30_000

# How long it may take until a wall clock that was set is noticed. Shorter waits run on steady time.
WALL_CLOCK_LOOK_MS: Final = 60_000

# No sleep or timeout is longer; it keeps times within what a date can be.
WAIT_SECONDS_MAX: Final = 1_000 * 366 * 24 * 60 * 60

# One turn of the engine; then other greenlets of the process have theirs.
TURN_MS_MAX: Final = 5

CLIENT_ID_CHARACTERS_MAX: Final = 512

# A user is a name in the file of users, or a party.
USER_CHARACTERS_MAX: Final = 512

# Of a flow, a step, an app: they travel and are kept with each message and each event.
NAME_CHARACTERS_MAX: Final = 255
VERSION_MAX: Final = 2**32 - 1

# Replay time grows with the journal. `journal_events_max` of a node is this by default.
JOURNAL_EVENTS_MAX: Final = 1_000_000

# Arguments and messages up to this size stand in the journal as they are; of larger ones, a digest.
FINGERPRINT_BYTES_INLINE_MAX: Final = 32

# A flow that was running at so many ends of the process in a row is held, if it got nowhere.
HOLD_AFTER_CRASHES: Final = 3

# Steps that run in native threads at the same time, if node.toml does not say another number.
STEP_THREADS: Final = 20
STEP_THREADS_MAX: Final = 1_000

# Back-off of the hospital: doubles from the first to the maximum, with jitter.
RETRY_MS_FIRST: Final = 1_000
RETRY_MS_MAX: Final = 120_000

# A certificate of ours takes 500 to 800 bytes; anything much larger is not one.
CERTIFICATE_BYTES_MAX: Final = 4_096
CERTIFICATES_PER_CHAIN_MAX: Final = 3

# What one node tells the network of itself, and how many nodes a directory keeps in memory.
NODE_ADDRESSES_MAX: Final = 8
NODE_INFO_BYTES_MAX: Final = 32 * 1024
NETWORK_NODES_MAX: Final = 10_000
NETWORK_PARAMETERS_BYTES_MAX: Final = 256 * 1024

# An unknown name or key makes the directory look at its files again, but not more often than this.
DIRECTORY_REFRESH_MS_MIN: Final = 1_000

assert ERROR_BYTES_MAX < MESSAGE_BYTES_MAX
assert FRAME_BYTES_TARGET < FRAME_BYTES_MAX
assert MESSAGE_BYTES_MAX < UNREAD_BYTES_PER_SESSION_MAX
assert RESEND_MS_FIRST < RESEND_MS_MAX
assert RETRY_MS_FIRST < RETRY_MS_MAX
assert CERTIFICATE_BYTES_MAX * CERTIFICATES_PER_CHAIN_MAX < NODE_INFO_BYTES_MAX
assert UNACKNOWLEDGED_BYTES_PER_SESSION_MAX < UNREAD_BYTES_PER_SESSION_MAX
