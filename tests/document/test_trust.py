"""Behind the header anybody may claim any address: look refuses where that would hurt, with the reason."""

import pytest

MAIN_CF = "/etc/postfix/main.cf"
CLIENT, RECIPIENT = "smtpd_client_restrictions", "smtpd_recipient_restrictions"
WAKES = "restrictions that a trusted network kept asleep would wake; TrustedClients decides"
FORGED = "a restriction trusts an address that a client could forge"
RELAYS = "clients are relayed by their address; TrustedClients decides"


def settle(machine, *settings):
    for setting in settings:
        machine.run(["postconf", "-e", setting]).check_returncode()
    machine.run(["touch", "-d", "1 minute ago", MAIN_CF])
    machine.run(["postfix", "reload"]).check_returncode()
    machine.await_log("reload --")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["mynetworks=127.0.0.0/8 10.0.0.0/8", f"{RECIPIENT}=permit_mynetworks, reject_rbl_client x"], WAKES),
        (["mynetworks=$theirs", "theirs=10.0.0.0/8", f"{CLIENT}=permit_mynetworks, $more", "more=reject"], WAKES),
        ([f"{CLIENT}=check_client_access inline:{{{{127.0.0.1=OK}}}}"], FORGED),
        ([f"{RECIPIENT}=ours,reject", "smtpd_restriction_classes=ours", "ours=permit_inet_interfaces"], FORGED),
        ([f"{CLIENT}=check_client_access cidr:/etc/vpc"], FORGED),
    ],
)
def test_what_would_hurt_is_refused(ask, machine, settings, reason):
    machine.write("/etc/vpc", b"10.0.0.0/8 permit_auth_destination\n192.0.2.0/24 reject\n")
    settle(machine, *settings)
    before = machine.read(MAIN_CF)
    answer = ask("look")
    assert (answer.said, answer.verdict["reason"]) == (("refused", {"25": "plain"}), reason)
    if reason == FORGED:  # no setting of the stack makes that safe
        assert ask("expect", TrustedClients="10.0.0.0/8").verdict["reason"] == FORGED
        assert machine.read(MAIN_CF) == before
    else:
        assert ask("look", TrustedClients="10.0.0.0/8").said == ("ok", {"25": "plain"})


@pytest.mark.parametrize(
    "settings",
    [
        [f"{RECIPIENT}=permit_mynetworks, reject_unauth_destination, reject_rbl_client x"],
        ["mynetworks=10.0.0.0/8", f"{RECIPIENT}=permit_mynetworks, reject_unauth_destination"],
        ["mynetworks_style=host", f"{CLIENT}=permit_mynetworks, reject_unknown_client_hostname"],
        [
            f"{CLIENT}=check_client_access inline:{{{{127.0.0.1=REJECT}}}},"
            " check_client_access inline:{{192.0.2.9=OK}}"
        ],
    ],
)
def test_what_would_not_hurt_is_not_refused(ask, machine, settings):
    if settings[0].startswith("mynetworks_style"):
        machine.run(["postconf", "-X", "mynetworks"])
    settle(machine, *settings)
    assert ask("look").said == ("ok", {"25": "plain"})


@pytest.mark.parametrize(("recipient", "said"), [("b@other.example", "refused"), ("b@relayed.example", "ok")])
def test_clients_relayed_by_their_address_are_found_in_the_log(ask, machine, recipient, said):
    settle(machine, "mynetworks=10.0.0.0/8", "relay_domains=relayed.example")
    day = machine.run(["date", "+%b %e"]).stdout.strip()
    lines = (
        f"{day} 00:00:01 mx postfix/smtpd[7]: 4F26428491C: client=app.internal[10.1.2.3]\n"
        f"{day} 00:00:02 mx postfix/smtp[8]: 4F26428491C: to=<{recipient}>, relay=mx.example[192.0.2.1]:25, "
        "delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n"
    )
    machine.write("/var/log/mail.log", (machine.mail_log() + lines).encode())
    answer = ask("look")
    assert answer.said == (said, {"25": "plain"})
    if said == "refused":
        assert (answer.verdict["reason"], answer.verdict["detail"]) == (RELAYS, "10.1.2.3 to other.example")


@pytest.mark.parametrize("networks", ["1.2.3.4/8", "99.99.99.999/99", "10.0.0.0/8 dead"])
def test_a_network_that_postfix_cannot_read_is_refused_and_changes_nothing(ask, machine, networks):
    """With such a line in the map every recipient is answered 451."""
    before = {path: machine.read(path) for path in ("/etc/postfix/main.cf", "/etc/postfix/master.cf")}
    answer = ask("expect", TrustedClients=networks)
    assert answer.said == ("refused", {"25": "plain"})
    assert answer.verdict["reason"] == "TrustedClients has a word that is no network"
    assert {path: machine.read(path) for path in before} == before
