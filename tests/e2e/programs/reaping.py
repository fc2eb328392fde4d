"""Drive a node beside processes of gevent's own module, which collects all children."""

import sys

import gevent.subprocess

from runtime.testing.driver import NetworkDriver
from tests.e2e.networks import EMBEDDED


def main() -> None:
    print(gevent.subprocess.call([sys.executable, "-c", "raise SystemExit(3)"]))
    with NetworkDriver.create(EMBEDDED) as network:
        alice = network.node("alice")
        settings = alice.directory / "node.toml"
        good = settings.read_text()
        settings.write_text("nonsense")
        alice.launch()
        print(alice.wait_for_exit(30))
        settings.write_text(good)
        alice.start()
        alice.kill()
        print(alice.exit_code)


if __name__ == "__main__":
    main()
