"""Time and randomness of the real machine."""

import os
import time


class SystemClock:
    """Time as the operating system tells it; wall time may jump."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        """Return milliseconds since the machine began to count; never back."""
        return time.monotonic_ns() // 1_000_000


class SystemEntropy:
    """Randomness from the operating system."""

    def random_bytes(self, size: int) -> bytes:
        """Return ``size`` unpredictable bytes."""
        return os.urandom(size)
