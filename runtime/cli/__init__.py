"""The command ``sennit``: make a network, run nodes, start and look after their flows."""
