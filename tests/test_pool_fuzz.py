"""Random walks over a transport against a model of it. A failure names the seed and the step that replay it:

``HOLDFAST_FUZZ_SEED=7 HOLDFAST_FUZZ_STEPS=10000 pytest tests/test_pool_fuzz.py``
"""

from __future__ import annotations

import os
import warnings

import pytest

from holdfast import _transport
from pool_model import Clock, World

STEPS = int(os.environ.get("HOLDFAST_FUZZ_STEPS", "10000"))
"""Steps per seed, over as many transports as RUN allows."""
RUN = 1000
"""Steps until the limits change: small worlds reach more corners than one long life."""
SEEDS = [int(os.environ["HOLDFAST_FUZZ_SEED"])] if "HOLDFAST_FUZZ_SEED" in os.environ else list(range(24))


class NoReaper:
    """The walk reaps by itself, by its own clock."""

    def look_after(self, keeper: object) -> None:
        pass


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_walk_keeps_the_books(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits, order, permits, sockets and counters are the model's after every step; nothing is left at the end."""
    clock = Clock()
    monkeypatch.setattr(_transport, "time", clock)
    monkeypatch.setattr(_transport, "reaper", NoReaper())
    world = World(seed, clock)
    recent: list[str] = []
    for at in range(STEPS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # dropped leases are among the steps
                recent = [*recent[-15:], world.step()]
                world.check()
                if (at + 1) % RUN == 0:
                    world.finish(world.chance.choice(["drain", "shut", "fork"]))
                    world.renew()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {at} ({', '.join(recent)}), {world.limits}: {error}") from error
