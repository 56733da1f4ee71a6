"""Which WireGuard there is, and what is said when there is none."""

import pytest

from encryption import available as module
from encryption.available import available, require, why_not, why_not_userspace
from reference.errors import EnvironmentLacksError


@pytest.fixture(autouse=True)
def _forget():
    available.cache_clear()
    yield
    available.cache_clear()


def test_the_kernels_is_taken_first(monkeypatch):
    """Where the kernel has WireGuard, it is used, whatever else there is."""
    monkeypatch.setattr(module, "_kernel_has_it", lambda: True)
    monkeypatch.setattr(module, "why_not_userspace", lambda: "nothing")

    assert require() == available() == "kernel"
    assert why_not() == ""


def test_wireguard_go_is_the_fallback(monkeypatch):
    """Where the kernel has none and wireguard-go can run, that is used."""
    monkeypatch.setattr(module, "_kernel_has_it", lambda: False)
    monkeypatch.setattr(module, "why_not_userspace", lambda: "")

    assert require() == available() == "wireguard-go"
    assert why_not() == ""


def test_without_any_the_error_is_one_line_with_a_remedy(monkeypatch):
    """With no WireGuard at all, `require` says in one line what is missing and how to get it."""
    monkeypatch.setattr(module, "_kernel_has_it", lambda: False)
    monkeypatch.setattr(module, "why_not_userspace", lambda: why_not_userspace("no-such-program"))

    with pytest.raises(
        EnvironmentLacksError, match=r"kernel has none, and .* not installed \(apt-get install"
    ) as caught:
        require()
    assert "\n" not in str(caught.value)


def test_a_missing_or_forbidden_tun_device_is_named(tmp_path):
    """A TUN device that is not there, or may not be opened, is named, with what to do."""
    directory = tmp_path / "tun"
    directory.mkdir()

    assert "load the tun module" in why_not_userspace("sh", tmp_path / "absent")
    assert f"may not open {directory}" in why_not_userspace("sh", directory)
    (tmp_path / "fine").touch()
    assert why_not_userspace("sh", tmp_path / "fine") == ""


def test_asking_for_a_missing_unshare_is_no(monkeypatch):
    """Where the kernel cannot even be asked, it counts as having none."""
    monkeypatch.setenv("PATH", "")

    assert not module._kernel_has_it()
