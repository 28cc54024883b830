"""One service that can be switched: started, killed, paused, waited for."""

import time
from collections.abc import Callable

from worker.sandbox.carriers import Carrier
from worker.sandbox.unavailable import ServiceUnavailable

READY_SECONDS = 60.0
_POLL_SECONDS = 0.03


class Node:
    """A service by its name, its carrier, and the question whether it answers."""

    def __init__(self, name: str, carrier: Carrier, answers: Callable[[], bool]) -> None:
        self.name = name
        self._carrier = carrier
        self._answers = answers

    @property
    def pid(self) -> int | None:
        """The process that `kill` kills; None if the service is not a process of ours."""
        return self._carrier.pid

    def start(self) -> None:
        """Start it on the data that it left; `wait_ready` says when it answers."""
        self._carrier.start()

    def kill(self) -> None:
        """SIGKILL it and return when it is gone."""
        self._carrier.kill()

    def stop(self) -> None:
        """SIGTERM it and return when it is gone."""
        self._carrier.stop()

    def pause(self) -> None:
        """SIGSTOP it: connections stay open, nothing answers."""
        self._carrier.pause()

    def resume(self) -> None:
        """Let a paused service go on."""
        self._carrier.resume()

    def restart(self, deadline: float = READY_SECONDS) -> None:
        """Kill it, start it on the same data and the same address, wait until it answers."""
        self.kill()
        self.start()
        self.wait_ready(deadline)

    def wait_ready(self, deadline: float = READY_SECONDS) -> None:
        """Return when the service answers.

        Args:
            deadline: seconds to wait.

        Raises:
            ServiceUnavailable: it ended, or does not answer in time.
        """
        end = time.monotonic() + deadline
        while not self._answers():
            trouble = self._carrier.trouble()
            if trouble is not None:
                raise ServiceUnavailable(f"{self.name} did not start: {trouble}")
            if time.monotonic() > end:
                raise ServiceUnavailable(f"{self.name} does not answer within {deadline:g} s")
            time.sleep(_POLL_SECONDS)
