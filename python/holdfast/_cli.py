"""The command line: ``holdfast demo``."""

from __future__ import annotations

import argparse
import sys

import requests

__all__ = ["main"]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _reason(error: Exception) -> str:
    """The innermost cause that has words: requests and urllib3 wrap it several times."""
    text = str(error)
    inner: BaseException | None = error
    for _ in range(6):
        inner = getattr(inner, "reason", None) or (inner.args[0] if inner is not None and inner.args else None)
        if not isinstance(inner, BaseException):
            break
        text = str(inner)
    return " ".join(text.split())


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; the exit status: 0, or 2 for a mistake, with one line that says what it was."""
    parser = argparse.ArgumentParser(prog="holdfast", description="A pooled transport for requests.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the same requests without and with holdfast, side by side")
    demo.add_argument("--url", help="a server of your own (default: an embedded one, TLS and keep-alive)")
    demo.add_argument("--requests", type=_positive, default=500, metavar="N", help="requests per round (default 500)")
    demo.add_argument("--threads", type=_positive, default=1, metavar="N", help="threads that send them (default 1)")
    given = parser.parse_args(arguments)
    try:
        from holdfast import _demo  # noqa: PLC0415  # needs the extra
    except ImportError as error:
        print(f"holdfast demo: {error}; install holdfast[cli]", file=sys.stderr)
        return 2
    try:
        _demo.run(given.url, given.requests, given.threads)
    except requests.RequestException as error:
        print(f"holdfast demo: {given.url or 'the embedded server'}: {_reason(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
