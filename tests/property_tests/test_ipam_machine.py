"""IPAM never hands out an address twice, whatever is asked of it."""

from hypothesis import settings

from property_tests.machines.ipam import AddressMachine

TestAddresses = AddressMachine.TestCase
TestAddresses.settings = settings(stateful_step_count=30)
