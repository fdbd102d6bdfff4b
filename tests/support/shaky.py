#!/usr/bin/env python3
"""Which failed tests are tried once more: those that boot machines or use the kernel of this one.

    ctest --test-dir BUILD --show-only=json-v1 | shaky.py RESULTS.xml

Prints ctest's numbers of the failed tests with the label root or vm, as `ctest -I` takes them, or nothing.
Tests of other labels depend on nothing that a second try could change. Many failures at once are no accident:
then nothing is tried again.
"""
import json
import sys
import xml.etree.ElementTree as xml

LABELS = {"root", "vm"}
MOST = 10


def labels(test):
    for one in test.get("properties", []):
        if one["name"] == "LABELS":
            return set(one["value"])
    return set()


def again(tests, failed):
    """The numbers (ctest counts from 1) of those of the failed names that are worth a second try."""
    numbers = [number for number, test in enumerate(tests, 1) if test["name"] in failed and labels(test) & LABELS]
    return numbers if len(numbers) <= MOST else []


def main():
    cases = xml.parse(sys.argv[1]).getroot().iter("testcase")
    failed = {case.get("name") for case in cases if case.find("failure") is not None}
    numbers = again(json.load(sys.stdin)["tests"], failed)
    if numbers:
        print("0,0,0," + ",".join(map(str, numbers)))


if __name__ == "__main__":
    main()
