"""Which Postfix holds the port, however its master.cf spells it, and whose turn it is."""

import pytest

from tests.document.test_master_cf import MASTER_CF, REST, install

SECOND = """
cp -a /etc/postfix /etc/postfix-mx
mkdir -p /var/spool/postfix-mx /var/lib/postfix-mx && chown postfix /var/lib/postfix-mx
postfix stop
sed -i 's/^smtp .*inet.*smtpd/10025 inet n - y - - smtpd/' /etc/postfix/master.cf
postconf -e alternate_config_directories=/etc/postfix-mx
postconf -c /etc/postfix-mx -e queue_directory=/var/spool/postfix-mx data_directory=/var/lib/postfix-mx
postfix -c /etc/postfix-mx check || true
"""


def sh(machine, text):
    machine.run(["sh", "-ec", text]).check_returncode()


def test_the_name_of_the_host_is_one_of_its_addresses(ask, machine, dial, header):
    before = f"{machine.name}.internal:smtp inet n - y - - smtpd\n" + REST
    install(machine, before)
    assert ask("expect").said == ("ok", {"25": "proxy"})
    assert dial(header=header()).line().startswith("220")
    assert ask("expect", "none").said == ("ok", {"25": "plain"})
    assert machine.read(MASTER_CF).decode() == before


@pytest.mark.parametrize("spelt", ["[::]:smtp", "[ADDRESS]:smtp"])
def test_a_host_of_ipv6_only_is_found_by_its_wildcard_and_by_its_address(ask, machine, dial, spelt):
    machine.run(["ip", "-4", "addr", "flush", "dev", "eth0"])
    sh(machine, "postconf -e inet_protocols=ipv6; postfix stop")
    service = f"{spelt.replace('ADDRESS', machine.address_6)} inet n - y - - smtpd\n"
    machine.write(MASTER_CF, (service + REST).encode())
    machine.start_postfix()
    assert ask("expect").said == ("ok", {"25": "proxy"})
    sent = f"PROXY TCP6 2001:db8::9 {machine.address_6} 4321 25"
    assert dial(header=sent, host=machine.address_6).line().startswith("220")
    assert ask("expect", "none").said == ("ok", {"25": "plain"})


def test_the_port_of_a_second_postfix_is_configured_in_its_own_directory(ask, machine, dial, header):
    sh(machine, SECOND)
    machine.start_postfix()
    sh(machine, "postfix -c /etc/postfix-mx start")
    first = machine.read(MASTER_CF)
    assert ask("expect").said == ("ok", {"25": "proxy"})
    assert dial(header=header()).line().startswith("220")
    assert machine.read(MASTER_CF) == first
    assert ask("expect", "25 10025").verdict["reason"] == "the ports belong to several Postfix instances"
    assert ask("expect", "none").said == ("ok", {"25": "plain"})


def test_a_file_that_does_not_parse_is_named(ask, machine):
    master, before = machine.read(MASTER_CF), machine.read("/etc/postfix/main.cf")
    machine.write(MASTER_CF, master + b"foo bar\n")
    assert ask("look").verdict["reason"] == "master.cf does not parse"
    machine.write(MASTER_CF, master)
    machine.write("/etc/postfix/main.cf", before + b"garbage line\n")
    assert ask("look").verdict["reason"] == "main.cf does not parse"


@pytest.mark.parametrize("verb", ["look", "expect"])
def test_a_port_that_there_is_not_is_refused_before_anything_is_done(ask, machine, verb):
    before = machine.read(MASTER_CF)
    answer = ask(verb, "99999")
    assert (answer.verdict["class"], answer.verdict["detail"]) == ("refused", "99999")
    assert machine.read(MASTER_CF) == before
