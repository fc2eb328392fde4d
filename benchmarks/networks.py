"""Development networks for a measurement: real keys, ports and databases, gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from runtime.network_bootstrap import CreatedNode, create_network

PREFIX: Final = ".bench-"
ORGANISATIONS: Final = ("Ping", "Pong")


@contextmanager
def network(folder: Path, *, nodes: int) -> Iterator[tuple[CreatedNode, ...]]:
    """Make a network of one or two nodes below ``folder`` and remove it afterwards."""
    assert 1 <= nodes <= len(ORGANISATIONS)
    with TemporaryDirectory(dir=folder, prefix=PREFIX) as path:
        description = Path(path) / "network.toml"
        description.write_text(
            '[network]\nname = "bench"\nbase_port = 0\n'
            + "".join(
                f'[[node]]\nname = "O={organisation},L=London,C=GB"\n'
                for organisation in ORGANISATIONS[:nodes]
            )
        )
        yield create_network(description, Path(path) / "bench").nodes
