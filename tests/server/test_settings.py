from __future__ import annotations

import pytest

from whodid.errors import ConfigError
from whodid.server.settings import Settings, is_loopback_address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost"])
def test_an_address_of_this_machine_alone_needs_no_key(host: str) -> None:
    Settings(host=host).check(has_key=False)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "audit.example.com", "::ffff:192.0.2.1"]
)
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    settings = Settings(host=host)

    settings.check(has_key=True)
    with pytest.raises(ConfigError, match="whodid keys create"):
        settings.check(has_key=False)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.0.0.1.example.com", "0.0.0.0", "testclient"]
)
def test_what_is_no_loopback_address_is_not_taken_for_one(text: str) -> None:
    assert not is_loopback_address(text)


def test_an_ipv4_address_written_as_ipv6_is_the_same_address() -> None:
    assert is_loopback_address("::ffff:127.0.0.1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"port": 65_536},
        {"port": -1},
        {"max_body_bytes": 0},
        {"read_threads": 0},
        {"body_timeout_s": -1.0},
        {"key_memory_s": -1.0},
    ],
)
def test_a_setting_out_of_its_bounds_is_refused_by_name(wrong: dict[str, object]) -> None:
    [name] = wrong

    with pytest.raises(ConfigError, match=f"^{name}: "):
        Settings(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_nothing_need_be_remembered() -> None:
    settings = Settings(key_memory_s=0, health_memory_s=0, reading_memory_s=0)

    assert settings.key_memory_s == 0
