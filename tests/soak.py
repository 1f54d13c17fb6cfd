"""Long runs; commands, not tests. ``make soak`` prints what happened, and fails if anything was lost.

First many short requests to one host, each from a fresh session: how many ports that takes. Then a mix of answers,
errors, abandoned bodies, time-outs and cancels: threads, descriptors, pool entries and memory at its end.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import requests

import holdfast
from holdfast import Limits, Timeouts
from servers import Peer, Server, ok

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
FLAT = 8 << 20
"""So much may resident memory differ between two moments of one steady state: arenas of sixteen threads."""


def handle(peer: Peer) -> None:
    """The mix's server: the path says how it behaves."""
    while (request := peer.read_request()) is not None:
        path = request[0].split(b" ")[1]
        if path == b"/ok":
            peer.send(ok())
        elif path == b"/busy":
            peer.send(ok(b"busy", status=b"503 Service Unavailable"))
        elif path == b"/big":
            peer.send(ok(b"x" * 300_000))
        elif path == b"/chunked":
            peer.send(CHUNKED + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n")
        elif path == b"/cut":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
            return
        elif path == b"/garbage":
            peer.send(b"\0\1\2\r\n\r\n")
            return
        elif path == b"/reset":
            peer.reset()
            return
        elif path == b"/stray":
            peer.send(ok() + b"stray")
        elif path == b"/hang":
            peer.send(CHUNKED)
            peer.read_request()  # until the client has had enough
            return


MIX = ("/ok", "/busy", "/big", "/chunked", "/cut", "/garbage", "/reset", "/stray", "/hang")
WEIGHTS = (60, 5, 8, 10, 2, 2, 2, 3, 2)


class Mix:
    """Threads that ask for everything, in every way."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.adapter = holdfast.PooledAdapter(limits=Limits(max_connections_per_host=8, acquire_timeout=60))
        self.local = threading.local()
        self.lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def all(self, seeds: range, threads: int) -> None:
        """One request for each seed. No executor: it would keep a future for each in memory."""

        def work(first: int) -> None:
            for seed in seeds[first::threads]:
                self.one(seed)

        workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def one(self, seed: int) -> None:
        chance = random.Random(seed)
        path = chance.choices(MIX, WEIGHTS)[0]
        outcome = "answered"
        try:
            outcome = self._given_up(chance) if path == "/hang" else self._asked(path, chance)
        except (holdfast.HoldfastError, requests.ConnectionError) as error:
            outcome = type(error).__name__
            if path not in ("/cut", "/garbage", "/reset"):
                self.wrong.append(f"{path}: {error!r}")
        except Exception as error:
            self.wrong.append(f"{path}: {error!r}")
        with self.lock:
            self.outcomes[outcome] += 1

    def _session(self) -> requests.Session:
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
            self.local.session.trust_env = False
            self.local.session.mount("http://", self.adapter)
        session: requests.Session = self.local.session
        return session

    def _asked(self, path: str, chance: random.Random) -> str:
        way = chance.random()
        response = self._session().get(self.url + path, stream=way < 0.2)
        if way < 0.1:
            response.close()
            return "closed unread"
        if way < 0.2:
            del response
            return "dropped"
        expected = {"/big": 300_000, "/chunked": 2048}.get(path)
        if expected is not None and len(response.content) != expected:
            self.wrong.append(f"{path}: {len(response.content)} bytes")
        return "answered"

    def _given_up(self, chance: random.Random) -> str:
        """A body that never ends: a stall, a deadline or a cancel ends it."""
        way = chance.choice(["stall", "total", "cancel", "close"])
        scope = holdfast.CancelScope()
        canceller = threading.Timer(0.005, scope.cancel)
        timeouts = Timeouts(body_stall=0.005 if way == "stall" else None, total=0.2 if way == "total" else None)
        try:
            with scope if way == "cancel" else contextlib.nullcontext():
                response = self._session().get(self.url + "/hang", stream=True, timeout=timeouts)
            if way == "close":
                response.close()
                return "closed unread"
            if way == "cancel":
                canceller.start()
            response.content  # noqa: B018  # reads the body
        except holdfast.HoldfastError as error:
            return type(error).__name__
        finally:
            if canceller.is_alive():
                canceller.join()
        self.wrong.append(f"{way}: an endless body ended")
        return "wrong"


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counts(adapter: holdfast.PooledAdapter) -> tuple[int, int, int]:
    """Threads, descriptors and pool entries, once everything idle is closed."""
    gc.collect()
    adapter.close_idle_connections()
    end = time.monotonic() + 10
    while any(thread.name.startswith("holdfast") for thread in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)
    stats = adapter.statistics()
    entries = stats.idle + stats.in_use + stats.dialing + stats.waiting
    return threading.active_count(), len(os.listdir("/proc/self/fd")), entries


@contextlib.contextmanager
def server_process() -> Iterator[str]:
    """The mix's server in a process of its own, so that this one's memory is the client's."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip()
    finally:
        child.communicate("", 30)


def serve() -> None:
    with Server(handle) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def mixed(requests_: int, threads: int) -> int:
    """The second part."""
    warnings.simplefilter("ignore", ResourceWarning)
    with server_process() as url:
        mix = Mix(url)
        began = time.monotonic()
        warm = requests_ // 5
        mix.all(range(warm), threads)
        before, memory = counts(mix.adapter), resident()
        mix.all(range(warm, requests_), threads)
        after, memory_after = counts(mix.adapter), resident()
        stats = mix.adapter.statistics()
        mix.adapter.close()
    shown = ", ".join(f"{n} {name}" for name, n in mix.outcomes.most_common())
    print(
        f"{requests_} mixed requests on {threads} threads in {time.monotonic() - began:.1f} s: {shown}\n"
        f"  threads, descriptors, pool entries: {before} after a fifth, {after} at the end; "
        f"resident memory {memory / 2**20:.1f} MiB and {memory_after / 2**20:.1f} MiB\n"
        f"  {stats.created} connections made, {sum(stats.closed.values())} closed, {stats.leaked} dropped responses recovered"
    )
    wrong = list(mix.wrong)
    if after != before or after[2]:
        wrong.append(f"left: {after}, before: {before}")
    if memory_after - memory > FLAT:
        wrong.append(f"memory grew by {memory_after - memory} bytes")
    if stats.created != sum(stats.closed.values()):
        wrong.append(f"counters: {stats}")
    for line in wrong[:5]:
        print(line, file=sys.stderr)
    return int(bool(wrong))


def fresh_sessions(requests_: int, threads: int, limit: int) -> int:
    """The first part."""
    errors: list[Exception] = []
    ports: set[object] = set()

    def one(_: int) -> None:
        try:
            with holdfast.Session(limits=Limits(max_connections_per_host=limit)) as session:
                response = session.get(server.url)
                info = holdfast.connection_info(response)
                ports.add(info.local_address if info else None)
                if response.content != b"ok":
                    raise ValueError(response.content)
        except Exception as error:
            errors.append(error)

    began = time.monotonic()
    with Server() as server, ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(one, range(requests_)):
            pass
        stats = holdfast.statistics()
        holdfast.close_idle_connections()
        accepted = server.accepted
    print(
        f"{requests_} requests from fresh sessions on {threads} threads in {time.monotonic() - began:.1f} s: "
        f"{len(errors)} errors, {accepted} connections accepted by the server, {len(ports)} ports used "
        f"(max_connections_per_host={limit}), {stats.in_use} left in use"
    )
    for error in errors[:3]:
        print(repr(error), file=sys.stderr)
    return int(bool(errors) or accepted > limit or bool(stats.in_use))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=28_000, help="from fresh sessions")
    parser.add_argument("--mixed", type=int, default=100_000, help="of the mix")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
        return 0
    return fresh_sessions(given.requests, given.threads, given.limit) or mixed(given.mixed, given.threads)


if __name__ == "__main__":
    sys.exit(main())
