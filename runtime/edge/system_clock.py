"""Time and chance of the real machine."""

import os
import time


class SystemClock:
    """Wall time as the operating system tells it; it may jump."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000


class SystemEntropy:
    """Chance from the operating system."""

    def random_bytes(self, size: int) -> bytes:
        """Return ``size`` unpredictable bytes."""
        return os.urandom(size)
