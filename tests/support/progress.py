#!/usr/bin/env python3
"""Shortens what ninja or ctest write on standard input to what somebody who waits wants to read.

    progress.py build | tests [--every SECONDS]

Every 30 seconds one line says how far it is; of tests it also names those that run. Passed tests are only
counted; all other lines of ctest (failures with their output, the summary) are passed on. Of a build nothing
is passed on: its log is in a file, which ./check shows when the build fails.
"""
import argparse
import re
import sys
import threading
import time

BUILD_STEP = re.compile(r"\[(\d+)/(\d+)\] ")
TEST_START = re.compile(r" *Start +\d+: (.*)")
TEST_END = re.compile(r" *\d+/(\d+) +Test +#\d+: (.*?) \.+ *(.*?) +[\d.]+ sec")
NOISE = re.compile(r"(Internal ctest changing|Test project) ")


class Build:
    def __init__(self):
        self.done, self.all, self.idle = 0, 0, False

    def line(self, text):
        """What of the line is to be shown, or None."""
        step = BUILD_STEP.match(text)
        if step:
            self.done, self.all = int(step[1]), int(step[2])
        self.idle = self.idle or text.startswith("ninja: no work to do")
        return None

    def state(self):
        if not self.all:
            return "nothing to build" if self.idle else "cmake looks at the machine"
        return f"{100 * self.done // self.all}% ({self.done} of {self.all} steps)"


class Tests:
    def __init__(self):
        self.done, self.all, self.failed, self.running = 0, 0, 0, []

    def line(self, text):
        start, end = TEST_START.match(text), TEST_END.match(text)
        if start:
            self.running.append(start[1])
            return None
        if end:
            self.done, self.all = self.done + 1, int(end[1])
            if end[2] in self.running:
                self.running.remove(end[2])
            good = end[3] in ("Passed", "***Skipped")
            self.failed += not good
            return None if good else text
        return None if NOISE.match(text) else text

    def state(self):
        text = f"{self.done} of {self.all or '?'} tests, {self.failed} failed"
        return text + (f"; running: {', '.join(self.running)}" if self.running else "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["build", "tests"])
    parser.add_argument("--every", type=float, default=30)
    args = parser.parse_args()
    watched = Build() if args.kind == "build" else Tests()
    start, ended, lock = time.monotonic(), threading.Event(), threading.Lock()

    def report():
        while not ended.wait(args.every):
            with lock:
                print(f"    {time.monotonic() - start:4.0f} s: {watched.state()}", flush=True)

    threading.Thread(target=report, daemon=True).start()
    for text in sys.stdin:
        with lock:
            shown = watched.line(text)
            if shown is not None:
                print(shown, end="", flush=True)
    ended.set()
    print(f"    {watched.state()}", flush=True)


if __name__ == "__main__":
    sys.stdin.reconfigure(errors="replace")
    main()
