"""The law over histories: wherever time, faults and people lead, nobody who takes traffic gets an unexpected header.

The world of the test crashes between any two writes, loses, repeats and reorders commands, answers and admissions, lets
the data plane lag, flips the tag, removes the policy by hand, attaches and detaches the group, and launches instances
with and without our hook.
"""

from dataclasses import replace
from itertools import islice

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smtp_fleet.actions import Send
from smtp_fleet.evidence import Verb
from smtp_fleet.fleet import Group, LoadBalancer
from tests.smtp_fleet.world import LAG, SMTP, World


def settle(world):
    """Let everything be delivered and time pass until nothing more happens; gives the last reason."""
    quiet = 0
    for _ in range(200):
        decisions = world.plans()
        for action in (action for decision in decisions for action in decision.actions):
            world.do(action)
        # An instance that expects is looked at again for ever.
        busy = any(not _is_look(action) for decision in decisions for action in decision.actions)
        for deliver, waiting in (
            (world.run, world.queue),
            (world.answer, world.answers),
            (world.admit, world.admissions),
        ):
            while waiting:
                deliver(0)
        quiet = 0 if busy else quiet + 1
        if quiet > 20:
            break
        world.now += 31 if not quiet else 601
    return decisions[0].reason


def _is_look(action):
    return isinstance(action, Send) and action.ask.verb is Verb.LOOK


ANY = st.integers(0, 1_000)


class History(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = World(tags={"mx-1": "enabled"}, balancers={"mx-1": LoadBalancer("mx-1", (SMTP,))})
        self.launches = 0

    @rule(crash_after=st.none() | st.integers(0, 5))
    def wake(self, crash_after):
        writes = (w for told in self.world.plans() for action in told.actions for w in self.world.writes(action))
        for _, write in islice(writes, crash_after):
            write()

    @rule(seconds=st.sampled_from([1, 9, 31, 46, 60, 301, 601]))
    def time_passes(self, seconds):
        self.world.now += seconds

    @precondition(lambda self: self.world.queue)
    @rule(position=ANY, repeat=st.booleans())
    def command_arrives(self, position, repeat):
        position %= len(self.world.queue)
        if repeat:
            self.world.queue.append(self.world.queue[position])
        self.world.run(position)

    @precondition(lambda self: self.world.queue)
    @rule(position=ANY)
    def command_is_lost(self, position):
        self.world.queue.pop(position % len(self.world.queue))

    @precondition(lambda self: self.world.answers)
    @rule(position=ANY, repeat=st.booleans())
    def answer_arrives(self, position, repeat):
        position %= len(self.world.answers)
        if repeat:
            self.world.answers.append(self.world.answers[position])
        self.world.answer(position)

    @precondition(lambda self: self.world.admissions)
    @rule(position=ANY, repeat=st.booleans())
    def admission_arrives(self, position, repeat):
        position %= len(self.world.admissions)
        if repeat:
            self.world.admissions.append(self.world.admissions[position])
        self.world.admit(position)

    @rule(tag=st.sampled_from(["enabled", "disabled", "audit", "?", None]))
    def tag_is_set(self, tag):
        self.world.tags["mx-1"] = tag

    @precondition(lambda self: not self.world.groups)
    @rule()
    def group_is_attached(self):
        self.world.groups["mx"] = Group("mx", frozenset({"mx-1"}))

    @precondition(lambda self: self.world.groups)
    @rule()
    def group_is_detached(self):
        self.world.groups["mx"] = replace(self.world.groups["mx"], balancers=frozenset())

    @precondition(lambda self: self.world.groups and not self.world.instances)
    @rule()
    def empty_group_is_attached_again(self):
        self.world.groups["mx"] = replace(self.world.groups["mx"], balancers=frozenset({"mx-1"}))

    def _our_hook_holds(self):
        """Launches that meet no hook of ours behind a sending balancer are outside the law (healed, not prevented)."""
        sending = self.world.balancers["mx-1"].sends(25) or self.world.sent_until.get(("mx-1", 25), 0) > self.world.now
        return bool(self.world.groups) and (not sending or self.world.groups["mx"].hook)

    @precondition(lambda self: self.launches < 3 and self._our_hook_holds())
    @rule(able=st.booleans())
    def instance_launches(self, able):
        self.launches += 1
        self.world.able = able
        self.world.launch(f"i-{self.launches}", "mx")

    @precondition(lambda self: self.world.instances)
    @rule(which=ANY)
    def root_volume_is_replaced(self, which):
        """Stock Postfix on another volume, under the same id; in service it goes through the launch hook again."""
        names = sorted(self.world.instances)
        x = self.world.instances[names[which % len(names)]]
        if self._our_hook_holds():
            x.volume, x.expects, x.fence, x.launched_at = x.volume + "+", frozenset(), 0, self.world.now
            x.state = "Pending:Wait" if self.world.groups["mx"].hook else "InService"

    @precondition(lambda self: self.world.balancers["mx-1"].sends(25))
    @rule()
    def policy_is_removed_by_hand(self):
        b = self.world.balancers["mx-1"]
        self.world.balancers["mx-1"] = replace(b, backend={25: ()})
        self.world.sent_until["mx-1", 25] = self.world.now + LAG

    def teardown(self):
        """From every state, once faults and people stop: the wanted end is reached and nobody waits for ever."""
        world = self.world
        world.tags["mx-1"] = "enabled"
        able = all(x.able for x in world.instances.values())
        reason = settle(world)
        assert world.broken_law() == []
        assert reason == "on" or not able  # it tries again, ever more seldom, where one cannot
        if able and world.groups and world.groups["mx"].balancers:
            assert {x.state for x in world.instances.values()} <= {"InService"}
            assert {x.expects for x in world.instances.values()} <= {frozenset({25})}

    @invariant()
    def where_a_balancer_sends_postfix_expects(self):
        assert self.world.broken_law() == []


History.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestTheLaw = History.TestCase
