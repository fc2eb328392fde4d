"""Tests of the ledger flows."""
