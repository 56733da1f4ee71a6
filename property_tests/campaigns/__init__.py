"""Campaigns: long differential searches, `muslin fuzz`."""

from __future__ import annotations

from property_tests.campaigns.differential import search
from property_tests.campaigns.live import Kernels, brought_up
from property_tests.campaigns.reproduction import as_scenario
from property_tests.campaigns.results import CampaignResult, Mismatch, Reading
from property_tests.campaigns.witnesses import Kernel

__all__ = ["CampaignResult", "Kernel", "Kernels", "Mismatch", "Reading", "as_scenario", "brought_up", "search"]
