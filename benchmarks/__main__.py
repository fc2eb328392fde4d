"""All tables, one after another: ``make bench``."""

from pathlib import Path

import click

from benchmarks import pingpong, steps
from benchmarks.options import Options, shared
from benchmarks.report import show


@click.command()
@shared
def main(as_json: bool, fsync: bool, folder: Path, repeat: int, seconds: float) -> None:
    """Measure everything; it takes a few minutes. Nothing else should run meanwhile."""
    options = Options(folder=folder, fsync=fsync, repeat=repeat, seconds=seconds)
    show(steps.figures(steps.FLOWS, options), as_json=as_json)
    show(pingpong.figures(pingpong.PAIRS, options), as_json=as_json)


if __name__ == "__main__":
    main()
