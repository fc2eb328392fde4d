"""What holds for all tests: no test measures time, and the gate tries the same examples each day.

``HYPOTHESIS_PROFILE=hunt`` looks for new examples, ten times as many.
"""

import os

from hypothesis import HealthCheck, settings

# A machine that is busy with other things is no mistake of the code.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("gate", _UNTIMED, derandomize=True)
settings.register_profile("hunt", _UNTIMED, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
