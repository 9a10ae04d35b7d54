"""After any storm, once it is over, everything is as it should be; and the law held all the while."""

import pytest

from tests.storm import weather


@pytest.mark.parametrize("seed", range(8))
def test_after_the_storm_all_is_as_it_should_be(aws, seed):
    storm = weather(seed)
    assert storm.is_as_it_should_be(storm.wanted), "\n".join(storm.story)
