#!/usr/bin/env python3
"""Tests of the scripts that ./check is made of: the sum, the second try, the progress, the widths."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import markdown
import progress
import shaky
import sum_results

HERE = pathlib.Path(__file__).resolve().parent

PASSED = '<testcase name="{}" status="run"/>'
FAILED = '<testcase name="{}" status="fail"><failure message=""/></testcase>'
NOT_STARTED = '<testcase name="{}" status="notrun"/>'
SKIPPED = ('<testcase name="{}" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'
           "<system-out>a_test.cc:7: Skipped\n[kernel] needs a moon\n\n[  SKIPPED ] A.B\n</system-out></testcase>")


class SumTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def put(self, name, *cases):
        path = pathlib.Path(self.directory.name) / name
        path.write_text("<testsuite>" + "".join(cases) + "</testsuite>", encoding="utf-8")

    def sum(self, *arguments):
        done = subprocess.run([sys.executable, str(HERE / "sum_results.py"), *arguments, self.directory.name],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    def test_adds_up_all_files_and_the_fuzzers(self):
        self.put("release.xml", PASSED.format("a"), PASSED.format("b"))
        self.put("asan.xml", PASSED.format("a"))
        (pathlib.Path(self.directory.name) / "fuzz.txt").write_text("pass fuzz_x\nfail fuzz_y\n", encoding="utf-8")
        code, lines = self.sum()
        self.assertEqual(code, 1)
        self.assertEqual(lines[-1], "4 passed, 1 failed, 0 skipped")

    def test_names_what_was_skipped_with_its_reason(self):
        self.put("release.xml", PASSED.format("a"), SKIPPED.format("b"))
        code, lines = self.sum()
        self.assertEqual(code, 0)
        self.assertIn("skipped release: b: [kernel] needs a moon", lines)
        self.assertEqual(lines[-1], "1 passed, 0 failed, 1 skipped")

    def test_a_machine_that_was_not_booted_has_its_reason_too(self):
        self.put("release.xml", SKIPPED.replace("a_test.cc:7: Skipped\n[kernel] needs a moon", "vm: skipped: [root] needs root").format("vm.x"))
        self.assertIn("skipped release: vm.x: [root] needs root", self.sum()[1])

    def test_a_reason_that_is_not_in_the_list_is_a_failure(self):
        for reason in ("needs a moon", "[moon] needs a moon"):
            self.put("release.xml", SKIPPED.format("a").replace("[kernel] needs a moon", reason))
            code, lines = self.sum()
            self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed, 1 skipped"), reason)

    def test_more_skipped_than_the_ceiling_are_a_failure(self):
        most = sum_results.ceilings()["kernel"]
        self.put("release.xml", *(SKIPPED.format(n) for n in range(most)))
        self.assertEqual(self.sum()[0], 0)
        self.put("release.xml", *(SKIPPED.format(n) for n in range(most + 1)))
        code, lines = self.sum()
        self.assertEqual((code, lines[-1]), (1, f"0 passed, 1 failed, {most + 1} skipped"))
        self.assertIn(f"failed  {most + 1} skipped for the reason kernel, at most {most} may be (skip_reasons.def)",
                      lines)

    def test_what_could_not_be_started_failed(self):
        self.put("release.xml", NOT_STARTED.format("a"))
        code, lines = self.sum()
        self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed, 0 skipped"))

    def test_a_broken_stage_counts_as_a_failure(self):
        self.put("release.xml", PASSED.format("a"))
        code, lines = self.sum("--broken", "1")
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed, 0 skipped"))

    def test_what_passed_alone_is_counted_once_and_named_as_shaky(self):
        self.put("release.xml", PASSED.format("a"), FAILED.format("b"))
        self.put("release.again.xml", PASSED.format("b"))
        code, lines = self.sum()
        self.assertEqual(code, 0)
        self.assertEqual(lines[-2:], ["shaky: b failed once and passed alone", "2 passed, 0 failed, 0 skipped"])

    def test_what_failed_twice_failed(self):
        self.put("release.xml", FAILED.format("b"))
        self.put("release.again.xml", FAILED.format("b"))
        code, lines = self.sum()
        self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed, 0 skipped"))
        self.assertIn("failed  release: b", lines)

    def test_skipped_the_second_time_is_not_passed(self):
        self.put("release.xml", FAILED.format("b"))
        self.put("release.again.xml", SKIPPED.format("b"))
        self.assertEqual(self.sum()[1][-1], "0 passed, 1 failed, 0 skipped")

    def test_a_second_try_speaks_for_its_own_build_only(self):
        self.put("release.xml", PASSED.format("a"))
        self.put("asan.xml", FAILED.format("b"))
        self.put("release.again.xml", PASSED.format("b"))
        self.assertEqual(self.sum()[1][-1], "1 passed, 1 failed, 0 skipped")


class ShakyTest(unittest.TestCase):
    TESTS = [{"name": name, "properties": [{"name": "LABELS", "value": [label]}]}
             for name, label in (("A.unit", "unit"), ("B.root", "root"), ("C.cli", "cli"), ("vm.d", "vm"), ("E.root", "root"))]

    def test_only_root_and_vm_are_tried_again(self):
        self.assertEqual(shaky.again(self.TESTS, {"A.unit", "B.root", "C.cli", "vm.d"}), [2, 4])

    def test_nothing_is_tried_again_when_much_failed(self):
        tests = [dict(self.TESTS[1], name=f"B.{i}") for i in range(shaky.MOST + 1)]
        self.assertEqual(shaky.again(tests, {test["name"] for test in tests}), [])

    def test_prints_what_ctest_takes(self):
        with tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="utf-8") as results:
            results.write("<testsuite>" + FAILED.format("B.root") + PASSED.format("vm.d") + "</testsuite>")
            results.flush()
            done = subprocess.run([sys.executable, str(HERE / "shaky.py"), results.name], input=json.dumps({"tests": self.TESTS}),
                                  capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "0,0,0,2\n")


class ProgressTest(unittest.TestCase):
    def test_tests_that_pass_are_counted_and_others_shown(self):
        tests = progress.Tests()
        self.assertIsNone(tests.line("    Start  3: A.B/0\n"))
        self.assertIsNone(tests.line("    Start  4: vm.x\n"))
        self.assertEqual(tests.state(), "0 of ? tests, 0 failed; running: A.B/0, vm.x")
        self.assertIsNone(tests.line("  1/12 Test  #3: A.B/0 .....................   Passed    0.12 sec\n"))
        self.assertEqual(tests.state(), "1 of 12 tests, 0 failed; running: vm.x")
        self.assertIsNotNone(tests.line("  2/12 Test  #4: vm.x ......***Timeout 900.01 sec\n"))
        self.assertIsNone(tests.line("  3/12 Test  #5: A.C ...................***Skipped   0.12 sec\n"))
        self.assertIsNotNone(tests.line("  4/12 Test  #6: A.D ...Subprocess aborted***Exception:   0.49 sec\n"))
        self.assertIsNotNone(tests.line("what the test printed\n"))
        self.assertEqual(tests.state(), "4 of 12 tests, 2 failed")

    def test_a_build_says_how_far_it_is(self):
        build = progress.Build()
        for line in ("-- The C compiler\n", "[1/4] Building a.o\n", "[3/4] Building b.o\n", "a warning\n"):
            self.assertIsNone(build.line(line))
        self.assertEqual(build.state(), "75% (3 of 4 steps)")


class MarkdownTest(unittest.TestCase):
    LONG = " ".join(["word"] * 40)

    def test_text_is_wrapped_and_its_words_stay(self):
        for before in (self.LONG, f"- {self.LONG}\n  {self.LONG}", f"12. {self.LONG}"):
            after = markdown.wrap(before)
            self.assertEqual(after.split(), before.split())
            self.assertEqual(markdown.too_wide(after), [])
            self.assertNotEqual(markdown.too_wide(before), [])

    def test_tables_code_and_headings_stay(self):
        for text in (f"| {self.LONG} | a |\n|---|---|\n", f"```\n{self.LONG}\n```\n", f"text\n\n    {self.LONG}\n", f"# {self.LONG}\n"):
            self.assertEqual(markdown.wrap(text), text)
            self.assertEqual(markdown.too_wide(text), [])

    def test_a_long_word_has_a_line_of_its_own(self):
        link = "<https://example.org/" + "a" * 120 + ">"
        self.assertEqual(markdown.wrap(f"text {link} text"), f"text\n{link}\ntext")
        self.assertEqual(markdown.too_wide(f"text\n{link}\ntext"), [])

    def test_no_line_begins_with_a_mark(self):
        for mark in ("-", "1.", "#", "|"):
            for length in range(100, 112):
                lines = markdown.wrap("b " + "a" * length + f" {mark} b").split("\n")
                self.assertFalse(any(line.startswith(mark) for line in lines), lines)

    def test_a_short_code_span_is_not_broken(self):
        text = ("a" * 100) + " `vunify run --jobs 2` b"
        self.assertIn("`vunify run --jobs 2`", markdown.wrap(text).split("\n")[1])

    # What clang-format makes of them, when it is called for "name.*".
    def test_a_file_that_was_laid_out_as_a_source_is_refused(self):
        sound = "# A title\n\n- one point\n- another one\n\n    # a comment of a shell\n    ./check\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        self.assertEqual(list(markdown.wrong_with(sound)), [])
        for broken in ("#A title\n\nText.\n",
                       "## A title\n\n#Another : title\n",
                       "# A title\n\n- one point;\n  - two;\n    end of it.Next\n        one\n",
                       "Text that goes on,\n    and on;\n",
                       "# A title\n\n```\ncode ```\n"):
            self.assertNotEqual(list(markdown.wrong_with(broken)), [], broken)


if __name__ == "__main__":
    unittest.main()
