"""Many short requests to one host, each from a fresh session, on several threads; a command, not a test.

``make soak`` prints how many ports were used, and fails if that is more than the limit, or if anything failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import holdfast
from servers import Server


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=28_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--limit", type=int, default=8)
    given = parser.parse_args()
    errors: list[Exception] = []
    ports: set[object] = set()

    def one(_: int) -> None:
        try:
            with holdfast.Session(limits=holdfast.Limits(max_connections_per_host=given.limit)) as session:
                response = session.get(server.url)
                info = holdfast.connection_info(response)
                ports.add(info.local_address if info else None)
                if response.content != b"ok":
                    raise ValueError(response.content)
        except Exception as error:
            errors.append(error)

    began = time.monotonic()
    with Server() as server, ThreadPoolExecutor(given.threads) as pool:
        for _ in pool.map(one, range(given.requests)):
            pass
        stats = holdfast.statistics()
        holdfast.close_idle_connections()
        accepted = server.accepted
    print(
        f"{given.requests} requests from fresh sessions on {given.threads} threads in {time.monotonic() - began:.1f} s: "
        f"{len(errors)} errors, {accepted} connections accepted by the server, {len(ports)} ports used "
        f"(max_connections_per_host={given.limit}), {stats.in_use} left in use"
    )
    for error in errors[:3]:
        print(repr(error), file=sys.stderr)
    return int(bool(errors) or accepted > given.limit or bool(stats.in_use))


if __name__ == "__main__":
    sys.exit(main())
