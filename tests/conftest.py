"""How long the property tests look: HYPOTHESIS_PROFILE is ci (the default), thorough or one
of those for tests/mutants."""

import os

from hypothesis import HealthCheck, Phase, settings

# The same examples on each run, so that a red build is red again.
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=600,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Other examples on each run; many more in one run would take gigabytes of memory.
settings.register_profile(
    "thorough",
    settings.get_profile("ci"),
    derandomize=False,
    max_examples=2_500,
    stateful_step_count=80,
)
# A mutant is to be found, not explained.
settings.register_profile(
    "mutants",
    settings.get_profile("ci"),
    max_examples=1_500,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
settings.register_profile("seeded_mutants", settings.get_profile("mutants"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
