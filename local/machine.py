"""Throw-away Linux hosts with a real Postfix, made of namespaces over an overlay of this machine's root.

What a host writes goes to a tmpfs that only it can see: two hosts never meet, and nothing is left when one ends,
however it ends (see `local.network` for why).
"""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from local.network import Held, Network

T = TypeVar("T")

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

_HOST = r"""
set -eu
read -r pid _ </proc/self/stat; echo "$pid"; read -r _ # until the cable is plugged
mount -t tmpfs -o mode=0755 tmpfs /mnt; cd /mnt
mkdir upper work root; mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root; mkdir -p run/below
mount -t proc proc proc; mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=0755 tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/shm dev/pts; mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mount --bind /mnt run/below
pivot_root . run/below/work; cd /; umount -l /run/below/work
hostname "$1"; echo ready; read -r _
"""

_FRESH = r"""
set -eu
rm -rf /etc/postfix/*.db /var/lib/smtp-fleet /var/log/mail* /var/mail/* /etc/aliases*
if [ -d /var/spool/postfix ]; then
  find /var/spool/postfix /var/lib/postfix -type f,s,p -delete
  for queue in active bounce corrupt defer deferred flush hold incoming private saved trace; do
    install -d -o postfix -g root -m 0700 /var/spool/postfix/$queue
  done
fi
rm -f /etc/postfix/main.cf /etc/postfix/master.cf
cp -a /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
: >/etc/aliases; echo "nameserver 127.0.0.1" >/etc/resolv.conf # nobody answers there, at once
printf '127.0.0.1 localhost\n::1 localhost\n%s %s.internal %s\n' "$1" "$2" "$2" >/etc/hosts
cat >/etc/postfix/main.cf
touch -d "1 minute ago" /etc/postfix/main.cf # Postfix waits for a file that looks half-written
"""

MAIN_CF = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version
compatibility_level = 3.6
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
append_dot_mydomain = no
myhostname = {name}.internal
mydestination = $myhostname, example.net, localhost
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
alias_maps =
alias_database =
local_recipient_maps =
local_transport = discard:
default_transport = discard:
inet_interfaces = all
inet_protocols = all
maillog_file = /var/log/mail.log
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
"""


class Machine:
    """A Linux host of its own on a network: its files, processes, name and address are nobody else's."""

    def __init__(self, network: Network, instance_id: str, address: str, *, postfix: bool = True):
        self.network, self.instance_id, self.address, self.has_postfix = network, instance_id, address, postfix
        self.address_6 = "fd77::" + address.rpartition(".")[2]
        self.name = "ip-" + address.replace(".", "-")
        self._held: Held | None = None
        self._at_boot: dict[str, tuple[int, int, int]] = {}

    def __enter__(self) -> Self:
        return self.boot()

    def __exit__(self, *_: object) -> None:
        self.halt()

    def boot(self) -> Self:
        """Start the host, with a fresh stock Postfix that serves port 25 unless it was asked to have none."""
        kinds = ("--mount", "--uts", "--ipc", "--net")
        self._held = Held(kinds, _HOST, self.name)
        try:
            self.network.plug(self._held.pid, self.address, self.address_6)
            self._held.say("plugged")
            self._held.line()
            fresh = ["sh", "-c", _FRESH, "sh", self.address, self.name]
            self.run(fresh, input=MAIN_CF.format(name=self.name)).check_returncode()
            if self.has_postfix:
                self.start_postfix()
            else:
                self.run(["sh", "-c", "rm -rf /etc/postfix /usr/lib/postfix /usr/sbin/post*"]).check_returncode()
        except BaseException:
            self.halt()
            raise
        self.settle_changes()
        return self

    def start_postfix(self) -> None:
        """Start Postfix as its own start-up script does, without the two seconds that the script takes to log it."""
        daemons = self.run(["postconf", "-h", "daemon_directory"]).stdout.strip()
        environment = {"PATH": PATH, "LANG": "C.UTF-8", "MAIL_CONFIG": "/etc/postfix"}
        self.run([f"{daemons}/master", "-w"], environment, timeout=30).check_returncode()

    def halt(self) -> None:
        """End every process of the host and forget its files."""
        if self._held:
            self._held.end()
        self._held = None

    @property
    def pid(self) -> int:
        """The process that holds the host, as this machine numbers it."""
        if not self._held:
            raise RuntimeError(f"{self.instance_id} is not running")
        return self._held.pid

    def popen(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.Popen[Any]":
        """Start a program on the host, in a process group of its own: end it with os.killpg."""
        enter = ["nsenter", f"--target={self.pid}", *("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")]
        options = {"stdin": subprocess.DEVNULL, "umask": 0o022, **options}
        environment = {"PATH": PATH, "LANG": "C.UTF-8"} if env is None else dict(env)
        # The host's environment is the program's, so nsenter is found here and not by its PATH.
        argv = [shutil.which("nsenter") or enter[0], *enter[1:], "--", *argv]
        return subprocess.Popen(argv, env=environment, start_new_session=True, **options)

    def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
        timeout: float | None = 60,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program on the host to its end and give back what it printed."""
        with self.popen(argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(input.encode() if isinstance(input, str) else input, timeout)
            except BaseException:
                os.killpg(process.pid, 9)
                raise
        return subprocess.CompletedProcess(argv, process.returncode, out.decode("utf-8", "replace"), err.decode())

    def read(self, path: str) -> bytes:
        """The bytes of a file on the host."""
        with self.popen(["cat", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            content, error = process.communicate()
        if process.returncode:
            raise FileNotFoundError(error.decode())
        return bytes(content)

    def write(self, path: str, content: bytes) -> None:
        """Put these bytes into a file on the host, keeping owner and mode if it exists."""
        self.run(["sh", "-c", 'mkdir -p "${1%/*}"; cat >"$1"', "sh", path], input=content).check_returncode()

    def mail_log(self) -> str:
        """The mail log so far; empty if nothing was logged."""
        try:
            return self.read("/var/log/mail.log").decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def await_log(self, text: str, timeout: float = 10) -> str:
        """The mail log as soon as it holds this text."""
        return await_until(lambda: log if text in (log := self.mail_log()) else "", f"{text!r} in the log", timeout)

    def changed_files(self) -> set[str]:
        """The files changed, made or removed since boot, or since the changes were last settled."""
        now = self._upper()
        return {path for path in now.keys() | self._at_boot.keys() if now.get(path) != self._at_boot.get(path)}

    def settle_changes(self) -> None:
        """Count file changes from now on."""
        self._at_boot = self._upper()

    def _upper(self) -> dict[str, tuple[int, int, int]]:
        root = Path(f"/proc/{self.pid}/root/run/below/upper")
        found = {}
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                try:
                    facts = path.lstat()
                except FileNotFoundError:  # a host at work: its queue files come and go
                    continue
                # The mark of a removed file may be one inode for all of them: its facts say nothing.
                removed = stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
                known = (0, 0, 0) if removed else (facts.st_ino, facts.st_size, facts.st_ctime_ns)
                found["/" + str(path.relative_to(root))] = known
        return found


def await_until(condition: Callable[[], T], what: str, timeout: float = 10) -> T:
    """The first truthy answer of a condition, which is asked again and again until the time is up."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.02)
    return answer
