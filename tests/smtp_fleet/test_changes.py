"""docs/changes.md is true: while a fleet is switched over it changes, and each row's rule holds, step by step.

Told as histories of the small world, in which time, lag and lost answers are exact. After every single write, command,
answer and admission the law is looked at, and every history has to come to its end.
"""

import inspect
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from smtp_fleet.actions import Recall
from smtp_fleet.fleet import Group, Listener, LoadBalancer
from smtp_fleet.plan import plan
from tests.smtp_fleet import test_changes_of_others
from tests.smtp_fleet.world import SETTINGS, SMTP, Instance, World

OURS = "EnableProxyProtocol"
PLAIN, PROXY = frozenset(), frozenset({25})


@dataclass
class Changing(World):
    """A world whose instances may be deaf, or rest in a warm pool; `outside` are those that the law does not cover."""

    deaf: set = field(default_factory=set)
    outside: set = field(default_factory=set)
    said: list = field(default_factory=list)

    def do(self, action, cause=""):
        if isinstance(action, Recall):
            self.records[action.machine] = replace(self.records[action.machine], admitted=False)
        super().do(action, cause)
        self.obeys()

    def admit(self, position):
        """As the hand does: only what the ledger says is admitted."""
        machine, _ = self.admissions[position]
        x = self.instances.get(machine.instance_id)
        if not self.records[machine].admitted:
            self.admissions.pop(position)
        elif x and x.state == "Warmed:Pending:Wait":
            self.admissions.pop(position)
            x.state = "Warmed:Stopped"
        else:
            super().admit(position)

    def obeys(self):
        for i in list(self.outside):
            if i not in self.instances or self.instances[i].expects == PROXY:
                self.outside.discard(i)
        assert [b for b in self.broken_law() if not any(f" {i} " in b for i in self.outside)] == []

    def reached(self, machine):
        """Whether a command gets to a host now; one that is stopped or deaf gets it when it is back."""
        x = self.instances.get(machine.instance_id)
        stopped = x is not None and x.state in ("Warmed:Stopped", "Warmed:Hibernated")
        return machine.instance_id not in self.deaf and not stopped

    def deliver(self):
        for position in reversed([n for n, (machine, _) in enumerate(self.queue) if self.reached(machine)]):
            self.run(position)
            self.obeys()
        for deliver, waiting in ((self.answer, self.answers), (self.admit, self.admissions)):
            while waiting:
                deliver(0)
                self.obeys()

    def step(self, seconds=10):
        """One wake, all that follows from it, and some time; gives the reason of the plan."""
        decisions = self.plans()
        for decision in decisions:
            self.said += [decision.reason, *decision.findings]
            for action in decision.actions:
                self.do(action)
        self.deliver()
        self.now += seconds
        return decisions[0].reason

    def reach(self, reason, seconds=10):
        """Go on until a plan says this and does nothing any more: nothing waits for ever."""
        for _ in range(150):
            if self.step(seconds) == reason and not plan(self.fleet(), SETTINGS).actions:
                return
        raise AssertionError(f"never {reason}: {plan(self.fleet(), SETTINGS)}")

    def until(self, happened, seconds=10):
        """Go on until this is so."""
        for _ in range(150):
            if happened():
                return
            self.step(seconds)
        raise AssertionError(f"never so: {plan(self.fleet(), SETTINGS)}")

    def sends(self, balancer="mx-1"):
        return self.balancers[balancer].sends(25)

    def expecting(self):
        return {i: x.expects for i, x in self.instances.items()}


LOOKING, EXPECTING, SENDING = "asking whether they could", "Postfix first", "on"


def live(phase="", *deaf):
    """A group with i-0 and i-1 in service behind a tagged balancer, switched over as far as `phase`, i-1 deaf in it."""
    world = Changing(tags={"mx-1": "enabled"}, balancers={"mx-1": LoadBalancer("mx-1", (SMTP,))})
    world.groups["mx"] = Group("mx", frozenset({"mx-1"}))
    for i in ("i-0", "i-1"):
        world.instances[i] = Instance(f"vol-{i}", "mx", "InService", world.now - 9_000)
    if phase == SENDING:
        world.reach("on")
        return world
    for _ in range(60):
        if not phase or plan(world.fleet(), SETTINGS).reason == phase:
            break
        world.step()
    if phase:
        world.deaf.add("i-1")
        world.step()
    return world


def in_service(world):
    return {i for i, x in world.instances.items() if x.state == "InService"}


PHASES = pytest.mark.parametrize("phase", [LOOKING, EXPECTING, SENDING])


# ---- instances


def test_a_launch_while_looking_passes_and_is_looked_at():
    world = live(LOOKING)
    world.launch("i-2", "mx")
    assert in_service(world) == {"i-0", "i-1", "i-2"}
    world.deaf.clear()
    world.reach("on")
    assert world.expecting() == dict.fromkeys(("i-0", "i-1", "i-2"), PROXY)


def test_a_launch_while_expecting_waits_for_the_policy():
    world = live(EXPECTING)
    world.launch("i-2", "mx")
    world.step()
    assert (world.instances["i-2"].state, world.sends()) == ("Pending:Wait", False)
    world.deaf.clear()
    for _ in range(60):
        assert world.sends() or "i-2" not in in_service(world)
        world.step()
    assert world.expecting()["i-2"] == PROXY
    assert "i-2" in in_service(world)


def test_a_launch_while_sending_expects_before_it_is_in_service():
    world = live(SENDING)
    world.launch("i-2", "mx")
    world.reach("on")
    assert world.expecting()["i-2"] == PROXY
    assert "i-2" in in_service(world)


@PHASES
def test_an_instance_that_dies_is_waited_for_no_more(phase):
    world = live(phase)
    del world.instances["i-1"]
    world.reach("on")
    assert world.expecting() == {"i-0": PROXY}


@PHASES
def test_a_replaced_root_volume_is_another_machine(phase):
    world = live(phase)
    world.deaf.clear()
    hooked = world.groups["mx"].hook is not None
    state = "Pending:Wait" if hooked else "InService"
    world.instances["i-1"] = Instance("vol-new", "mx", state, world.now)
    world.reach("on")
    assert world.expecting() == dict.fromkeys(("i-0", "i-1"), PROXY)
    assert in_service(world) == {"i-0", "i-1"}


def test_one_that_does_not_answer_while_looking_is_named_and_nothing_changes():
    """It fails its health check, or its agent is gone: nobody knows what it would do with the header."""
    world = live(LOOKING)
    world.launch("i-2", "mx")
    for _ in range(60):
        world.step()
    assert "i-1 does not answer: is its agent online?" in plan(world.fleet(), SETTINGS).findings
    assert (world.sends(), set(world.expecting().values())) == (False, {PLAIN})
    assert in_service(world) == {"i-0", "i-1", "i-2"}
    del world.instances["i-1"]
    world.reach("on")


def test_one_whose_root_volume_is_not_shown_is_named_and_nothing_changes():
    """An instance store, or an id of which EC2 knows nothing: what cannot be named cannot be asked."""
    world = live()
    world.instances["i-1"].volume = ""
    for _ in range(30):
        world.step()
    assert "i-1 cannot be asked: EC2 shows no root volume of it" in plan(world.fleet(), SETTINGS).findings
    assert (world.sends(), set(world.expecting().values())) == (False, {PLAIN})
    world.instances["i-1"].volume = "vol-1"
    world.reach("on")


def test_one_that_does_not_answer_while_expecting_ends_the_cutover():
    world = live(EXPECTING)
    began = world.now
    world.until(lambda: "cutover refused" in world.said)
    assert world.now - began <= SETTINGS.cutover_budget + 20
    assert world.expecting()["i-0"] == PROXY
    world.until(lambda: set(world.expecting().values()) == {PLAIN})
    assert world.now - began <= SETTINGS.cutover_budget + 40
    assert not world.sends()
    world.deaf.clear()
    world.reach("on")


def test_one_that_does_not_answer_while_sending_stays_out_and_holds_up_nobody():
    world = live(SENDING)
    world.launch("i-2", "mx")
    world.launch("i-3", "mx")
    world.deaf.add("i-2")
    for _ in range(60):
        world.step()
    assert in_service(world) == {"i-0", "i-1", "i-3"}
    assert "i-2 does not answer: is its agent online?" in plan(world.fleet(), SETTINGS).findings
    del world.instances["i-2"]  # the hook ends in ABANDON
    world.reach("on")


@pytest.mark.parametrize(
    "state", ["Standby", "EnteringStandby", "Detaching", "Quarantined", "Pending", "Pending:Proceed"]
)
def test_one_that_takes_no_traffic_now_has_to_expect_as_well(state):
    world = live()
    world.instances["i-1"].state = state
    world.deaf.add("i-1")
    for _ in range(60):
        world.step()
    assert not world.sends()
    world.deaf.clear()
    world.reach("on")
    world.instances["i-1"].state = "InService"  # ExitStandby meets no hook
    world.reach("on")
    assert world.expecting()["i-1"] == PROXY


# ---- the warm pool

RESTING = pytest.mark.parametrize("state", ["Warmed:Stopped", "Warmed:Hibernated", "Warmed:Running"])


def leave_pool(world, i="i-1"):
    """Auto Scaling starts it, and our hook holds it like any launch."""
    assert world.groups["mx"].hook is not None
    world.instances[i].state, world.instances[i].launched_at = "Pending:Wait", world.now
    world.deaf.discard(i)


@RESTING
def test_the_warm_pool_is_not_waited_for_and_its_instances_pass_the_hook(state):
    world = live()
    world.instances["i-1"].state = state
    world.deaf.add("i-1")
    world.reach("on")
    assert world.expecting() == {"i-0": PROXY, "i-1": PLAIN}
    leave_pool(world)
    world.step()
    assert world.instances["i-1"].state == "Pending:Wait"
    world.reach("on")
    assert (world.instances["i-1"].state, world.expecting()["i-1"]) == ("InService", PROXY)


def test_an_instance_that_goes_into_the_warm_pool_is_not_held_for_ever():
    world = live(SENDING)
    world.instances["i-2"] = Instance("vol-2", "mx", "Warmed:Pending:Wait", world.now)
    world.reach("on")
    assert (world.instances["i-2"].state, world.expecting()["i-2"]) == ("Warmed:Stopped", PROXY)
    leave_pool(world, "i-2")
    world.reach("on")
    assert "i-2" in in_service(world)


def test_an_admission_to_the_warm_pool_is_none_into_service():
    """Let into the pool while nobody sent, it comes out of it when somebody does, and the old message comes late."""
    world = live(EXPECTING)
    world.until(lambda: "cutover refused" in world.said)
    world.instances["i-2"] = Instance("vol-2", "mx", "Warmed:Pending:Wait", world.now)
    world.until(lambda: world.instances["i-2"].state == "Warmed:Stopped")
    [machine] = [m for m, record in world.records.items() if record.admitted]
    world.deaf.clear()
    world.reach("on")
    leave_pool(world, "i-2")
    world.admissions.append((machine, "mx"))
    world.admit(0)
    world.obeys()
    assert world.instances["i-2"].state == "Pending:Wait"
    world.reach("on")
    assert (world.instances["i-2"].state, world.expecting()["i-2"]) == ("InService", PROXY)


def test_one_that_rests_in_the_warm_pool_is_let_go_of_when_it_leaves():
    world = live(SENDING)
    world.instances["i-1"].state = "Warmed:Stopped"  # InstanceReusePolicy: scaled in
    world.tags["mx-1"] = "disabled"
    world.reach("off")
    assert not world.sends()
    assert world.expecting() == {"i-0": PLAIN, "i-1": PROXY}
    [finding] = plan(world.fleet(), SETTINGS).findings
    assert finding.startswith("i-1 rests in the warm pool of mx and may expect the header")
    leave_pool(world)
    world.reach("off")
    assert (world.instances["i-1"].state, world.expecting()["i-1"]) == ("InService", PLAIN)
    assert (world.groups["mx"].hook, world.records) == (None, {})


def test_a_group_that_left_keeps_its_hook_while_one_of_its_warm_pool_may_expect():
    world = live(SENDING)
    world.instances["i-1"].state = "Warmed:Stopped"
    world.groups["mx"] = replace(world.groups["mx"], balancers=frozenset())
    for _ in range(30):
        world.step()
    assert any("rests in the warm pool of mx" in text for text in world.said)
    assert world.queue == []  # a stopped host is not asked for ever
    leave_pool(world)
    for _ in range(30):
        world.step()
    assert world.expecting() == dict.fromkeys(("i-0", "i-1"), PLAIN)
    assert (world.groups["mx"].hook, in_service(world)) == (None, {"i-0", "i-1"})


# ---- groups


@PHASES
def test_a_second_group_is_hooked_and_its_instances_are_asked(phase):
    """Launches that met no hook of ours are outside the law until they expect."""
    world = live(phase)
    world.deaf.clear()
    world.groups["other"] = Group("other", frozenset({"mx-1"}))
    world.instances["i-9"] = Instance("vol-9", "other", "InService", world.now)
    world.outside |= {"i-9"} if phase == SENDING else set()
    world.reach("on")
    assert (world.outside, world.expecting()["i-9"]) == (set(), PROXY)
    world.launch("i-8", "other")
    assert world.instances["i-8"].state == "Pending:Wait"
    world.reach("on")
    assert world.expecting()["i-8"] == PROXY


@PHASES
def test_a_group_that_leaves_is_let_go_of(phase):
    world = live(phase)
    world.deaf.clear()
    world.groups["mx"] = replace(world.groups["mx"], balancers=frozenset())
    for _ in range(30):
        world.step()
    assert world.groups["mx"].hook is None
    assert world.expecting() == dict.fromkeys(("i-0", "i-1"), PLAIN)


# ---- balancers, listeners and tags


def add_balancer(world, tag, **changes):
    world.balancers["web"], world.tags["web"] = LoadBalancer("web", (SMTP,), **changes), tag
    world.groups["mx"] = replace(world.groups["mx"], balancers=frozenset({"mx-1", "web"}))


def drop_balancer(world):
    del world.balancers["web"], world.tags["web"]
    world.groups["mx"] = replace(world.groups["mx"], balancers=frozenset({"mx-1"}))


def listeners(world, *found):
    world.balancers["mx-1"] = replace(world.balancers["mx-1"], listeners=found)


def tagged(value):
    return lambda world: world.tags.update({"mx-1": value})


WRONG = {
    "an untagged balancer feeds it too": (lambda w: add_balancer(w, None), drop_balancer),
    "a disabled balancer feeds it too": (lambda w: add_balancer(w, "disabled"), drop_balancer),
    "audit": (tagged("audit"), tagged("enabled")),
    "a tag that means nothing": (tagged("yes"), tagged("enabled")),
    "a web listener on the port": (
        lambda w: listeners(w, SMTP, Listener(80, "HTTP", 25, "HTTP")),
        lambda w: listeners(w, SMTP),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("phase", [LOOKING, EXPECTING])
def test_what_forbids_the_cutover_in_its_middle_has_it_undone(phase, wrong):
    """Left as it is, what already expects would defer all its mail until somebody mends the tag or the listener."""
    world, (happens, ends) = live(phase), WRONG[wrong]
    happens(world)
    for _ in range(20):
        world.step()
    assert set(world.expecting().values()) == {PLAIN}
    assert not any(world.sends(name) for name in world.balancers)
    ends(world)
    world.deaf.clear()
    world.reach("on")


def test_a_second_balancer_that_is_tagged_is_switched_on_with_the_first():
    for phase in (LOOKING, EXPECTING, SENDING):
        world = live(phase)
        world.deaf.clear()
        add_balancer(world, "enabled")
        world.reach("on")
        assert (world.sends(), world.sends("web")) == (True, True)


def test_an_untagged_balancer_beside_one_that_sends_is_said_and_nothing_is_given_up():
    world = live(SENDING)
    add_balancer(world, None)
    world.launch("i-2", "mx")
    world.reach("on")
    assert plan(world.fleet(), SETTINGS).findings == (
        "load balancer web, which is not tagged, also feeds instance port 25",
    )
    assert (world.sends(), world.sends("web"), world.balancers["web"].policies) == (True, False, frozenset())
    assert set(world.expecting().values()) == {PROXY}


@pytest.mark.parametrize("sender", ["enabled", "disabled"])
def test_a_disabled_balancer_beside_an_enabled_one_changes_no_direction(sender):
    world = live(SENDING)
    other = {"enabled": "disabled", "disabled": "enabled"}[sender]
    world.tags["mx-1"] = sender
    add_balancer(world, other)
    world.launch("i-2", "mx")
    world.reach("on")
    assert "tags on instance port 25 contradict each other: no direction is changed" in world.said
    assert (world.sends(), world.sends("web")) == (True, False)
    assert set(world.expecting().values()) == {PROXY}
    drop_balancer(world)
    world.tags["mx-1"] = "disabled"
    world.reach("off")
    assert set(world.expecting().values()) == {PLAIN}


@pytest.mark.parametrize("front", [26, 80, 587])
def test_a_second_listener_on_the_port_of_one_that_sends_is_said(front):
    world = live(SENDING)
    listeners(world, SMTP, Listener(front, "TCP", 25, "TCP"))
    world.launch("i-2", "mx")
    world.reach("on")
    [finding] = plan(world.fleet(), SETTINGS).findings
    assert finding == f"listener {front} of mx-1, which is not a mail port, shares instance port 25"
    assert world.sends()
    assert set(world.expecting().values()) == {PROXY}


def test_the_listener_of_one_that_sends_is_deleted():
    """The policy outlives the listener: one that is created later sends from its first connection."""
    world = live(SENDING)
    listeners(world)
    world.launch("i-2", "mx")
    world.reach("on")
    assert set(world.expecting().values()) == {PROXY}
    listeners(world, SMTP)
    world.reach("on")


@PHASES
def test_disabled_in_the_middle_ends_it_in_the_safe_order(phase):
    world = live(phase)
    world.deaf.clear()
    world.tags["mx-1"] = "disabled"
    world.reach("off")
    assert (world.sends(), set(world.expecting().values())) == (False, {PLAIN})
    assert (world.groups["mx"].hook, world.records) == (None, {})
    world.tags["mx-1"] = "enabled"
    world.reach("on")


def test_enabled_again_while_switching_off_starts_anew():
    world = live(SENDING)
    world.tags["mx-1"] = "disabled"
    world.until(lambda: world.said[-1] == "switching off: Postfix second")
    world.tags["mx-1"] = "enabled"
    world.launch("i-2", "mx")
    world.reach("on")
    assert set(world.expecting().values()) == {PROXY}


def test_a_launch_while_switching_off_waits_until_it_speaks_plainly():
    world = live(SENDING)
    world.tags["mx-1"] = "disabled"
    world.step()
    world.launch("i-2", "mx")
    world.reach("off")
    assert in_service(world) == {"i-0", "i-1", "i-2"}
    assert set(world.expecting().values()) == {PLAIN}


def test_a_tag_that_vanishes_while_sending_releases_nobody():
    world = live(SENDING)
    world.tags["mx-1"] = None
    world.launch("i-2", "mx")
    world.reach("on")
    assert "load balancer mx-1: tag vanished while sending" in world.said
    assert (world.sends(), set(world.expecting().values())) == (True, {PROXY})


# ---- the table


def rows():
    """The rows of the table: what changes, when, the rule, what is said, why it is safe, and the test."""
    lines = [line.strip("| \n").split(" | ") for line in Path("docs/changes.md").read_text().splitlines()]
    return [cells for cells in lines if len(cells) == 6 and cells[0] != "what changes"]


HERE = {
    name: test
    for module in (inspect.getmodule(rows), test_changes_of_others)
    for name, test in vars(module).items()
    if name.startswith("test_") and inspect.isfunction(test)
}


def test_the_table_and_the_tests_are_the_same():
    named = [cells[5].strip("`") for cells in rows()]
    assert sorted(set(named)) == sorted(HERE.keys() - {"test_the_table_and_the_tests_are_the_same"})
    assert len({tuple(cells[:2]) for cells in rows()}) == len(rows())


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: f"{cells[0]}, {cells[1]}")
def test_what_the_table_says_is_said_is_what_its_test_looks_for(cells):
    source = inspect.getsource(HERE[cells[5].strip("`")])
    assert [phrase for phrase in re.findall("`(.+?)`", cells[3]) if phrase not in source] == []
