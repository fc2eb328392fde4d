"""Benchmarks, small: that they run and print what they promise."""
