"""Every way in which an ask can end has its policy, and the documentation tells the same."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from smtp_fleet.outcome import LONGEST_RETRY_WAIT, POLICIES, RETRY_WAIT, Outcome, retry_wait

ROW = re.compile(r"^\| `([a-z-]+)` \| (.+) \| (.+) \| (.+) \|$", re.M)


def test_each_outcome_has_a_policy_and_the_documented_one():
    text = Path("docs/how-it-works.md").read_text().partition("### What an answer comes to")[2].partition("###")[0]
    told = {name: rest for name, *rest in ROW.findall(text)}
    assert told == {o.value: [p.meaning, p.again.value, p.launch.value] for o, p in POLICIES.items()}
    assert set(POLICIES) == set(Outcome)


@given(st.integers(0, 10_000))
def test_each_try_waits_longer_than_the_last_up_to_a_bound(tries):
    assert RETRY_WAIT <= retry_wait(tries) <= retry_wait(tries + 1) <= LONGEST_RETRY_WAIT
    assert retry_wait(tries) in {30, 60, 120, 240, 300}
