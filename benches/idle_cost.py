"""What an idle connection costs: Python memory, resident memory, and CPU while nothing is in flight. A command.

The server is a process of its own, so that its side of the connections is not counted.
"""

from __future__ import annotations

import gc
import os
import socket
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

import holdfast

CONNECTIONS = 400
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def serve(listener: socket.socket) -> None:
    """Three times: answers once all connections have asked, so that each request needs its own; then holds them."""
    rounds = []
    for _ in range(3):
        peers = [listener.accept()[0] for _ in range(CONNECTIONS)]
        for peer in peers:
            peer.recv(65536)
        for peer in peers:
            peer.sendall(ANSWER)
        rounds.append(peers)
    time.sleep(60)  # the parent ends us


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def open_all(pool: ThreadPoolExecutor, adapter: holdfast.PooledAdapter, url: str) -> int:
    """As many idle connections as there are requests."""
    request = requests.Request("GET", url, headers={"User-Agent": "bench"}).prepare()
    for body in pool.map(lambda _: adapter.send(request).content, range(CONNECTIONS)):
        assert body == b"ok"
    gc.collect()
    return adapter.statistics().idle


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    pid = os.fork()
    if pid == 0:
        serve(listener)
        os._exit(0)
    limits = holdfast.Limits(max_idle=CONNECTIONS, max_idle_per_host=CONNECTIONS)
    adapters = [holdfast.PooledAdapter(limits=limits, shared=False) for _ in range(3)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        # The memory of 400 threads, ours and those that dial, comes before.
        open_all(pool, adapters[0], url)
        adapters[0].close()
        gc.collect()
        before = resident()
        idle = open_all(pool, adapters[1], url)
        print(f"{idle} idle connections: {(resident() - before) / idle:.0f} bytes resident each")
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        idle = open_all(pool, adapters[2], url)
        print(
            f"{idle} idle connections: {(tracemalloc.get_traced_memory()[0] - before) / idle:.0f} bytes of Python each"
        )
        tracemalloc.stop()
    time.sleep(2.5)  # until the reaper watches them all
    began = time.process_time()
    time.sleep(5)
    print(f"CPU in 5 idle seconds: {(time.process_time() - began) * 1e3:.2f} ms")
    os.kill(pid, 15)
    os.waitpid(pid, 0)
    for adapter in adapters:
        adapter.close()


if __name__ == "__main__":
    main()
