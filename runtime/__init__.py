"""Durable flows: what the author of a flow imports."""
