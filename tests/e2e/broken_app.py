"""An app that can't be imported, for tests of what a node says of it."""

1 / 0  # noqa: B018
