"""What the ledger keeps in a node's store: functions over rows, each in its own spaces."""
