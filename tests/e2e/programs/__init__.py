"""Programs that embed a node, as a user would write them; each runs in a process of its own."""
