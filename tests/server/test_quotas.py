from __future__ import annotations

import pytest

from tests.server.conftest import MakeClient, MakeKey, plain
from whodid.server.quotas import Quotas
from whodid.server.settings import Settings


def test_without_a_limit_nobody_waits() -> None:
    quotas = Quotas(Settings())

    quotas.take("key", "k", events=10**9, size=10**12, now=0)

    assert quotas.wait_s("key", "k", now=0) == 0
    assert quotas.spent_tenants(now=0) == {}


def test_a_minutes_worth_may_come_at_once_and_then_one_waits() -> None:
    quotas = Quotas(Settings(key_events_per_minute=60))

    quotas.take("key", "k", events=59, size=1, now=0)
    before = quotas.wait_s("key", "k", now=0)
    quotas.take("key", "k", events=1, size=1, now=0)

    assert before == 0
    assert quotas.wait_s("key", "k", now=0) == pytest.approx(1)
    assert quotas.wait_s("key", "k", now=1) == 0
    assert quotas.wait_s("key", "other", now=0) == 0


def test_what_was_overdrawn_is_waited_for() -> None:
    quotas = Quotas(Settings(key_events_per_minute=60))

    quotas.take("key", "k", events=90, size=1, now=0)

    assert quotas.wait_s("key", "k", now=0) == pytest.approx(31)
    assert quotas.wait_s("key", "k", now=30) > 0
    assert quotas.wait_s("key", "k", now=31.1) == 0


def test_bytes_have_a_quota_of_their_own() -> None:
    quotas = Quotas(Settings(tenant_bytes_per_minute=6_000, tenant_events_per_minute=1_000))

    quotas.take("tenant", "t", events=1, size=12_000, now=0)

    assert quotas.wait_s("tenant", "t", now=0) == pytest.approx(60, abs=1.1)
    assert quotas.spent_tenants(now=0) == {"t": pytest.approx(60, abs=1.1)}
    assert quotas.spent_tenants(now=61) == {}


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_away() -> None:
    quotas = Quotas(Settings(key_events_per_minute=60))
    quotas.take("key", "k", events=120, size=1, now=100)

    assert quotas.wait_s("key", "k", now=50) == pytest.approx(60, abs=1.1)


def test_a_key_that_sent_its_share_is_told_when_to_come_back(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    client = make_client(Settings(key_events_per_minute=2))
    key, other = make_key("acme"), make_key("acme")

    answers = [client.post("/v1/events", json=plain(), headers=key) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 30
    assert answers[-1].json()["type"] == "urn:whodid:problem:quota"
    assert client.post("/v1/events", json=plain(), headers=other).status_code == 201


def test_a_tenants_quota_holds_for_all_keys_and_for_keys_of_all_tenants(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    client = make_client(Settings(tenant_events_per_minute=2))
    bound, free = make_key("acme"), make_key("*")
    acme, beta = plain(tenant={"id": "acme"}), plain(tenant={"id": "beta"})

    client.post("/v1/events", json={"events": [acme, acme]}, headers=free)

    assert client.post("/v1/events", json=plain(), headers=bound).status_code == 429
    assert client.post("/v1/events", json={"events": [beta, acme]}, headers=free).status_code == 429
    assert client.post("/v1/events", json=beta, headers=free).status_code == 201


def test_doubles_use_up_no_events(make_client: MakeClient, make_key: MakeKey) -> None:
    client, key = make_client(Settings(key_events_per_minute=2)), make_key()
    event = plain(idempotency_key="same")

    answers = [client.post("/v1/events", json=event, headers=key) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200]


def test_metrics_count_by_key_and_by_tenant(make_client: MakeClient, make_key: MakeKey) -> None:
    client = make_client(Settings(key_events_per_minute=2))
    key, manager = make_key("acme"), make_key(scopes=["manage"])
    for _ in range(3):
        client.post("/v1/events", json=plain(), headers=key)

    answer = client.get("/metrics", headers=manager)

    assert answer.headers["content-type"].startswith("text/plain")
    assert 'whodid_ingest_events_total{name="acme",owner="tenant"} 2.0' in answer.text
    assert 'owner="key"} 1.0' in answer.text
    assert "whodid_ingest_held_bytes 0.0" in answer.text


def test_metrics_name_tenants_so_they_need_the_scope_for_it(
    make_client: MakeClient, make_key: MakeKey
) -> None:
    client = make_client()

    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", headers=make_key()).status_code == 403
    of_one_tenant = make_key("acme", scopes=["manage"])
    assert client.get("/metrics", headers=of_one_tenant).status_code == 403
    assert client.get("/metrics").status_code == 401
