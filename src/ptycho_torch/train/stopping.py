"""Requests to end a training before its time: signals.

A request is noted and looked at between steps, so that the state of the last finished epoch can be
written first. The exit status is 130 after SIGINT, 143 after SIGTERM.
"""

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what clusters and Snakemake send."""


class StopRequests:
    """Which request has come, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def reason(self) -> str | None:
        """Why the training is to end, in words; None: it is not."""
        return None if self.signal is None else self.signal.name

    def obey(self) -> None:
        """End the process, with the status of one that the signal ended."""
        sys.exit(1 if self.signal is None else 128 + self.signal)


@contextlib.contextmanager
def noted() -> Iterator[StopRequests]:
    """Note signals instead of ending at once; a second one ends at once.

    In a thread beside the main one signals cannot be had, and are left as they are.
    """
    requests = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return

    def note(number: int, _: FrameType | None) -> None:
        if requests.signal is not None:
            put_back()
            signal.raise_signal(number)
        requests.signal = signal.Signals(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}

    def put_back() -> None:
        for number, handler in before.items():
            # None: set by something other than Python, which cannot be put back from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    try:
        yield requests
    finally:
        put_back()
