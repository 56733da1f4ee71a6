"""The eBPF programs and the second reading of node programs: every packet, the same fate for the same reason."""

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parent))
from test_blocks import short_blocks

from emulator.dataplane.ebpf.bench import in_words_of_the_kernel, lacking
from emulator.dataplane.ebpf.trial import Trial
from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import clusters
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built
from reference.errors import InvalidInputError
from reference.program.compile import Compiler
from reference.program.interpret import decide

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
PACKETS = 40


@pytest.mark.parametrize("layout", [nullcontext, short_blocks], ids=["as people write", "in blocks of two"])
def test_agreement(layout):
    """In whatever cluster, the programs allow and deny what the second reading does, by the same rules."""
    counted = {"packets": 0, "guarded": 0}

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(clusters())
    def agree(resources):
        try:
            state = built(resources)
        except InvalidInputError:
            return
        about = interest(state)
        programs = Compiler().compile(state)
        trial.bring(state, programs)
        counted["guarded"] += any(program.host_endpoints for program in programs.values())
        if not has_pods(about):
            return
        choices = Seeded(str(state.seq))
        asked = [packet(choices, about) for _ in range(PACKETS)]
        for one, fate in zip(asked, trial.fates(asked), strict=True):
            counted["packets"] += fate is not None
            assert fate in (None, in_words_of_the_kernel(decide(programs, state, one))), one

    with layout(), Trial() as trial:
        agree()
    assert counted["packets"] > 2000
    assert counted["guarded"] > 5
