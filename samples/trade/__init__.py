"""Two-party trade: commercial paper against cash, settled by a notary. See README.md.

As an app of a node (``apps = ["samples.trade"]``) it installs the ledger, the finance flows and the
trade itself.
"""

import samples.finance.cash_flows
import samples.finance.paper_flows
from ledger.install import install as install_ledger
from runtime.host import Host
from samples.trade.flows import buy, sell
from samples.trade.terms import Terms

__all__ = ["buy", "install", "sell"]


def install(host: Host) -> None:
    """Make a node one that trades, on default terms."""
    install_ledger(host)
    host.register(samples.finance.cash_flows, samples.finance.paper_flows)
    host.provide(Terms, Terms())
