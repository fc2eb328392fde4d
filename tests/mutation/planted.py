"""Faults that were once planted by hand and that no test noticed; now each must be noticed."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One fault: a piece of a file, which stands there once, becomes another."""

    title: str
    path: str
    was: str
    becomes: str


PLANTED: Final = (
    Planted(
        title="the verb drain does nothing",
        path="runtime/node_operations.py",
        was="        self._engine.manager.is_draining = is_on\n",
        becomes="        pass\n",
    ),
    Planted(
        title="the verb retry does nothing",
        path="runtime/engine/hospital.py",
        was="        run.start_soon()\n        return True\n",
        becomes="        return True\n",
    ),
    Planted(
        title="the progress of a sub-flow is not shown below its caller's",
        path="runtime/engine/subflows.py",
        was="tree = caller.tree.child(flow.name, flow.labels)",
        becomes="tree = ProgressTree(flow.name, flow.labels)",
    ),
    Planted(
        title="LMDB is opened without sync",
        path="runtime/edge/lmdb_file.py",
        was="        sync=sync,\n",
        becomes="        sync=False,\n",
    ),
    Planted(
        title="the directory of a new store is not synced",
        path="runtime/edge/lmdb_file.py",
        was="    sync_directory(directory)\n",
        becomes="",
    ),
    Planted(
        title="a tombstone goes while the outbox still sends",
        path="runtime/engine/tombstones.py",
        was="        if self._outbox.has(grave.sid):\n",
        becomes="        if False:\n",
    ),
    Planted(
        title="who waits for room is not woken by the acknowledgement that empties the outbox",
        path="runtime/engine/outbox.py",
        was="        if session.on_room is not None:\n            session.on_room()\n",
        becomes="        if session.on_room is not None and entries:\n"
        "            session.on_room()\n",
    ),
    Planted(
        title="the bound of the leaves that are read at a start is ignored",
        path="runtime/edge/lmdb_check.py",
        was="pages.meta.page_last if leaves_max is None else leaves_max",
        becomes="pages.meta.page_last",
    ),
    Planted(
        title="a put and a delete in one batch cancel each other, and an older row returns",
        path="runtime/engine/commits.py",
        was="if space.write_once and rows.get(key) is not None:",
        becomes="if rows.get(key) is not None:",
    ),
)
