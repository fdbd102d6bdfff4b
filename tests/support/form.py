#!/usr/bin/env python3
"""The form of what is in git: layout of the sources, width of the documents, what a file may be.

    form.py [--junit FILE]     exit code 1 when anything is wrong; every finding names its file

Each check is one test of the sum that ./check prints.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml

import markdown

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Another major version lays out some lines in another way.
CLANG_FORMAT = 14
# Pictures, recorded runs and samples for fuzzers are smaller than this; a build that slipped in is not.
LARGEST = 1 << 20
# Written by programs, which wrap nothing.
WRITTEN = ("bench/results/",)
# Bytes of foreign formats, damaged on purpose.
NO_TEXT = ("tests/testdata/",)


class Skip(Exception):
    pass


def files_in_git():
    # A checkout that belongs to somebody else is only read.
    done = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False)
    if done.returncode != 0:
        raise Skip("this tree is no checkout of git")
    return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).exists()]


def clang_format(files):
    program = shutil.which(f"clang-format-{CLANG_FORMAT}") or shutil.which("clang-format")
    if not program:
        return ["clang-format is not installed: packaging/install-packages"]
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if f"version {CLANG_FORMAT}." not in version:
        raise Skip(f"{version.strip()}; this needs version {CLANG_FORMAT}")
    sources = [name for name in files if name.endswith((".cc", ".h"))]
    parts = [sources[i:i + 20] for i in range(0, len(sources), 20)]

    def one(part):
        done = subprocess.run([program, "--dry-run", "--Werror", *part], capture_output=True, text=True, cwd=ROOT, check=False)
        found = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.M)))
        return found or ([done.stderr] if done.returncode else [])

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [f"{name}: clang-format -i changes it" for found in pool.map(one, parts) for name in found]


def markdown_width(files):
    found = []
    for name in files:
        if not name.endswith(".md") or name.startswith(WRITTEN):
            continue
        numbers = markdown.too_wide((ROOT / name).read_text(encoding="utf-8"))
        if numbers:
            found.append(f"{name}: wider than {markdown.WIDTH} columns in line {', '.join(map(str, numbers))}; "
                         f"tests/support/markdown.py --wrap {name}")
    return found


def markdown_layout(files):
    return [f"{name}: {what}" for name in files if name.endswith(".md") and not name.startswith(WRITTEN)
            for what in markdown.wrong_with((ROOT / name).read_text(encoding="utf-8"))]


def files_are_sane(files):
    return [f"{name}: {what}" for name in files for what in wrong_with(name)]


def wrong_with(name):
    path = ROOT / name
    if not re.fullmatch(r"[A-Za-z0-9._/+@-]+", name) and not name.startswith(NO_TEXT):
        yield "its name needs quoting"
    if path.is_symlink():
        return
    if path.stat().st_size > LARGEST:
        yield f"larger than {LARGEST >> 20} MiB"
    if name.startswith(NO_TEXT + WRITTEN):
        return
    data = path.read_bytes()
    if b"\0" in data:
        yield "not a text"
        return
    if data and not data.endswith(b"\n"):
        yield "its last line has no end"
    if b"\r\n" in data:
        yield "has the line ends of another system"
    if re.search(rb"^(<<<<<<<|>>>>>>>) ", data, re.M):
        yield "holds marks of a merge"
    if re.search(rb"[ \t]+$", data, re.M) and not name.endswith((".md", ".patch", ".diff")):
        yield "has blanks at the end of a line"
    if bool(path.stat().st_mode & 0o100) != data.startswith(b"#!") and not sourced(name):
        yield "is executable and has no #!, or has one and is not executable"


# Written into a guest, or read by another script, and run by nobody here.
def sourced(name):
    return name.startswith(("packaging/debian/", "tests/vm/"))


CHECKS = {"form.clang_format": clang_format, "form.markdown_width": markdown_width, "form.markdown_layout": markdown_layout,
          "form.files": files_are_sane}


def run():
    """Name, findings and the reason why it was skipped, for each check."""
    try:
        files = files_in_git()
    except Skip as reason:
        return [(name, [], str(reason)) for name in CHECKS]
    results = []
    for name, check in CHECKS.items():
        try:
            results.append((name, check(files), None))
        except Skip as reason:
            results.append((name, [], str(reason)))
    return results


def junit(results):
    suite = xml.Element("testsuite", name="form")
    for name, findings, skipped in results:
        case = xml.SubElement(suite, "testcase", name=name, status="notrun" if skipped else "fail" if findings else "run")
        if skipped:
            xml.SubElement(case, "skipped", message=skipped)
        if findings:
            xml.SubElement(case, "failure", message=f"{len(findings)} findings")
            xml.SubElement(case, "system-out").text = "\n".join(findings)
    return xml.ElementTree(suite)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--junit", type=pathlib.Path)
    args = parser.parse_args()
    results = run()
    for name, findings, skipped in results:
        print(f"{name}: {'skipped: ' + skipped if skipped else f'{len(findings)} findings'}")
        for finding in findings:
            print(f"    {finding}")
    if args.junit:
        junit(results).write(args.junit)
    return 1 if any(findings for _, findings, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
