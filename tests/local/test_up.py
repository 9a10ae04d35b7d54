"""`make up` serves any AWS client, carries mail from this machine's own loopback, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from local import stream, up
from local.balancers import Loopback
from local.bus import Rule
from local.machine import await_until
from local.region import Record
from local.strict import Call, ssm
from tests.processes import Spaces, began, family

AWS = shutil.which("aws", path=Path(sys.executable).parent)
LISTENER = "Protocol=TCP,LoadBalancerPort=25,InstanceProtocol=TCP,InstancePort=25"
SERVE = "import sys; from local import up; sys.exit(up.main(sys.argv[1:]))"
UP = [sys.executable, "-c", SERVE]
WITHOUT_ROOT = [*UP[:2], "from local import up; up.obstacle = lambda: 'network namespaces need root'; " + SERVE]
MAKE = ["make", "-s", "-o", ".venv/.done", "up"]


class Up:
    """A running `make up`, the lines that it says, and whatever it is made of."""

    def __init__(self, folder, *argv):
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment | {"TMPDIR": str(folder)},
            start_new_session=True,
        )
        self.lines, self.seen, self.spaces = [], {}, Spaces()
        self._reading = Thread(target=self._read)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode())

    def await_line(self, pattern, timeout=60):
        """The match in the first line that has one."""

        def found():
            self.look()
            return next((match for line in list(self.lines) if (match := re.search(pattern, line))), None)

        try:
            return await_until(found, pattern, timeout)
        except TimeoutError:
            pytest.fail(f"no line with {pattern} in\n{''.join(self.lines)}")

    def look(self):
        """Notes its processes, by number and start, and holds the namespaces that they live in."""
        for pid in family(self.process.pid):
            if moment := began(pid):
                self.seen[pid] = moment
                self.spaces.hold(pid)

    def end(self, number, the_whole_group=False):
        """Sends a signal, as `kill` does or as a terminal does, and waits for the end."""
        self.look()
        os.killpg(self.process.pid, number) if the_whole_group else self.process.send_signal(number)
        self.process.wait(60)
        self._reading.join(60)

    def left(self):
        """What is still there of it a moment later: processes, namespaces, files."""
        nothing = [], [], []
        with suppress(TimeoutError):  # init takes a moment to reap what was orphaned
            await_until(lambda: self._left() == nothing, "nothing to be left", 3)
        return self._left()

    def _left(self):
        alive = [pid for pid, moment in self.seen.items() if began(pid) == moment]
        return alive, self.spaces.inhabitants(), os.listdir(self.folder)

    @property
    def environment(self):
        """What the lines for the shell say, and no more."""
        said = [re.fullmatch(r"export (\w+)=(\S+)\n", line) for line in self.lines]
        return {match[1]: match[2] for match in said if match}


def mounts():
    return sorted(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines())


@pytest.fixture
def serving(tmp_path):
    begun = []

    def start(*argv):
        begun.append(Up(tmp_path, *argv))
        return begun[-1]

    yield start
    for each in begun:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)
        each.spaces.close()


def cli(serving, *words):
    """The stock AWS CLI, with nothing but the lines that were printed."""
    environment = {"PATH": os.defpath, "HOME": str(serving.folder / "home"), **serving.environment}
    argv, options = [AWS, *words, "--output", "json"], {"capture_output": True, "text": True, "timeout": 60}
    said = subprocess.run(argv, env=environment, check=True, **options).stdout
    return json.loads(said) if said.strip() else None


def create_balancer(serving, name, *more):
    zone = ["--availability-zones", "us-east-1a"]
    cli(serving, "elb", "create-load-balancer", "--load-balancer-name", name, "--listeners", LISTENER, *zone, *more)


def create_tagged(serving):
    create_balancer(serving, "mx-1", "--tags", "Key=smtp-proxy-protocol,Value=enabled")
    serving.await_line("does +elb:SetLoadBalancerPoliciesForBackendServer LoadBalancerName=mx-1")


def create_group(serving, name, balancer):
    content = "ImageId=ami-12c6146b,InstanceType=t3.micro"
    template = ["--launch-template-name", name, "--launch-template-data", content]
    cli(serving, "ec2", "create-launch-template", *template)
    size = ["--min-size", "0", "--max-size", "4", "--desired-capacity", "0", "--availability-zones", "us-east-1a"]
    behind = ["--launch-template", f"LaunchTemplateName={name}", "--load-balancer-names", balancer]
    cli(serving, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", name, *size, *behind)


def scale(serving, group, size):
    what = ["--auto-scaling-group-name", group, "--desired-capacity", str(size)]
    cli(serving, "autoscaling", "set-desired-capacity", *what)


def send_mail(address, port):
    """One mail from 127.0.0.9 of this machine's own loopback."""
    with smtplib.SMTP(address, port, timeout=30, source_address=("127.0.0.9", 0)) as smtp:
        smtp.sendmail("a@example.org", ["postmaster@example.net"], "Subject: hello\r\n\r\nHello.\r\n")


@pytest.mark.timeout(180)
def test_the_stock_cli_sees_the_main_job_done_and_its_mail_shows_the_client(serving):
    before, names = mounts(), os.listdir("/run")
    running = serving(*MAKE, "SETTLE=1", "CHECK=0.05")
    running.await_line("Ctrl-C")
    assert list(running.environment) == [
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
    ]
    (running.folder / "home").mkdir()
    create_balancer(running, "plain-1")
    create_group(running, "plain", "plain-1")
    scale(running, "plain", 1)
    create_tagged(running)
    create_group(running, "mail", "mx-1")
    running.await_line("does +autoscaling:PutLifecycleHook .*AutoScalingGroupName=mail")
    scale(running, "mail", 1)
    doors = {
        name: running.await_line(rf"balancer {name} at (127\.77\.\d+\.\d+):(\d+) {how} the header to i-")
        for name, how in (("plain-1", "without"), ("mx-1", "with"))
    }

    [mx] = cli(running, "elb", "describe-load-balancers", "--load-balancer-names", "mx-1")["LoadBalancerDescriptions"]
    assert mx["BackendServerDescriptions"] == [{"InstancePort": 25, "PolicyNames": ["EnableProxyProtocol"]}]
    members = cli(running, "autoscaling", "describe-auto-scaling-instances")["AutoScalingInstances"]
    assert {m["AutoScalingGroupName"]: m["LifecycleState"] for m in members} == {
        "plain": "InService",
        "mail": "InService",
    }
    [invocation] = cli(running, "ssm", "list-command-invocations", "--details")["CommandInvocations"]
    assert (invocation["Status"], invocation["DocumentName"]) == ("Success", "smtp-fleet-ConfigurePostfixDocument")
    assert [i["InstanceId"] for i in mx["Instances"]] == [invocation["InstanceId"]]

    for address, port in (door.groups() for door in doors.values()):
        await_until(lambda at=(address, int(port)): answers(at), "the balancer to see its server up", 15)
        send_mail(address, int(port))
    running.await_line(r"mail +ip-\S+ postfix/\S+: \w+: client=\S+\[10\.77\.0\.5\]")
    running.await_line(r"mail +ip-\S+ postfix/\S+: \w+: client=\S+\[127\.0\.0\.9\]")
    for told in (
        r"operator autoscaling:CreateAutoScalingGroup AutoScalingGroupName=mail",
        r"event    CreateLoadBalancer → LoadBalancerRule",
        r"event    Scheduled Event → SweepRule",
        r"decides  .*load_balancers=\[\"mx-1\"\]",
        r"asks     i-\w+: smtp-fleet expect ports=25",
        r"verdict  i-\w+: ok 25=proxy",
    ):
        running.await_line(told)
    assert not [line for line in running.lines if " broken " in line or "\x1b" in line]

    scale(running, "mail", 0)
    running.await_line(r"machine  i-\w+ is gone")
    assert len(running.seen) > 10  # functions, machines, Postfix and HAProxy were there indeed
    assert len(running.spaces) > 5
    running.end(signal.SIGINT, the_whole_group=True)
    assert "stopped; nothing is left behind\n" in running.lines
    shutil.rmtree(running.folder / "home")
    assert running.left() == ([], [], [])
    assert (mounts(), os.listdir("/run")) == (before, names)
    assert not answers(("127.77.0.6", int(doors["mx-1"][2]))) or doors["mx-1"][1] != "127.77.0.6"


def answers(address):
    """Whether Postfix can be reached there; a balancer without a server hangs up at once."""
    try:
        with socket.create_connection(address, 10, source_address=("127.0.0.9", 0)) as connection:
            return connection.recv(100).startswith(b"220")
    except OSError:
        return False


def test_without_root_stand_ins_answer_and_it_says_once_what_helps(serving):
    running = serving(*WITHOUT_ROOT, "--settle", "1")
    running.await_line("Ctrl-C")
    (running.folder / "home").mkdir()
    create_tagged(running)
    create_group(running, "mail", "mx-1")
    running.await_line("does +autoscaling:PutLifecycleHook .*AutoScalingGroupName=mail")
    scale(running, "mail", 1)
    running.await_line("decides +admitted")
    [member] = cli(running, "autoscaling", "describe-auto-scaling-instances")["AutoScalingInstances"]
    assert member["LifecycleState"] == "InService"
    running.end(signal.SIGTERM)
    assert running.process.returncode == 0
    said = [line for line in running.lines if line.startswith("# stand-ins")]
    assert said == [
        "# stand-ins answer for the instances, without mail: network namespaces need root. With mail: sudo make up\n"
    ]
    assert not [line for line in running.lines if "127.77" in line or "Traceback" in line], "".join(running.lines)
    shutil.rmtree(running.folder / "home")
    assert running.left() == ([], [], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_while_it_starts_leaves_nothing_either(serving, number):
    running = serving(*UP)
    await_until(lambda: len(family(running.process.pid)) > 1, "a first program of its own", 30)
    running.end(number)
    assert running.process.returncode == 0
    assert running.left() == ([], [], [])


def test_two_at_once_have_addresses_of_their_own():
    with socket.socket() as taken:
        one, two = Loopback(), Loopback()
        doors = one.door(5, 25), two.door(5, 25)
        one.close()
        three = Loopback()
        again = three.door(5, 25)
        assert doors[0] != doors[1]
        assert again[0] == doors[0][0]
        taken.bind((again[0], 2525))
        taken.listen()
        assert three.door(5, 2525) == (again[0], 12525)  # a program of this machine has that port
        two.close()
        three.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--settle", "soon"], "expected whole seconds from 1 to 3600, not 'soon'"),
        (["--check", "0"], "expected minutes from 0.01 to 60, not '0'"),
    ],
)
def test_a_number_that_means_nothing_is_refused(capsys, arguments, complaint):
    with pytest.raises(SystemExit) as ended:
        up.main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("schedule", "seconds"), [("rate(5 minutes)", 300), ("rate(1 hour)", 3600), ("rate(0.05 minutes)", 3)]
)
def test_the_period_of_a_schedule(schedule, seconds):
    assert up.period(Rule("Sweep", None, schedule, ())) == pytest.approx(seconds)


def test_a_schedule_that_is_not_understood_is_an_error():
    with pytest.raises(NotImplementedError, match="cron"):
        up.period(Rule("Sweep", None, "cron(0 12 * * ? *)", ()))


def line_of(kind, who, what):
    return list(stream.lines(Record(0.0, kind, who, what), {"Mind": None}))


def test_the_stream_leaves_out_what_says_nothing():
    look = Call("elb", "DescribeTags", {}, None, "", "", "")
    assert line_of("call", "aws", look) == []
    assert line_of("call", "Mind", look) == []
    assert line_of("call", "operator", look) == [("operator", "elb:DescribeTags ")]
    assert line_of("event", "aws", ({"detail-type": "x", "detail": {}}, ())) == []
    assert line_of("log", "Mind", {"_aws": {}}) == []
    assert line_of("invocation", "Mind", {"records": 2, "failed": 0, "error": None}) == []


def test_the_stream_tells_what_went_wrong():
    refused = Call("elb", "AddTags", {"Key": "a"}, "AccessDenied", "", "", "")
    assert line_of("call", "Mind", refused) == [("does", "elb:AddTags Key=a ✗ AccessDenied")]
    assert line_of("log", "Mind", {"level": "ERROR", "message": "broken", "error": "x"}) == [
        ("broken", "broken error=x")
    ]
    [(label, text)] = line_of("invocation", "Mind", {"records": 2, "failed": 1, "error": None})
    assert (label, text) == ("broken", "Mind: 1 of 2 messages left to the queue's retry")
    assert stream.verdict("i-1", ssm.Answer("TimedOut", "DeliveryTimedOut", -1))[1] == "i-1: TimedOut DeliveryTimedOut "


def test_a_line_cannot_write_elsewhere_on_the_screen(capsys):
    stream.show(up.out, 0, ("mail", "client=\x1b[2Jevil\nnext [bold]x[/bold]"))
    assert capsys.readouterr().out.endswith("mail     client=·[2Jevil next [bold]x[/bold]\n")
