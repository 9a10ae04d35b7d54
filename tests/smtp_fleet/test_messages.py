"""What the mind writes the hand reads; anything else is none of ours."""

from hypothesis import given
from hypothesis import strategies as st

from smtp_fleet.evidence import Machine
from smtp_fleet.messages import ADMIT, ASK, MOST, REJECT, Entry, bodies, entries

MACHINE = st.builds(Machine, st.text(max_size=9), st.text(max_size=9))
SECONDS = st.integers(0, 2**40)
ASKS = st.lists(st.builds(Entry, st.just(ASK), MACHINE, SECONDS), min_size=1, max_size=5)
ENDS = st.sampled_from([ADMIT, REJECT]).flatmap(
    lambda kind: st.lists(
        st.builds(Entry, st.just(kind), MACHINE, SECONDS, st.text(min_size=1, max_size=9), SECONDS), min_size=1
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "machines"]) | st.text(), inner)
    ),
    max_leaves=9,
)


@given(ASKS | ENDS)
def test_what_is_written_is_read(written):
    [body] = bodies(written[0].kind, written)
    assert entries(body) == tuple(written)


@given(JSON)
def test_whatever_else_comes_is_refused(body):
    assert entries(body) is None


def test_a_message_carries_no_more_than_fits():
    written = [Entry(ASK, Machine(f"i-{n:017x}", f"vol-{n:017x}"), 2_000_000_000) for n in range(MOST + 1)]
    first, second = bodies(ASK, written)
    assert (len(first["machines"]), len(second["machines"])) == (MOST, 1)
    assert len(str(first)) < 256 * 1024
