"""Faults planted on purpose, and the hunt for those that no test notices."""
