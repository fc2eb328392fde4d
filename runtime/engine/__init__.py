"""Greenlets, ready queue, group commit, timers, delivery; the world only through ports."""
