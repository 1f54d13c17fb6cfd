"""What ``make gateway`` serves: the gateway with one host on its list, ``demo.example``, which is on this machine."""

from __future__ import annotations

import os
import socket

import gateway

import holdfast

application = gateway.Gateway(
    [f"http://demo.example:{os.environ['GATEWAY_DEMO']}"],
    timeouts=holdfast.Timeouts(connect=30, response_header=0.2, body_stall=60),
    resolver=lambda host, port: socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM),
)
