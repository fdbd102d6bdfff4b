#!/usr/bin/env python3
"""Widths of Markdown files.

    markdown.py FILE...           names the lines that are too wide; exit code 1 when there are any
    markdown.py --wrap FILE...    wraps paragraphs and list items anew, and leaves all else as it is

Tables, code and headings have the width they need, and so has one long word, such as an address.
"""
import argparse
import pathlib
import re
import sys

WIDTH = 110
LONG_SPAN = 60
FENCE = re.compile(r" *(```|~~~)")
LIST = re.compile(r"( *)([-*+]|\d+[.)]) +")
RUN_TOGETHER = re.compile(r"(#+)[^#\s]")
# What at the beginning of a line would no longer be text.
MARK = re.compile(r"([-*+>|]|#+|\d+[.)]|```|~~~|={2,}|-{2,})(\s|$)|[|>]")


class Block:
    """Lines that belong together; `indent` and `first` only of text: what stands before the words."""

    def __init__(self, kind, lines, first="", indent=""):
        self.kind, self.lines, self.first, self.indent = kind, lines, first, indent


def blocks(lines):
    """Cuts a file into blocks: "text" (a paragraph or list item) and "kept" (everything else)."""
    result, text, depth, i = [], None, 0, 0
    while i < len(lines):
        line = lines[i]
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            text = None
            result.append(Block("kept", [line]))
        elif FENCE.match(line):
            end = i + 1
            while end < len(lines) and not FENCE.match(lines[end]):
                end += 1
            result.append(Block("code", lines[i:end + 1]))
            text, i = None, end
        elif text is None and indent >= depth + 4:
            result.append(Block("code", [line]))
        elif line.lstrip().startswith("|"):
            text = None
            result.append(Block("table", [line]))
        elif line.lstrip().startswith(("#", "<", "[")) and (text is None or line.startswith("#")):
            text = None
            result.append(Block("kept", [line]))
        elif LIST.match(line):
            mark = LIST.match(line)
            depth = mark.end()
            text = Block("text", [line[mark.end():]], mark.group(), " " * mark.end())
            result.append(text)
        elif text is not None:
            text.lines.append(line)
            if line.endswith(("  ", "\\")):
                text = None
        else:
            if indent == 0:
                depth = 0
            text = Block("text", [line.lstrip()], " " * indent, " " * indent)
            result.append(text)
        i += 1
    return result


def words(text):
    """What stays in one line: a word with the marks behind it; a code span, so that it can be searched for,
    unless it is a long one."""
    whole = re.sub(r"`[^`]*`", lambda span: span[0].replace(" ", "\0") if len(span[0]) <= LONG_SPAN else span[0], text)
    result = []
    for word in whole.split():
        if result and MARK.match(word):
            result[-1] += " " + word
        else:
            result.append(word)
    return [word.replace("\0", " ") for word in result]


def wrapped(block):
    result, line = [], block.first
    empty = True
    for word in words(" ".join(part.strip() for part in block.lines)):
        if not empty and len(line) + 1 + len(word) > WIDTH:
            result.append(line)
            line, empty = block.indent, True
        line += word if empty else " " + word
        empty = False
    return result + [line]


def wrap(text):
    lines = []
    for block in blocks(text.split("\n")):
        hard = block.kind == "text" and block.lines[-1].endswith(("  ", "\\"))
        if block.kind != "text" or hard:
            lines += [block.first + block.lines[0]] + block.lines[1:] if block.kind == "text" else block.lines
        else:
            lines += wrapped(block)
    return "\n".join(lines)


def too_wide(text):
    """Numbers of the lines (from 1) that are wider than they may be."""
    result, number = [], 1
    for block in blocks(text.split("\n")):
        for i, line in enumerate(block.lines):
            shown = (block.first if i == 0 else "") + line
            if block.kind == "text" and len(shown) > WIDTH and len(words(shown.strip())) > 1:
                result.append(number)
            number += 1
    return result


def wrong_with(text):
    """What a program that takes the file for a source, or a slip of the hand, made of it."""
    if sum(bool(FENCE.match(line)) for line in text.split("\n")) % 2:
        yield "a code block has no end"
    for block in blocks(text.split("\n")):
        if block.kind != "code" and (title := RUN_TOGETHER.match(block.first + block.lines[0])):
            yield f"a title without a blank behind its {title[1]}"
    if wrap(text) != text:
        yield "its lists, tables or paragraphs are not laid out as markdown.py --wrap does it"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wrap", action="store_true")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    found = False
    for path in args.files:
        text = path.read_text(encoding="utf-8")
        if args.wrap:
            path.write_text(wrap(text), encoding="utf-8")
            text = path.read_text(encoding="utf-8")
        for number in too_wide(text):
            found = True
            print(f"{path}:{number}: wider than {WIDTH} columns")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
