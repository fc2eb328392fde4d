"""What a user of the RPC may do: a small table of rules, pure.

    ALL                 everything
    StartFlow.<flow>    start flows of this name, or whose names fit a pattern: StartFlow.trade.*
    Read                look at every flow, also at those of others; Read.<verb> one verb only
    Operate             intervene; Operate.<verb> one verb only

Whoever is admitted may see the node's name and the names of its flows, and may look at the flows
that they started themselves, except at their journals, which hold what other parties have sent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from runtime.errors import ConfigurationError, PermissionDenied

READ_VERBS: Final = ("flows", "flow", "result", "watch", "journal", "peers", "unclaimed")
OPERATE_VERBS: Final = ("retry", "kill", "drop", "drain", "stop")

_VERBS: Final = {"Read": READ_VERBS, "Operate": OPERATE_VERBS}
_SECTION: Final = {verb: section for section, verbs in _VERBS.items() for verb in verbs}
_READ_OF_OWN: Final = frozenset(READ_VERBS) - {"journal", "peers", "unclaimed"}


@dataclass(frozen=True, slots=True)
class Permissions:
    """The permissions of one user, as they stand in the file of users."""

    granted: frozenset[str]

    def may_start(self, flow_name: str) -> bool:
        """Tell whether the user may start the flow with this full name."""
        return "ALL" in self.granted or any(
            fnmatchcase(flow_name, permission.removeprefix("StartFlow."))
            for permission in self.granted
            if permission.startswith("StartFlow.")
        )

    def may(self, verb: str, *, is_own: bool) -> bool:
        """Tell whether the user may do ``verb`` to a flow that they did or did not start."""
        section = _SECTION[verb]
        return (
            "ALL" in self.granted
            or section in self.granted
            or f"{section}.{verb}" in self.granted
            or (is_own and verb in _READ_OF_OWN)
        )

    def require_start(self, user: str, flow_name: str) -> None:
        """Raise `PermissionDenied`, saying what is missing, unless the user may start the flow."""
        if not self.may_start(flow_name):
            raise _denied(user, f"start {flow_name}", f"StartFlow.{flow_name}")

    def require(self, user: str, verb: str, *, is_own: bool) -> None:
        """Raise `PermissionDenied`, saying what is missing, unless the user may do ``verb``."""
        if not self.may(verb, is_own=is_own):
            section = _SECTION[verb]
            whose = ""
            if section == "Read" and verb in _READ_OF_OWN:
                whose = " of others, and no flow of theirs has this id (any more)"
            raise _denied(user, f"use {verb!r} on flows{whose}", f"{section}.{verb}")

    def __str__(self) -> str:
        return ", ".join(sorted(self.granted)) or "none"


def _denied(user: str, what: str, missing: str) -> PermissionDenied:
    return PermissionDenied(
        f"user {user!r} may not {what}. Whoever runs the node can add {missing!r} to the "
        f"permissions of {user!r} in its file of users and start it again"
    )


def permissions(texts: Iterable[str], *, where: str) -> Permissions:
    """Parse permissions; ``where`` (file and user) goes into the `ConfigurationError`."""
    granted = frozenset(texts)
    for text in sorted(granted):
        if not _is_known(text):
            raise ConfigurationError(
                where,
                f"there is no permission {text!r}",
                "Use ALL, StartFlow.<full name of a flow or a pattern>, Read, Operate, or one "
                "verb: " + ", ".join(f"{section}.{verb}" for verb, section in _SECTION.items()),
            )
    return Permissions(granted)


def _is_known(text: str) -> bool:
    section, dot, rest = text.partition(".")
    if not dot:
        return text == "ALL" or section in _VERBS
    return bool(rest) if section == "StartFlow" else rest in _VERBS.get(section, ())
