"""Running and measuring commands, loop filesystems, and Markdown: what bench/compare and bench/growth share.

A measurement is one run of one command line under GNU time: wall clock, CPU seconds of the command and its children, peak
memory, and the share of the machine that others used meanwhile (from /proc/stat), which says how far the wall clock is to be believed.
"""
import datetime
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICKS = os.sysconf("SC_CLK_TCK")

# What stands before a measured command. The kernel shares the processors among sessions (sched_autogroup) and heeds nice values only within
# one, so on a machine that others use a measured command gets a session of its own, with a larger share.
PREFER = ["setsid", "-w", "sh", "-c", 'echo -18 2>/dev/null >/proc/self/autogroup; exec nice -n -10 "$@"', "measured"]
PREFERRED = []


def say(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"bench: error: {text}")


class CommandFailed(Exception):
    pass


@dataclass
class Sample:
    wall: float
    cpu: float
    rss_kib: int
    others: float  # share of the machine's CPU time, 0..1
    read_kib: int  # from disk


def machine_ticks():
    with open("/proc/stat") as stat:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return user + nice + system + irq + softirq + steal, user + nice + system + idle + iowait + irq + softirq + steal


def measure(command, env, accept=(0,), errors=None):
    """One run of a bash command line. stdout is thrown away unless the command says otherwise."""
    with tempfile.NamedTemporaryFile("r") as report, tempfile.TemporaryFile("w+") as complaints:
        busy_before, all_before = machine_ticks()
        start = time.monotonic()
        code = subprocess.run([*PREFERRED, "/usr/bin/time", "-o", report.name, "-f", "%e %U %S %M %I", "bash", "-c", command],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints, env={**os.environ, **env}).returncode
        wall = time.monotonic() - start
        busy_after, all_after = machine_ticks()
        numbers = report.read().split("\n")[-2].split()
        complaints.seek(0)
        text = complaints.read()
        if errors is not None:
            errors.append(text)
        if code not in accept:
            raise CommandFailed(f"exit code {code} of: {command}\n{text[-2000:]}")
    cpu = float(numbers[1]) + float(numbers[2])
    others = max(0.0, (busy_after - busy_before) / TICKS - cpu) / max((all_after - all_before) / TICKS, 0.01)
    return Sample(wall, cpu, int(numbers[3]), others, int(numbers[4]) // 2)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as knob:
        knob.write("3\n")


# Reads everything until (nearly) nothing comes from the disk any more: one pass does not always leave all of it in memory.
def warm_up(env, total_bytes):
    for _ in range(6):
        # Sixteen at a time: small files from a disk are a matter of how many are asked for at once.
        if measure("find $POOL -type f -print0 | xargs -0 -P16 -n 500 cat >/dev/null", env).read_kib * 1024 < total_bytes / 200:
            return
    say("the trees do not stay in memory: warm is not quite warm")


def median(samples, field):
    return statistics.median(getattr(sample, field) for sample in samples)


def spread(samples, field):
    values = [getattr(sample, field) for sample in samples]
    return max(values) - min(values)


# --- where the trees are ---------------------------------------------------------------------------------

def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, **kwargs)


def can_reflink(directory):
    with tempfile.NamedTemporaryFile(dir=directory) as probe:
        probe.write(b"x" * 4096)
        probe.flush()
        done = subprocess.run(["cp", "--reflink=always", probe.name, probe.name + ".copy"], stderr=subprocess.DEVNULL).returncode == 0
        if os.path.exists(probe.name + ".copy"):
            os.unlink(probe.name + ".copy")
        return done


class Pool:
    """An ext4 filesystem in an image file below `work`, with a pristine copy to begin anew from.

    Copies of the image are reflinks. Where the filesystem of `work` cannot do that, an xfs in a sparse file holds the images.
    """

    def __init__(self, work, size):
        if os.geteuid() != 0:
            fail("must be root: this makes and mounts filesystems and drops caches")
        self.work, self.size = os.path.abspath(work), size
        os.makedirs(self.work, exist_ok=True)
        self.images = self.work
        if not can_reflink(self.work):
            self.images = os.path.join(self.work, "images")
            self._mount_images()
        self.top = os.path.join(self.work, "pool")
        self.image = os.path.join(self.images, "pool.img")
        self.pristine = os.path.join(self.images, "pristine.img")
        os.makedirs(self.top, exist_ok=True)
        self.unmount()

    def _mount_images(self):
        os.makedirs(self.images, exist_ok=True)
        if os.path.ismount(self.images):
            return
        image = self.images + ".xfs"
        if not os.path.exists(image):
            run("truncate", "-s", str(4 * self.size), image)
            run("mkfs.xfs", "-q", "-m", "reflink=1", image)
        self._loop_mount(image, self.images, "noatime")

    @staticmethod
    def _loop_mount(image, place, options):
        # Direct: the pages of the image are not kept a second time beside those of the files in it.
        device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", image], capture_output=True, text=True)
        if device.returncode != 0:
            device = run("losetup", "--find", "--show", image, capture_output=True, text=True)
        name = device.stdout.strip()
        try:
            run("mount", "-o", options, name, place)
        finally:
            # In use by the mount, it goes away with it.
            subprocess.run(["losetup", "-d", name], stderr=subprocess.DEVNULL)

    def mount(self):
        # noatime: reading must not write, for none of those compared.
        self._loop_mount(self.image, self.top, "noatime")

    def unmount(self):
        if os.path.ismount(self.top):
            for _ in range(20):
                if subprocess.run(["umount", self.top], stderr=subprocess.DEVNULL).returncode == 0:
                    return
                time.sleep(0.5)
            run("umount", self.top)

    def make(self, fill):
        """A fresh filesystem filled by fill(top), mounted."""
        self.unmount()
        for image in (self.image, self.pristine):
            if os.path.exists(image):
                os.unlink(image)
        run("truncate", "-s", str(self.size), self.image)
        run("mkfs.ext4", "-q", "-m", "0", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.mount()
        fill(self.top)

    def keep_pristine(self):
        self.unmount()
        run("cp", "--reflink=always", self.image, self.pristine)
        self.mount()

    def restore(self):
        self.unmount()
        if os.path.exists(self.image):
            os.unlink(self.image)
        run("cp", "--reflink=always", self.pristine, self.image)
        self.mount()

    def remove(self):
        self.unmount()
        if self.images != self.work and os.path.ismount(self.images):
            run("umount", self.images)
        shutil.rmtree(self.work)


# --- what is said about a run ------------------------------------------------------------------------------

def first_line(*argv):
    try:
        out = subprocess.run(argv, capture_output=True, text=True)
        lines = [line for line in (out.stdout + out.stderr).splitlines() if line.strip()]
        return lines[0].strip() if lines else ""
    except FileNotFoundError:
        return "not installed"


def package_version(package):
    return first_line("dpkg-query", "-W", "-f", "${Version}", package)


def processor():
    with open("/proc/cpuinfo") as info:
        names = re.findall(r"model name\s*: (.*)", info.read())
    return f"{len(names) or os.cpu_count()} x {names[0] if names else os.uname().machine}"


def memory_gib():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def header(packages, vunify):
    commit = first_line("git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD")
    lines = [f"- date {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, commit {commit}, {first_line(vunify, '--version')}",
             f"- machine: {processor()}, {memory_gib():.0f} GiB; kernel {os.uname().release}; {first_line('sh', '-c', '. /etc/os-release; echo $PRETTY_NAME')}"]
    if packages:
        lines.append("- versions: " + ", ".join(f"{package} {package_version(package)}" for package in packages))
    return lines


def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join("-" if i == 0 else "-:" for i in range(len(columns))) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def seconds(value):
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def find_vunify(given):
    for path in [given] if given else [os.path.join(REPOSITORY, "build", preset, "vunify") for preset in ("release", "dev")]:
        if os.path.exists(path):
            return os.path.abspath(path)
    fail(f"no vunify in {given or 'build/release'}; build it: cmake --preset release && cmake --build --preset release")


def number(text):
    """10k, 1M, 16G -> int"""
    factors = {"k": 1000, "M": 10**6, "G": 2**30}
    return int(float(text[:-1]) * factors[text[-1]]) if text[-1] in factors else int(text)


# This command as it was called, without where things were on this machine.
def call_line(name):
    kept, skip = [], False
    for argument in sys.argv[1:]:
        if skip or argument in ("--vunify", "--work", "-o", "--output"):
            skip = not skip
            continue
        kept.append(shlex.quote(argument))
    return " ".join([name] + kept)
