#!/usr/bin/env python3
"""Adds up what ./check ran: the junit files of ctest and the list of fuzzers in a directory.

Names every failed and every skipped test, the latter with its reason: a word of skip_reasons.def, which has the
most tests that may be skipped for it. One more, or another reason, is a failure. NAME.again.xml holds tests of NAME.xml
that failed and were tried once more, alone: those that passed then count as passed and are named as shaky.
The last line is "N passed, N failed, N skipped". Exit code 1 when anything failed.
"""
import argparse
import collections
import os
import pathlib
import re
import sys
import xml.etree.ElementTree as xml


REASONS = pathlib.Path(__file__).resolve().parent / "skip_reasons.def"


def ceilings():
    """Word of a reason -> the most tests that may be skipped for it."""
    rows = re.findall(r'^VS_SKIP_REASON\(\w+, "([\w-]+)", (\d+)\)', REASONS.read_text(encoding="utf-8"), re.M)
    return {word: int(most) for word, most in rows}


def too_many(reasons):
    """A line for each reason that is not in the list, or that more tests gave than may. For not being root
    anybody but root may skip what it likes: ./check as root then tells."""
    most, lines = ceilings(), []
    given = collections.Counter(re.match(r"(?:\[([\w-]+)\])?", reason).group(1) for reason in reasons)
    for word, count in given.items():
        if word not in most:
            lines.append(f"{count} skipped for a reason that is not in {REASONS.name}: {word}")
        elif count > most[word] and not (word == "root" and os.geteuid() != 0):
            lines.append(f"{count} skipped for the reason {word}, at most {most[word]} may be ({REASONS.name})")
    return lines


def skip_reason(case):
    """What GTEST_SKIP() << said: the lines between "Skipped" and gtest's own next mark. Or what vm.sh said."""
    output = case.findtext("system-out") or ""
    said = re.search(r": Skipped\n(.*?)\n*(?:\n\[|\Z)", output, re.S) or re.search(r"^vm: skipped: (.*)", output, re.M)
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


def cases_of(path):
    return list(xml.parse(path).getroot().iter("testcase")) if path.exists() else []


def passed_again(path):
    """Names of the tests that passed when they were tried alone. Skipped the second time is not passed."""
    return {case.get("name") for case in cases_of(path.with_suffix(".again.xml")) if outcome(case) == "run"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broken", type=int, default=0, help="stages that failed before any test ran; each counts as failed")
    parser.add_argument("directory", type=pathlib.Path)
    args = parser.parse_args()

    passed, failed, skipped, shaky, reasons = 0, args.broken, 0, [], []
    for path in sorted(args.directory.glob("*.xml")):
        if path.name.endswith(".again.xml"):
            continue
        counts, again = {"run": 0, "fail": 0, "skip": 0}, passed_again(path)
        for case in cases_of(path):
            kind = outcome(case)
            if kind == "fail" and case.get("name") in again:
                kind = "run"
                shaky.append(case.get("name"))
            counts[kind] += 1
            if kind == "fail":
                print(f"failed  {path.stem}: {case.get('name')}")
            if kind == "skip":
                reasons.append(skip_reason(case))
                print(f"skipped {path.stem}: {case.get('name')}: {reasons[-1]}")
        print(f"{path.stem}: {counts['run']} passed, {counts['fail']} failed, {counts['skip']} skipped")
        passed, failed, skipped = passed + counts["run"], failed + counts["fail"], skipped + counts["skip"]

    fuzz = args.directory / "fuzz.txt"
    for line in fuzz.read_text().splitlines() if fuzz.exists() else []:
        result, name = line.split()
        passed, failed = passed + (result == "pass"), failed + (result == "fail")
        print(f"fuzz: {name} {result}")
    if args.broken:
        print(f"{args.broken} stage(s) failed before any of their tests ran: see above")
    for line in too_many(reasons):
        failed += 1
        print(f"failed  {line}")
    for name in shaky:
        print(f"shaky: {name} failed once and passed alone")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
