"""What a cluster cannot be is said before anything is built; what it does otherwise than asked is said too."""

from __future__ import annotations

import pytest

from emulator.build import describe
from emulator.pools import unencapsulated
from emulator.spec import ClusterSpec
from reference.errors import InvalidInputError
from reference.resources import load


@pytest.mark.parametrize("dataplane", ["hns", "vpp"])
def test_dataplanes_that_would_leave_rules_out_are_refused(dataplane):
    """Traps 27 and 28 (WIN-2, 3.5): no dataplane that leaves out Deny rules or tiers can be asked for."""
    with pytest.raises(InvalidInputError, match=f"'{dataplane}' is not known; there "):
        describe(ClusterSpec(name="c", dataplane=dataplane))


@pytest.mark.parametrize(("field", "mode"), [("ipipMode", "Always"), ("vxlanMode", "CrossSubnet")])
def test_overlays_are_said_not_to_be_there(field, mode):
    """Trap 22 (2h.1): nobody programs routes through tunnels here; a pool that asks for them hears so."""
    pool = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "p"},
        "spec": {"cidr": "10.9.0.0/16", field: mode},
    }
    (note,) = unencapsulated(load(pool).resources)
    assert f"IPPool p: {field} {mode} is not emulated" in note


def test_pools_without_overlay_need_no_remark():
    """A pool that is routed as it asks gets no remark."""
    pool = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "p"},
        "spec": {"cidr": "10.9.0.0/16"},
    }
    assert list(unencapsulated(load(pool).resources)) == []
