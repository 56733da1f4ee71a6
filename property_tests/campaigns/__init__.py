"""Campaigns: long differential searches, `muslin fuzz`."""

from __future__ import annotations

from property_tests.campaigns.differential import Kernel, search
from property_tests.campaigns.reproduction import as_scenario
from property_tests.campaigns.results import CampaignResult, Mismatch

__all__ = ["CampaignResult", "Kernel", "Mismatch", "as_scenario", "search"]
