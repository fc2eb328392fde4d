"""Client ids of a node: each stands for one flow of one user, until it is forgotten."""

from runtime.engine.commits import Commits
from runtime.engine.results import CLIENT_IDS, Client, client_decoder, client_key, encode_row
from runtime.errors import ClientIdTaken, PermissionDenied
from runtime.starting import StartOptions


class ClientIds:
    """See the module."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits

    def attached(self, options: StartOptions, name: str, identity: bytes) -> Client | None:
        """Return whose flow a start gets, or None if it is to start one.

        ``identity`` are the arguments, as `runtime.signatures.Arguments.identity` has them. Raises
        `ClientIdInvalid`; `PermissionDenied` if the id is another user's; `ClientIdTaken` if it
        stands for a flow that the start may not get.
        """
        if options.client_id is None:
            return None
        client = self.of(options.user, options.client_id)
        if client is None:
            return None
        problem = ""
        if client.name != name:
            problem = f"{client.name}, and this start is of {name}"
        elif options.on_repeat == "refuse":
            problem = f"{name} already"
        elif options.on_repeat == "attach_if_same" and client.arguments != identity:
            problem = f"{name} with other arguments"
        if problem:
            raise ClientIdTaken(
                f"client id {options.client_id!r} stands for {problem}; choose another id, "
                "or get that flow without starting one: find(client_id)"
            )
        return client

    def of(self, user: str, client_id: str) -> Client | None:
        """Return what a client id stands for; raises `PermissionDenied` if it is another user's."""
        client = self.read(client_id)
        if client is not None and client.user != user:
            raise PermissionDenied(
                f"client id {client_id!r} belongs to another user; choose one of your own"
            )
        return client

    def read(self, client_id: str) -> Client | None:
        """Return what a client id stands for, whoever's it is; raises `ClientIdInvalid`."""
        key = client_key(client_id)
        row = self._commits.get(CLIENT_IDS, key)
        if row is None:
            return None
        return self._commits.unreadable.read(CLIENT_IDS, key, row, client_decoder.decode)

    def put(self, client_id: str, client: Client) -> None:
        """Write what a client id stands for into the open batch."""
        self._commits.put(CLIENT_IDS, client_key(client_id), encode_row(client))

    def delete(self, client_id: str) -> None:
        """Let a client id stand for nothing, in the open batch."""
        self._commits.delete(CLIENT_IDS, client_key(client_id))
