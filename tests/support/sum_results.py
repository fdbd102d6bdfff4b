#!/usr/bin/env python3
"""Adds up what ./check ran: the junit files of ctest and the list of fuzzers in a directory.

Names every failed and every skipped test, the latter with its reason; the last line is
"N passed, N failed, N skipped". Exit code 1 when anything failed.
"""
import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as xml


def skip_reason(case):
    """What GTEST_SKIP() << said: the lines between "Skipped" and gtest's own next mark."""
    output = case.findtext("system-out") or ""
    said = re.search(r": Skipped\n(.*?)\n*(?:\n\[|\Z)", output, re.S)
    if said and said.group(1).strip():
        return " ".join(said.group(1).split())
    skipped = case.find("skipped")
    return (skipped.get("message") if skipped is not None else "") or case.get("status") or "no reason given"


def outcome(case):
    """A test that ctest could not even start is a failure: "notrun" without a skip mark."""
    if case.find("failure") is not None:
        return "fail"
    if case.get("status") == "run":
        return "run"
    return "skip" if case.get("status") == "disabled" or case.find("skipped") is not None else "fail"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broken", type=int, default=0, help="stages that failed before any test ran; each counts as failed")
    parser.add_argument("directory", type=pathlib.Path)
    args = parser.parse_args()

    passed, failed, skipped = 0, args.broken, 0
    for path in sorted(args.directory.glob("*.xml")):
        counts = {"run": 0, "fail": 0, "skip": 0}
        for case in xml.parse(path).getroot().iter("testcase"):
            kind = outcome(case)
            counts[kind] += 1
            if kind == "fail":
                print(f"failed  {path.stem}: {case.get('name')}")
            if kind == "skip":
                print(f"skipped {path.stem}: {case.get('name')}: {skip_reason(case)}")
        print(f"{path.stem}: {counts['run']} passed, {counts['fail']} failed, {counts['skip']} skipped")
        passed, failed, skipped = passed + counts["run"], failed + counts["fail"], skipped + counts["skip"]

    fuzz = args.directory / "fuzz.txt"
    for line in fuzz.read_text().splitlines() if fuzz.exists() else []:
        result, name = line.split()
        passed, failed = passed + (result == "pass"), failed + (result == "fail")
        print(f"fuzz: {name} {result}")
    if args.broken:
        print(f"{args.broken} stage(s) failed before any of their tests ran: see above")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
