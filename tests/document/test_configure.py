"""What the document makes of a stock Postfix, and that it can take it back."""

import pytest

RELAY = r"""
exec 3<>/dev/tcp/127.0.0.1/25
hear() { while read -r -t 3 reply <&3 && [[ $reply == ???-* ]]; do :; done; }
hear
for line in "EHLO a" "MAIL FROM:<>" "RCPT TO:<a@other.example>"; do printf "%s\r\n" "$line" >&3 && hear; done
echo "$reply"
"""
FILES = ("/etc/postfix/main.cf", "/etc/postfix/master.cf")


def bytes_of(machine):
    return {path: machine.read(path) for path in FILES}


def facts_of(machine):
    return machine.run(["stat", "-c", "%n %i %y %z %a %u:%g", *FILES]).stdout


def reloads(machine):
    return machine.mail_log().count(": reload --")


def test_look_tells_plain_and_touches_nothing_of_postfix(ask, machine):
    before = facts_of(machine)
    assert ask("look").said == ("ok", {"25": "plain"})
    assert facts_of(machine) == before
    assert reloads(machine) == 0
    touched = {path for path in machine.changed_files() if not path.startswith(("/var/spool/", "/var/log/"))}
    assert {path.split("/")[1:4:2][0] for path in touched} == {"var"}
    assert all(path.startswith(("/var/lib/smtp-fleet/", "/var/lib/amazon/ssm/")) for path in touched)


def test_clients_get_their_own_address_back(ask, machine, dial, header):
    answer = ask("expect")
    assert answer.said == ("ok", {"25": "proxy"})
    assert answer.verdict["changed"] is True
    assert answer.verdict["postfix"] == "3.7.11"
    assert dial(header=header("203.0.113.9", 4321)).reply().startswith("220")  # the whole greeting, six seconds later
    assert "postscreen" in machine.await_log("CONNECT from [203.0.113.9]:4321 ")
    machine.await_log("connect from unknown[203.0.113.9]")


def test_a_plain_connection_is_deferred(ask, machine, dial):
    ask("expect")
    client = dial()
    assert client.reply().startswith("421 ")
    assert "haproxy read: time limit exceeded" in machine.mail_log()


def test_keep_serves_the_header_without_postscreen(ask, machine, dial, header):
    assert ask("expect", FrontEnd="keep").said == ("ok", {"25": "proxy"})
    assert dial(header=header()).reply().startswith("220 ")
    assert "postscreen" not in machine.await_log("connect from unknown[203.0.113.9]")


@pytest.mark.parametrize("front_end", ["postscreen", "keep"])
def test_letting_go_restores_every_byte(ask, machine, dial, front_end):
    before = bytes_of(machine)
    ask("expect", FrontEnd=front_end)
    assert bytes_of(machine)[FILES[1]] != before[FILES[1]]
    answer = ask("expect", "none")
    assert answer.said == ("ok", {"25": "plain"})
    assert bytes_of(machine) == before
    assert dial().reply().startswith("220 ")


def test_a_second_run_changes_nothing_and_still_proves(ask, machine):
    ask("expect")
    facts, count, size = facts_of(machine), reloads(machine), len(machine.mail_log())
    answer = ask("expect")
    assert answer.said == ("ok", {"25": "proxy"})
    assert answer.verdict["changed"] is False
    assert (facts_of(machine), reloads(machine)) == (facts, count)
    assert machine.mail_log()[size:].count("CONNECT from [198.18.") == 4


def test_an_older_epoch_is_refused_for_every_verb(ask, machine):
    ask("expect", epoch=2_000)
    before = facts_of(machine)
    for verb, ports in (("expect", "none"), ("look", "25"), ("expect", "25")):
        answer = ask(verb, ports, epoch=1_999)
        assert answer.said == ("older-epoch", {})
        assert answer.verdict["stored"] == 2_000
    assert facts_of(machine) == before
    assert ask("look", epoch=2_000).said == ("ok", {"25": "proxy"})


def test_a_look_fences_as_well(ask):
    ask("look", epoch=3_000)
    assert ask("expect", epoch=2_999).said == ("older-epoch", {})


@pytest.mark.parametrize("front_end", ["postscreen", "keep"])
@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
def test_local_clients_are_still_served(ask, machine, front_end, loopback):
    ask("expect", FrontEnd=front_end)
    said = machine.run(["bash", "-c", f"exec 3<>/dev/tcp/{loopback}/25; read -r -t 3 line <&3; echo $line"]).stdout
    assert said.startswith("220 ")


def test_local_clients_may_still_relay(ask, machine):
    ask("expect")
    assert machine.run(["bash", "-c", RELAY]).stdout.startswith("250 ")


@pytest.mark.parametrize("front_end", ["postscreen", "keep"])
@pytest.mark.parametrize("forged", ["127.0.0.1", "own"])
def test_a_forged_address_cannot_relay(ask, machine, dial, header, front_end, forged):
    machine.run(["postconf", "-e", "postscreen_greet_wait=1s"])
    ask("expect", FrontEnd=front_end)
    client = dial(header=header(machine.address if forged == "own" else forged))
    assert client.reply().startswith("220")
    client.say("EHLO forger.example")
    assert client.say("MAIL FROM:<a@forger.example>").startswith("250")
    assert client.say("RCPT TO:<postmaster@example.net>").startswith("250")
    assert client.say("RCPT TO:<b@other.example>")[:3] in {"454", "554"}


def test_the_guard_is_added_and_taken_back(ask, machine):
    def forbidden():
        return machine.run(["postconf", "-h", "smtpd_forbidden_commands"]).stdout.strip()

    before = forbidden()
    ask("expect")
    assert forbidden() == before + " PROXY"
    assert "regexp:" in before
    ask("expect", "none")
    assert forbidden() == before


@pytest.mark.parametrize("front_end", ["postscreen", "keep"])
def test_a_port_of_its_own_is_added_and_port_25_stays_plain(ask, machine, dial, header, front_end):
    before = bytes_of(machine)
    assert ask("look", "2525").said == ("ok", {"2525": "plain"})
    assert ask("expect", "2525", FrontEnd=front_end).said == ("ok", {"2525": "proxy"})
    assert dial(2525, header()).line().startswith("220")
    machine.await_log("[203.0.113.9]")
    assert dial(25).reply().startswith("220 ")
    assert ask("expect", "none").said == ("ok", {"2525": "plain"})
    assert bytes_of(machine) == before
    with pytest.raises(ConnectionRefusedError):
        dial(2525)


@pytest.mark.parametrize("front_end", ["postscreen", "keep"])
def test_a_port_of_its_own_does_to_mail_what_port_25_does(ask, machine, front_end):
    machine.run(["postconf", "-P", "smtp/inet/content_filter=scan:[127.0.0.1]:10024"]).check_returncode()
    machine.run(["touch", "-d", "1 minute ago", FILES[1]])
    machine.run(["postfix", "reload"])
    assert ask("expect", "2525", FrontEnd=front_end).said == ("ok", {"2525": "proxy"})
    service = "smtpd/pass" if front_end == "postscreen" else "2525/inet"
    options = machine.run(["postconf", "-P", service]).stdout
    assert f"{service}/content_filter = scan:[127.0.0.1]:10024" in options
    assert f"{service}/mynetworks =\n" in options


def test_two_ports_stand_side_by_side_and_one_can_go(ask, dial, header):
    assert ask("expect", "25 2525").said == ("ok", {"25": "proxy", "2525": "proxy"})
    for port in (25, 2525):
        assert dial(port, header()).line().startswith("220")
    assert ask("expect", "2525").said == ("ok", {"25": "plain", "2525": "proxy"})
    assert dial(25).reply().startswith("220 ")


def test_trusted_clients_stay_trusted_behind_the_header(ask, dial, header):
    ask("expect", FrontEnd="keep", TrustedClients="203.0.113.0/24 2001:db8::/32")
    client = dial(header=header("203.0.113.9"))
    client.reply()
    client.say("EHLO ours.example")
    client.say("MAIL FROM:<a@ours.example>")
    assert client.say("RCPT TO:<b@other.example>").startswith("250")


def test_a_stopped_postfix_is_a_broken_host(ask, machine):
    machine.run(["postfix", "stop"])
    assert ask("expect").said == ("broken", {})


def test_a_configuration_that_does_not_parse_is_a_broken_host(ask, machine):
    before = machine.read(FILES[0])
    machine.write(FILES[0], before + b"this is not a setting\n")
    assert ask("expect").said == ("broken", {})
    machine.write(FILES[0], before)
    machine.write(FILES[1], machine.read(FILES[1]) + b"smtp inet n\n")
    assert ask("expect").said == ("broken", {})
