"""The command ``sennit node check``: read all that a stopped node has stored."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import click

from runtime.cli.errors import EXIT_FAILED
from runtime.cli.flow import json_option
from runtime.cli.output import print_json, print_table
from runtime.config import NodeConfig
from runtime.edge.store_check import RowReader, StoreReport, check_store
from runtime.engine.row_readers import READERS

READERS_GROUP: Final = "sennit.rows"
"""Entry points of this group name a mapping from a space's name to a `RowReader`."""


@click.command(epilog=("\b\nExample: sennit node check demo/nodes/bank-a\n"))
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def check(directory: Path, as_json: bool) -> None:
    """Read all that the stopped node of DIRECTORY has stored, and say what is damaged.

    It reads the log, every page of the database and every row, and decodes each row whose form is
    known. Nothing is changed. The exit code is 0 only if everything is sound.
    """
    config = NodeConfig.load(directory)
    report = check_store(config.store_directory, config.name, _readers())
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report)
    if report.damaged:
        click.get_current_context().exit(EXIT_FAILED)


def _readers() -> dict[str, RowReader]:
    readers: dict[str, RowReader] = {}
    for entry in entry_points(group=READERS_GROUP):
        readers.update(entry.load())
    return {**readers, **READERS}


def _print(report: StoreReport) -> None:
    print_table(
        ("SPACE", "ROWS", "BYTES", "DAMAGED", ""),
        [
            (
                space.name,
                str(space.rows),
                str(space.row_bytes),
                str(space.damaged or ""),
                "" if space.is_decoded else "read, not decoded",
            )
            for space in report.spaces
        ],
    )
    for space in report.spaces:
        for key, what in space.named:
            click.echo(f"damaged: space {space.name!r}, row {key.hex()}: {what}", err=True)
        if space.damaged > len(space.named):
            more = space.damaged - len(space.named)
            click.echo(f"damaged: space {space.name!r}: {more} more", err=True)
    log = f"{report.batches} batches, {report.batches_in_log} of them in the log only"
    if report.damaged:
        click.echo(
            f"{report.damaged} rows are damaged. Keep a copy, check the disk, "
            "and restore the newest backup",
            err=True,
        )
    else:
        click.echo(f"the store is sound: {log}")


def _as_json(report: StoreReport) -> dict[str, object]:
    return {
        "batches": report.batches,
        "batches_in_log": report.batches_in_log,
        "damaged": report.damaged,
        "spaces": [
            {
                "name": space.name,
                "rows": space.rows,
                "bytes": space.row_bytes,
                "decoded": space.is_decoded,
                "damaged": space.damaged,
                "damaged_rows": [{"key": key.hex(), "what": what} for key, what in space.named],
            }
            for space in report.spaces
        ],
    }
