"""What holds for every test: in CI properties try the same examples each time, elsewhere new ones.

However long that takes: a machine that is busy with other tests says nothing about the code.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
