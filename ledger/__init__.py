"""A shared ledger of signed transactions between parties that do not trust each other."""
