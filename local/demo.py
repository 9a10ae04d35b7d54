"""`make demo`: the main job told on screen, on the local Region, in under two minutes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from local.instances import Instances, StandIns, obstacle
from local.region import Region
from local.story import PARAMETERS, TAG, Story

out = Console(highlight=False)


@contextmanager
def step(title: str) -> Iterator[None]:
    """One step of the story: its title, and a spinner while it takes its time."""
    out.print(f"\n[bold]{title}[/bold]")
    with out.status("working …"):
        yield


def show(label: str, value: Any) -> None:
    """One thing to be seen."""
    out.print(f"  [dim]{label}[/dim] {value}", soft_wrap=True)


def tell(story: Story, with_mail: bool) -> None:
    """Tell the whole story; without real machines the mail is left out."""
    before = after = ""
    if with_mail:
        with step("1  Before: an untagged balancer hides the client"):
            story.create_balancer("plain-1")
            story.create_group("plain", "plain-1")
            instance, _ = story.launch("plain")
            story.await_service("plain")
            before = story.send_mail("plain-1", instance)
        show("mail.log", before)
    with step("2  create-load-balancer mx-1, tagged smtp-proxy-protocol = enabled"):
        policies = story.create_balancer("mx-1", TAG)
    show("describe-load-balancers: BackendServerDescriptions", policies)
    with step("3  create-auto-scaling-group mx behind it: the stack puts its launch hook"):
        [hook] = story.create_group("mx", "mx-1")
    show("hook", f"{hook['LifecycleHookName']}, default result {hook['DefaultResult']}, {hook['HeartbeatTimeout']} s")
    with step("4  The group launches an instance: it waits until its Postfix expects the header"):
        instance, _ = story.launch("mx")
        story.await_service("mx", lambda line: show("state", line))
    [admission] = story.region.calls("CompleteLifecycleAction")
    show("complete-lifecycle-action", f"{admission.params['InstanceId']} {admission.params['LifecycleActionResult']}")
    if with_mail:
        with step("5  After: the same mail through the tagged balancer"):
            after = story.send_mail("mx-1", instance)
        show("mail.log", after)
    out.print("\n[bold]6  The SSM command history[/bold]")
    out.print(history(story))
    with step("7  A second round (the sweep, as if every event had been lost)"):
        changes = story.second_round()
    show("changes", [f"{call.service}:{call.operation}" for call in changes] or "none")


def history(story: Story) -> Table:
    """The command history as a table."""
    table = Table("requested", "instance", "comment", "status", "verdict")
    for i in story.history():
        said = "".join(plugin["Output"] for plugin in i["CommandPlugins"]).splitlines()
        verdict = said[0] if said else ""
        requested = f"{i['RequestedDateTime']:%H:%M:%S}"
        table.add_row(requested, i["InstanceId"], i.get("Comment", ""), i["Status"], verdict)
    return table


def main() -> int:
    """Run the demo with real Postfix and HAProxy where they can be had."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    why = obstacle()
    if why:
        out.print(f"[yellow]No mail leg: {why}. With it:[/yellow] sudo make demo")
    with Region(Path("template.yaml"), PARAMETERS) as region:
        instances = StandIns(region) if why else Instances(region)
        try:
            tell(Story(region, instances), with_mail=not why)
        finally:
            instances.close()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        out.print("\nstopped; nothing is left behind")
        sys.exit(130)
