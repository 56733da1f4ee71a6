"""Results as data: what was asked of the network, what the oracle said, what the kernel did, and where they differ.

Three values, never two: a check passes, fails, or is unknown (no evidence). Renderings (terminal, JUnit, JSON, HTML)
read these types and nothing else.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["passed", "failed", "unknown"]
Fault = Literal["", "input", "environment", "run"]
EXIT_CODES: dict[Status, int] = {"passed": 0, "failed": 1, "unknown": 1}
FAULT_CODES: dict[Fault, int] = {"input": 2, "environment": 3}  # when nothing worse happened


class Blame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a verdict came from: a rule and the manifest line it stands on."""

    policy: str  # "np:shop/web", or "" when no policy decided
    rule: int = -1
    tier: str = ""
    end: str = ""  # "ingress of shop/db"
    action: str = ""  # allow, deny
    file: str = ""  # as the user named it
    line: int = 0  # 1-based; 0 when the resource came from no file
    text: str = ""  # what stands there

    def __str__(self) -> str:
        where = f"rule {self.rule} of {self.policy}" if self.rule >= 0 else f"end of tier {self.tier} at {self.policy}"
        what = f"{self.end} {self.action}: " if self.end else ""
        return what + where + (f" ({self.place})" if self.file else "")

    @property
    def place(self) -> str:
        """File and line, as an editor takes them."""
        return f"{self.file}:{self.line}" if self.line else self.file


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One flow: expected by the scenario, predicted by the oracle, seen in the kernel."""

    step: int  # index of the step it belongs to
    source: str  # "shop/web", "node-1", "internet"
    destination: str
    protocol: str
    port: int
    family: int  # 4 or 6
    expected: bool | None  # None: "as the oracle says"
    oracle: bool
    kernel: Literal["allowed", "denied", "unreachable", "unknown"]
    status: Status
    seq: int  # the sequence number every node enforced
    evidence: str  # what the kernel showed
    oracle_reason: str  # the one line that decided
    blame: tuple[Blame, ...] = ()  # the rules that decided in the oracle, with their lines; only when not passed
    kernel_blame: str = ""  # the rule the kernel named when it dropped
    oracle_trace: str = ""  # the whole walk; only when not passed
    kernel_trace: str = ""  # the packet's way through the kernel; only when not passed

    @property
    def flow(self) -> str:
        """The flow in one line."""
        return f"{self.source} -> {self.destination} {self.port}/{self.protocol} (IPv{self.family})"


class Observation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A check that is no flow: encryption on the wire, a packet count, an expected refusal."""

    step: int
    title: str
    status: Status
    detail: str


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One scenario's run."""

    name: str
    title: str
    lesson: str = ""
    file: str
    dataplane: str
    topology: str
    nodes: int
    nodes_on: tuple[str, ...] = ()  # the dataplane of each node, where they have several
    encryption: str
    status: Status
    seconds: float
    seq: int  # the log's last sequence number
    endpoints: tuple[str, ...] = ()  # sources and destinations, in matrix order
    steps: tuple[str, ...] = ()  # a line per step
    checks: tuple[Check, ...] = ()
    observations: tuple[Observation, ...] = ()
    error: str = ""  # why the run could not be finished; status is then unknown
    fault: Fault = ""  # whose fault that is

    @property
    def plain_name(self) -> str:
        """The scenario's own name, when it was run on several dataplanes: `default-deny [ebpf]` is `default-deny`."""
        return self.name.removesuffix(f" [{self.dataplane}]")

    @property
    def enforced_by(self) -> str:
        """The dataplane, and those of the nodes where they have several: `mixed: ebpf+nftables`."""
        nodes = "+".join(self.nodes_on)
        return f"{self.dataplane}: {nodes}" if nodes and nodes != self.dataplane else self.dataplane

    @property
    def mismatches(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.status != "passed")

    def count(self, status: Status) -> int:
        """How many checks and observations came out like that."""
        checks = sum(check.status == status for check in self.checks)
        return checks + sum(observation.status == status for observation in self.observations)

    @property
    def exit_code(self) -> int:
        """0 passed; 1 a mismatch, or no evidence; 2 the scenario is at fault; 3 the machine lacks something."""
        if self.status == "unknown" and not self.count("unknown"):
            return FAULT_CODES.get(self.fault, EXIT_CODES[self.status])
        return EXIT_CODES[self.status]


class RunResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole `muslin verify`."""

    version: str
    started: float  # seconds since the epoch
    seconds: float
    kernel: str
    python: str
    user: str  # "root" or "unprivileged"
    command: str
    scenarios: tuple[ScenarioResult, ...]
    left_out: dict[str, str] = {}  # dataplanes this machine or user cannot run, and what is lacking

    @property
    def status(self) -> Status:
        """Failed if any scenario failed, else unknown if any is, else passed; unknown when no dataplane could run."""
        statuses = {scenario.status for scenario in self.scenarios}
        if not statuses and self.left_out:
            return "unknown"
        return "failed" if "failed" in statuses else "unknown" if "unknown" in statuses else "passed"

    @property
    def exit_code(self) -> int:
        """What the command line exits with: a mismatch counts before bad input, and that before a lack."""
        codes = {scenario.exit_code for scenario in self.scenarios}
        if not codes and self.left_out:
            return FAULT_CODES["environment"]
        return next((code for code in (1, 2, 3) if code in codes), 0)

    @property
    def checked(self) -> int:
        """How many checks and observations there are."""
        return sum(len(scenario.checks) + len(scenario.observations) for scenario in self.scenarios)

    def count(self, status: Status) -> int:
        """How many of them came out like that."""
        return sum(scenario.count(status) for scenario in self.scenarios)


def summary(result: RunResult | ScenarioResult) -> str:
    """How much was checked, and how much of it did not pass: `468 checks, 1 mismatch, 2 without evidence`."""
    scenarios = result.scenarios if isinstance(result, RunResult) else (result,)
    checked = sum(len(scenario.checks) + len(scenario.observations) for scenario in scenarios)
    failed, unknown = result.count("failed"), result.count("unknown")
    parts = [plural(checked, "check"), plural(failed, "mismatch", "mismatches")]
    return ", ".join([*parts, f"{unknown} without evidence"] if unknown else parts)


def plural(number: int, one: str, many: str = "") -> str:
    """`1 check`, `2 checks`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
