"""Tests of the samples: each runs as a user would run it, on the simulated network."""
