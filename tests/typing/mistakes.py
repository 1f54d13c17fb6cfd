"""What a type checker must find: each marked line is an error, and a checker that stays silent about one fails."""

from __future__ import annotations

import requests

import holdfast

holdfast.Limits(max_idle="10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
holdfast.Limits(50)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
holdfast.Timeouts(read=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
holdfast.mount("session")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
holdfast.mount(requests.Session(), limits=10)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
holdfast.mount(requests.Session(), limit=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
holdfast.install(sessions="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
holdfast.Session(timeout=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
holdfast.deadline("2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
holdfast.statistics().idle = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
holdfast.CancelScope().stop()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
