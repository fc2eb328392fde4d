"""Pure parts: no clock, disk, socket, thread or greenlet."""
