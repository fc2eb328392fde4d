"""Typed names. An identifier of one kind can't be handed over where another kind is asked for."""

from typing import NewType

FlowId = NewType("FlowId", str)
"""A UUIDv7 in its usual text form; sorts by the time the flow was started."""

SessionId = NewType("SessionId", bytes)
"""16 random bytes; each side of a session has its own."""

PeerName = NewType("PeerName", str)
"""The canonical X.500 name of a node's legal identity, as `runtime.names` writes it."""

ErrorId = NewType("ErrorId", str)
"""16 hexadecimal digits that stand in the logs of every node that an error reached."""

UserName = NewType("UserName", str)
"""Who asked over RPC or in process; a client id is denied to all but the user who took it."""
