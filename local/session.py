"""`make session` and `make screenshots`: what an operator sees, from a real run of the console on the local Region.

The same story gives the text in docs/session.md and the pictures in the README; the test suite plays it, too.
"""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from local.instances import Instances, StandIns, obstacle
from local.region import OPERATOR, SECRET, Region
from local.story import TAG, Story

COLUMNS = 120
PARAMETERS = {"SettleSeconds": "3", "HookTimeoutSeconds": "300"}
TRUST = "permit_mynetworks permit_inet_interfaces defer_unauth_destination"
FORGEABLE, EXPECTS = "a restriction trusts an address that a client could forge", "it expects the header"
"""What an instance says to a look where Postfix trusts by address, and to an ask, in the words of the document."""


@dataclass(frozen=True)
class Shown:
    """A line that was typed, what a terminal then showed, and the exit code."""

    typed: str
    text: Text
    code: int


class Session:
    """An operator at a terminal: types commands of the console, which run as programs against the Region."""

    def __init__(self, region: Region) -> None:
        keys = {"AWS_ACCESS_KEY_ID": OPERATOR, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": region.endpoint}
        where = {"AWS_DEFAULT_REGION": region.template.region, "PYTHONPATH": "layers/smtp_fleet", "TERM": "xterm"}
        self.environment = keys | where | {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def type(self, command: str) -> Shown:
        """Run `python -m console COMMAND` in a terminal of its own; raises RuntimeError where it could not tell."""
        argv = [sys.executable, "-m", "console", *command.split()]
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, COLUMNS))
        with subprocess.Popen(
            argv, env=self.environment, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True
        ) as program:
            os.close(theirs)
            shown = "".join(_until_closed(ours))
            complaint = program.stderr.read() if program.stderr else ""
        if program.returncode == 1 or complaint:
            raise RuntimeError(f"{command}: {complaint}")
        return Shown(f"python -m console {command}", Text.from_ansi(shown.replace("\r\n", "\n")), program.returncode)


def _until_closed(terminal: int) -> Iterator[str]:
    with os.fdopen(terminal, "rb", buffering=0) as reading:
        while True:
            try:
                chunk = reading.read(1 << 16)
            except OSError:  # Linux: nobody has the other end open any more
                return
            if not chunk:
                return
            yield chunk.decode()


def play(story: Story, type_: Callable[[str], None], tell: Callable[[str], None]) -> None:
    """The first day: look, tag two fleets that take mail, and look what came of it."""
    build(story)
    tell("Before anything is deployed: what would be done here, and why?")
    type_("plan")
    for name in ("mx-1", "relay-1"):
        story.set_tag(name, TAG["Value"])
    story.launch("mx")
    story.await_service("mx")
    story.region.sweep()
    story.quiet()
    tell("Both balancers were tagged `enabled`, and `mx` has scaled out since. How do they stand?")
    type_("status")
    tell("Who was configured, when, why, and with what result?")
    type_("audit")
    tell("And what went wrong?")
    type_("audit --failed --since 1h")


def build(story: Story) -> None:
    """Two fleets in service; in one Postfix trusts by address. Anybody reaches the instances, and there is a trail."""
    client = story.region.client
    client("s3").create_bucket(Bucket="trail")
    client("cloudtrail").create_trail(Name="management", S3BucketName="trail")
    client("cloudtrail").start_logging(Name="management")
    for balancer, group, count in (("mx-1", "mx", 2), ("relay-1", "relay", 1)):
        story.create_balancer(balancer)
        story.create_group(group, balancer)
        for _ in range(count):
            story.launch(group)
        story.await_service(group)
    [group] = client("ec2").describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    anybody = {"IpProtocol": "tcp", "FromPort": 25, "ToPort": 25, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    client("ec2").authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[anybody])
    [relay] = story.states("relay")
    if isinstance(story.instances, StandIns):
        story.instances.refusing[relay], story.instances.word = FORGEABLE, EXPECTS
    else:
        postfix = story.instances.machines[relay]
        postfix.run(["postconf", "-e", f"smtpd_relay_restrictions = {TRUST}"]).check_returncode()
        postfix.run(["postfix", "reload"]).check_returncode()


@contextmanager
def region_with_instances(stand_ins: bool) -> Iterator[Story]:
    """A Region to play in, on real Postfix unless stand-ins are asked for."""
    with Region(Path("template.yaml"), PARAMETERS) as region:
        instances = StandIns(region, agent_delay=0.2) if stand_ins else Instances(region)
        try:
            yield Story(region, instances)
        finally:
            instances.close()


def page(told: list[str | Shown]) -> str:
    """The session as a document."""
    lines = ["# A session", "", "Recorded by `make session` on the local Region, on real Postfix and HAProxy.", ""]
    for each in told:
        if isinstance(each, str):
            lines += [each, ""]
        else:
            output = [f"    {line}".rstrip() for line in each.text.plain.splitlines()]
            lines += [f"    $ {each.typed}", *output, f"    $ echo $?\n    {each.code}", ""]
    return "\n".join(lines).rstrip() + "\n"


def picture(shown: Shown) -> str:
    """A terminal as SVG, in whatever monospaced font there is: nothing is fetched."""
    out = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    out.print(shown.text)
    return re.sub(r"@font-face \{.*?\}\s*", "", out.export_svg(title=shown.typed), flags=re.DOTALL)


def photograph(session: Session, png: Path) -> None:
    """The audit's page in Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder, "audit.html")
        session.type(f"audit --html {html}")
        chromium = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        chromium += ["--hide-scrollbars", "--disable-lcd-text", "--window-size=1280,800"]
        chromium += [f"--screenshot={png.resolve()}", f"file://{html}"]
        subprocess.run(chromium, check=True, capture_output=True, timeout=120)


def main(files: list[str]) -> int:
    """Play the session, and write each file that is named: a `.md` of all, an `.svg` of status, a `.png` of audit."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if why := obstacle():
        print(f"{why}: as root this runs on real Postfix", file=sys.stderr)
        return 1
    told: list[str | Shown] = []
    with region_with_instances(stand_ins=False) as story:
        session = Session(story.region)
        play(story, lambda command: told.append(session.type(command)), told.append)
        for file in map(Path, files):
            match file.suffix:
                case ".md":
                    file.write_text(page(told))
                case ".svg":
                    [status] = [each for each in told if isinstance(each, Shown) and each.typed.endswith(" status")]
                    file.write_text(picture(status))
                case ".png":
                    photograph(session, file)
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
