"""The pool under real threads, in a short form; ``make torture`` is the long one."""

from __future__ import annotations

import pytest

from holdfast import Limits
from torture import complaints, torture


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_connections=16, max_connections_per_host=8, max_idle_per_host=6, max_idle=12, max_waiting=28),
        Limits(max_connections_per_host=1),
        Limits(max_connections=3, max_idle=0),
    ],
    ids=["mixed", "one per host", "none idle"],
)
def test_threads_that_time_out_cancel_and_drop_lose_nothing(limits: Limits) -> None:
    """No permit, no connection and no count is lost, and no connection is ever two threads'."""
    result = torture(12_000, 32, limits)
    assert complaints(result, limits) == []
    assert result.leases > 9_000
