"""Generated calls on ``requests.Session`` and on ``holdfast.Session``: nobody can tell which is which.

The same calls each time; ``HOLDFAST_CALLS=50000`` makes that many, ``HOLDFAST_SEED=7`` others, and one alone is made with
``python tests/test_session_differential.py SEED``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from session_calls import difference, one_call

CALLS = int(os.environ.get("HOLDFAST_CALLS", "4000"))
SEED = int(os.environ.get("HOLDFAST_SEED", "0"))
BLOCKS = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory with a netrc file, and two without a good one."""
    return furnished(tmp_path_factory.mktemp("home"))


def furnished(root: Path) -> Path:
    (root / "empty").mkdir()
    (root / "broken").mkdir()
    (root / ".netrc").write_text("machine a.example login netrc password secret\ndefault login d password p\n")
    (root / "broken" / "_netrc").write_text("machine\n")
    return root


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.filterwarnings("ignore")
def test_nobody_can_tell_them_apart(block: int, home: Path) -> None:
    """What adapters, hooks, authenticators, replaced functions, overridden methods and callers see is the same."""
    seeds = range(SEED + block, SEED + CALLS, BLOCKS)
    print(f"seeds {seeds.start} to {seeds[-1]} in steps of {BLOCKS}: {len(seeds)} sessions")
    found = [text for seed in seeds if (text := difference(seed, home)) is not None]
    if found:
        pytest.fail(f"{len(found)} of {len(seeds)} differ, for instance\n" + "\n".join(found[:9]), pytrace=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        place = furnished(Path(folder))
        for ours in (False, True):
            print(*one_call(int(sys.argv[1]), ours, place), sep="\n")
        print(difference(int(sys.argv[1]), place))
