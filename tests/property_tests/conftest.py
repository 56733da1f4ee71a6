"""Property tests run under the profile that MUSLIN_HYPOTHESIS names."""

from property_tests import profiles

profiles.load()
