"""Two-party trade: commercial paper against cash, settled by a notary. See README.md.

As an app of a node (``apps = ["samples.trade"]``) it installs the ledger, the finance flows and the
trade itself.
"""

import os
from typing import Final

import samples.finance.cash_flows
import samples.finance.paper_flows
import samples.trade.holdings
from ledger.install import install as install_ledger
from runtime.host import Host
from samples.trade.flows import buy, sell
from samples.trade.terms import Terms

__all__ = ["PAUSE_VARIABLE", "buy", "install", "sell"]

PAUSE_VARIABLE: Final = "SENNIT_TRADE_PAUSE"
"""Environment variable: seconds that both sides pause at each step, to be watched."""


def install(host: Host) -> None:
    """Make a node one that trades, on default terms; `PAUSE_VARIABLE` slows it down."""
    install_ledger(host)
    host.register(samples.finance.cash_flows, samples.finance.paper_flows)
    host.register(samples.trade.holdings)
    host.provide(Terms, Terms(pause_seconds=float(os.environ.get(PAUSE_VARIABLE, "0"))))
