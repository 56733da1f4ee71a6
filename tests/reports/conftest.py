"""Results made by hand: small ones, and one with everything in it that a report may meet."""

from __future__ import annotations

import msgspec
import pytest

from reports.results import Blame, Check, Observation, RunResult, ScenarioResult

EVIL = "<script>alert('x')</script>"


class Results:
    """Builders of results; every argument replaces a field."""

    evil = EVIL

    @staticmethod
    def check(**fields):
        """A check that passed."""
        passed = Check(
            step=0,
            source="shop/web",
            destination="shop/db",
            protocol="TCP",
            port=5432,
            family=4,
            expected=True,
            oracle=True,
            kernel="allowed",
            status="passed",
            seq=7,
            evidence="connected",
            oracle_reason="allowed by rule 0 of np:shop/db in tier default",
        )
        return msgspec.structs.replace(passed, **fields)

    @classmethod
    def mismatch(cls, **fields):
        """A check in which the scenario hoped for what neither oracle nor kernel do."""
        blame = Blame(
            policy="np:shop/db", rule=1, tier="default", end="ingress of shop/db", action="deny",
            file="shop.yaml", line=19, text="- action: Deny\n  source: {selector: app == 'web'}",
        )  # fmt: skip
        failed = {
            "oracle": False,
            "kernel": "denied",
            "status": "failed",
            "evidence": "dropped on node-1",
            "oracle_reason": "denied by rule 1 of np:shop/db in tier default",
            "blame": (blame,),
            "oracle_trace": "the oracle's walk",
            "kernel_trace": "the kernel's way",
        }
        return cls.check(**{**failed, **fields})

    @classmethod
    def unknown(cls, **fields):
        """A check without evidence."""
        return cls.check(**{"kernel": "unknown", "status": "unknown", "evidence": "no evidence in 3 s", **fields})

    @staticmethod
    def observation(**fields):
        """An observation that passed."""
        seen = Observation(step=1, title="encrypted on the fabric", status="passed", detail="12 WireGuard frames")
        return msgspec.structs.replace(seen, **fields)

    @staticmethod
    def scenario(*checks, **fields):
        """A scenario with these checks; its status follows from them unless it is given."""
        statuses = {check.status for check in (*checks, *fields.get("observations", ()))}
        status = "failed" if "failed" in statuses else "unknown" if "unknown" in statuses else "passed"
        ends = dict.fromkeys(name for check in checks for name in (check.source, check.destination))
        plain = ScenarioResult(
            name="a-lesson", title="A lesson", file="a-lesson.yaml", dataplane="nftables", topology="subnets",
            nodes=2, encryption="", status=status, seconds=1.5, seq=9, endpoints=tuple(ends), checks=checks,
        )  # fmt: skip
        return msgspec.structs.replace(plain, **fields)

    @staticmethod
    def run(*scenarios, **fields):
        """A run of these scenarios."""
        plain = RunResult(
            version="1.2.3", started=1_700_000_000.0, seconds=3.0, kernel="6.1.0", python="3.11.2", user="root",
            command="muslin verify a-lesson.yaml", scenarios=scenarios,
        )  # fmt: skip
        return msgspec.structs.replace(plain, **fields)

    @classmethod
    def everything(cls):
        """A run with every status, both families, several steps, and hostile names."""
        hostile = Blame(
            policy=f"np:{EVIL}", rule=-1, tier=EVIL, end=EVIL, action="deny", file=f"{EVIL}.yaml", line=3, text=EVIL
        )
        checks = (
            cls.check(),
            cls.check(family=6),
            cls.mismatch(step=1),
            cls.unknown(step=1, source="internet"),
            cls.mismatch(
                step=2, source=EVIL, destination=EVIL, evidence=EVIL, oracle_reason=EVIL, blame=(hostile,),
                oracle_trace=EVIL, kernel_trace=EVIL,
            ),
        )  # fmt: skip
        first = cls.scenario(
            *checks, title=EVIL, lesson=EVIL, steps=("look", EVIL), error=EVIL, fault="run", observations=(
                cls.observation(), cls.observation(status="failed", title=EVIL, detail=EVIL),
                cls.observation(status="unknown"),
            ),
        )  # fmt: skip
        second = cls.scenario(cls.check(protocol="ICMP", port=0), name="b", title="Another", encryption="wireguard")
        broken = cls.scenario(
            name="c", title="Cut short", status="unknown", error="no /dev/net/tun", fault="environment"
        )
        return cls.run(first, second, broken, command=f"muslin verify {EVIL}")


@pytest.fixture
def results() -> type[Results]:
    """The builders."""
    return Results
