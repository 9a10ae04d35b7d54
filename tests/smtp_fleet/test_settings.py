"""A bad setting names itself, its value and what was expected; all of them at once."""

import pytest

from smtp_fleet.settings import HandSettings, MindSettings, SettingsError, names, read

MIND = {
    "TAG_KEY": "smtp-proxy-protocol",
    "MAIL_PORTS": "25 587",
    "POLICY_NAME": "EnableProxyProtocol",
    "AUDIT": "false",
    "PAUSED": "false",
    "LIVE_CUTOVER": "at-once",
    "CUTOVER_BUDGET_SECONDS": "45",
    "SETTLE_SECONDS": "60",
    "CHECK_INTERVAL_SECONDS": "3600",
    "HOOK_TIMEOUT_SECONDS": "900",
    "AGENT_WAIT_SECONDS": "720",
    "GROUP_NAME_PATTERN": "*",
    "LEDGER_TABLE": "ledger",
    "WAKES_QUEUE_URL": "https://queue.example/wakes",
    "ASKS_QUEUE_URL": "https://queue.example/asks",
}


def test_good_settings_are_read():
    told = read(MindSettings, MIND)
    assert told.mail_ports == {25, 587}
    assert (told.settle, told.audit) == (60, False)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MAIL_PORTS", "25,587", "ports from 1 to 65535"),
        ("MAIL_PORTS", "", "ports from 1 to 65535"),
        ("SETTLE_SECONDS", "0", "whole seconds"),
        ("SETTLE_SECONDS", "1m", "whole seconds"),
        ("AUDIT", "yes", "true or false"),
        ("POLICY_NAME", "a policy", "text that matches"),
        ("LEDGER_TABLE", "", "a value"),
    ],
)
def test_a_bad_value_names_itself_and_what_was_expected(name, value, expected):
    with pytest.raises(SettingsError) as told:
        read(MindSettings, MIND | {name: value})
    assert f"{name}={value!r}: expected {expected}" in str(told.value)


def test_all_missing_settings_are_named_at_once():
    with pytest.raises(SettingsError) as told:
        read(HandSettings, {})
    assert all(f"{name}=None" in str(told.value) for name in names(HandSettings))


HAND = {
    "DOCUMENT_NAME": "configure-postfix",
    "FRONT_END": "keep",
    "LEDGER_TABLE": "ledger",
    "ASKS_QUEUE_URL": "https://queue.example/asks",
}


@pytest.mark.parametrize("networks", ["none", "10.0.0.0/8", "10.0.0.0/8 2001:db8::/32 192.0.2.7"])
def test_networks_are_read(networks):
    assert read(HandSettings, HAND | {"TRUSTED_CLIENTS": networks}).trusted_clients == networks


@pytest.mark.parametrize(
    "networks", ["", "1.2.3.4/8", "99.99.99.999", "10.0.0.0/8,10.1.0.0/16", " ".join(["::1"] * 17)]
)
def test_what_is_no_network_is_told(networks):
    """Postfix answers every recipient with 451 where one has host bits, so it must never get there."""
    with pytest.raises(SettingsError, match=r"^TRUSTED_CLIENTS=.*: expected none, or .*networks separated by spaces"):
        read(HandSettings, HAND | {"TRUSTED_CLIENTS": networks})
