# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process costs: is a program that waits really waiting?"""
import os
import time

_TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    """CPU seconds of a process so far, user and system, all threads."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


class Meter:
    """with Meter(pid) as m: ...; then m.cpu of m.seconds"""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self._cpu, self._at = cpu(self.pid), time.monotonic()
        return self

    def __exit__(self, *exc):
        self.cpu, self.seconds = cpu(self.pid) - self._cpu, time.monotonic() - self._at

    def share(self):
        return self.cpu / self.seconds

    def __str__(self):
        return "%.2f s of CPU in %.1f s" % (self.cpu, self.seconds)
