"""A small process that ends what another one has started, should that one be killed.

Run as a script: ``keeper.py GRACE``. On stdin it is told of process groups: ``+N`` is running, ``~N`` is running and to
be asked before it is killed, ``-N`` has ended. When stdin ends, all that still run are ended.
"""

import os
import signal
import sys
import time


def main() -> None:
    """Listen until the other process ends."""
    # Ctrl-C and a closed terminal reach the other process; its end is what counts here.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, bool] = {}
    for line in sys.stdin:
        if line[0] == "-":
            groups.pop(int(line[1:]), None)
        else:
            groups[int(line[1:])] = line[0] == "~"
    asked = [group for group, ask in groups.items() if ask and send(group, signal.SIGTERM)]
    until = time.monotonic() + float(sys.argv[1])
    while asked and time.monotonic() < until:
        time.sleep(0.05)
        asked = [group for group in asked if send(group, 0)]
    for group in groups:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Send a signal to a process group; whether there is one."""
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
