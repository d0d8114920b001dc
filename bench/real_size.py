# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A released size from random weights to a Triton repository, without a GPU, and the plan of it against what happened.

    make real-size
    python bench/real_size.py build/real-size                     # the same
    python bench/real_size.py build/real-size --publish           # and write the results and docs/building.md
    python bench/real_size.py build/real-size-3b --size 3b

Every step is the command that a user types, in a process of its own. Its times are those of the process; its peak is
VmHWM as the kernel counted it, and the anonymous pages and the pages of files in it are sampled every 50 ms. Pages of
files can be dropped when another process needs memory; anonymous ones cannot.

A step that was finished with this version and the same arguments is not run again. Folders that no later step reads
are removed, unless --keep is given: the 8B needs 36 GB on the disk, and 56 GB with --keep.

Ends with 1 if the steps together took longer than --minutes, or one of them more memory than --gigabytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nld_trt
from nld_trt import names
from nld_trt.engine.manifest import FILE_NAME as ENGINE_FILE
from nld_trt.files import read_json, write_json
from nld_trt.machine import host
from nld_trt.machine.installed import package_version

ROOT = Path(__file__).parents[1]
STATE_FILE = "real-size.json"
PAGE, SECTION = ROOT / "docs" / "building.md", "real size"
PLATFORMS = (names.RTX_PRO_6000, names.DGX_SPARK)
# Rounded to nearest, since AWQ searches for hours at this size on a CPU (docs/quantization.md).
QFORMAT = "int4_rtn"
PACKAGES = ("nvidia-modelopt", "tensorrt-rtx", "torch")
SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Step:
    """One command of nld-trt, run in the work folder.

    Attributes:
        output: the folder that it writes; None for a command that answers on stdout.
        last_reader_of: the folder that nothing reads after it.
    """

    name: str
    arguments: tuple[str, ...]
    output: str | None = None
    last_reader_of: str | None = None

    @property
    def command(self) -> str:
        return shlex.join(("nld-trt", *self.arguments))


def steps_of(size: str) -> tuple[Step, ...]:
    """From a released size to a repository. The plan comes first: it must know nothing of what is built."""
    platforms = tuple(word for platform in PLATFORMS for word in ("--platform", platform))
    rows = ("--users", str(names.DEFAULT_MAX_BATCH_SIZE))
    return (
        Step("plan", ("plan", size, "--precision", names.INT4, *rows, *platforms, "--json")),
        Step("synthetic", ("synthetic", size, "-o", "synthetic"), "synthetic"),
        Step("convert", ("convert", "synthetic", "-o", "converted"), "converted", "synthetic"),
        Step("quantize", ("quantize", "converted", "-o", "int4", "--qformat", QFORMAT), "int4", "converted"),
        Step("build", ("build", "int4", "-o", "engine", "--backend", names.TRT_RTX, *platforms), "engine", "int4"),
        Step("repo", ("repo", "engine", "-o", "repository"), "repository"),
    )


@dataclass(frozen=True)
class Usage:
    """What a command took. Memory is in bytes and that of its process.

    Attributes:
        peak: the most that was resident at once, as the kernel counted it.
        peak_anonymous, peak_of_files: the most of either kind of page that a sample found, not at the same time.
        load: the machine's load average before it.
        disk: bytes of its output.
    """

    seconds: float
    user_seconds: float
    system_seconds: float
    peak: int
    peak_anonymous: int
    peak_of_files: int
    load: float | None
    disk: int

    @property
    def processor_seconds(self) -> float:
        return self.user_seconds + self.system_seconds


class Run:
    """The steps in a work folder, and what is known of those that are finished."""

    def __init__(self, work: Path, size: str) -> None:
        self.work, self.steps = work, steps_of(size)
        self._path = work / STATE_FILE
        found = read_json(self._path) if self._path.is_file() else {}
        self.state: dict[str, Any] = found if found.get("size") == size else {"size": size, "steps": {}}

    def usage(self, step: Step) -> Usage:
        return Usage(**self.state["steps"][step.name]["usage"])

    def first_open(self) -> int:
        """The index of the first step to run: the first whose result does not stand, or one whose result that needs."""
        steps = self.steps
        first = next((index for index, step in enumerate(steps) if not self._stands(step, steps[index + 1 :])), None)
        if first is None:
            return len(steps)
        while first and not self._exists(steps[first - 1]):
            first -= 1
        return first

    def _stands(self, step: Step, later: Sequence[Step]) -> bool:
        return self._finished(step) and (self._exists(step) or self._served(step, later))

    def _finished(self, step: Step) -> bool:
        found = self.state["steps"].get(step.name, {})
        return found.get("command") == step.command and found.get("nld_trt") == nld_trt.__version__

    def _exists(self, step: Step) -> bool:
        return step.output is None or (self.work / step.output).is_dir()

    def _served(self, step: Step, later: Sequence[Step]) -> bool:
        """Whether the last step that reads its output is finished."""
        return any(each.last_reader_of == step.output and self._finished(each) for each in later)

    def run(self, *, keep: bool) -> None:
        """Run the open steps. Raises SystemExit with the status of one that fails."""
        start = self.first_open()
        for step in self.steps[:start]:
            print(f"{step.name}: kept, {self.usage(step).seconds:.0f} s")
        for step in self.steps[start:]:
            self.state["steps"].pop(step.name, None)
        for step in self.steps[start:]:
            self._run(step)
            if step.last_reader_of and not keep:
                shutil.rmtree(self.work / step.last_reader_of)

    def _run(self, step: Step) -> None:
        print(f"{step.name}: {step.command}", flush=True)
        replaces = ("--force",) if step.output and (self.work / step.output).exists() else ()
        earlier = self.state.setdefault("interrupted", {})
        started = time.perf_counter()
        try:
            status, usage = watched(
                [sys.executable, "-m", "nld_trt", *step.arguments, *replaces],
                self.work,
                stdout=self.work / f"{step.name}.out",
                earlier=earlier.get(step.name, 0.0),
                output=self.work / step.output if step.output else None,
            )
            if status:
                raise SystemExit(status)
        except BaseException:
            # Commands that resume take less time when they are run again, which is not what the step takes.
            earlier[step.name] = earlier.get(step.name, 0.0) + time.perf_counter() - started
            write_json(self._path, self.state)
            raise
        earlier.pop(step.name, None)
        self.state["steps"][step.name] = {
            "command": step.command, "nld_trt": nld_trt.__version__, "usage": asdict(usage),
        }  # fmt: skip
        self.state |= {"machine": machine(), "versions": versions()}
        write_json(self._path, self.state)
        print(f"{step.name}: {usage.seconds:.0f} s, peak {gigabytes(usage.peak)} GB", flush=True)


def watched(
    command: Sequence[str], folder: Path, *, stdout: Path, earlier: float = 0.0, output: Path | None = None
) -> tuple[int, Usage]:
    """Run ``command`` in ``folder`` until it ends. Returns its exit status and what it took.

    Args:
        stdout: the file for its output.
        earlier: seconds that interrupted runs of it took, which are added.
        output: the folder that it writes.
    """
    load, started = host.load_average(), time.perf_counter()
    anonymous = of_files = peak = 0
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with stdout.open("wb") as file, _ended(subprocess.Popen(
        command, cwd=folder, stdout=file, env={**os.environ, "PYTHONPATH": paths}
    )) as process:  # fmt: skip
        while True:
            # Before the process is waited for, since its counters are gone afterwards.
            sizes = resident(process.pid)
            anonymous, of_files = max(anonymous, sizes.get("RssAnon", 0)), max(of_files, sizes.get("RssFile", 0))
            peak = max(peak, sizes.get("VmHWM", 0))
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            time.sleep(SAMPLE_SECONDS)
    usage = Usage(
        seconds=round(time.perf_counter() - started + earlier, 1),
        user_seconds=round(used.ru_utime, 1),
        system_seconds=round(used.ru_stime, 1),
        # ru_maxrss would begin with the memory of the process that started it, which may have more.
        peak=peak,
        peak_anonymous=anonymous,
        peak_of_files=of_files,
        load=load,
        disk=sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) if output else 0,
    )
    return process.returncode, usage


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which is asked to end and waited for where the body does not wait for it."""
    try:
        yield process
    except BaseException:
        process.terminate()
        process.wait()
        raise


def resident(pid: int) -> dict[str, int]:
    """Bytes of VmHWM, RssAnon and RssFile of a process; empty once it has ended."""
    try:
        text = Path("/proc", str(pid), "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return {name: int(size) * 1024 for name, size in re.findall(r"^(VmHWM|RssAnon|RssFile):\s+(\d+) kB$", text, re.M)}


def machine() -> dict[str, Any]:
    return {"cpu": host.cpu_model(), "cores": host.cpu_cores(), "memory": host.memory_bytes(), "system": host.os_name()}


def versions() -> dict[str, str | None]:
    return {
        "nld-trt": nld_trt.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        **{name: package_version(name) for name in PACKAGES},
    }


@dataclass(frozen=True)
class Comparison:
    """A figure of the plan, and what it was; in the unit that the name says."""

    name: str
    planned: float
    measured: float

    @property
    def error(self) -> float:
        """How far the plan was above what happened, as a part of that."""
        return self.planned / self.measured - 1


def comparisons(run: Run) -> list[Comparison]:
    """The plan's answers against the files and processes that came of it."""
    plan = json.loads((run.work / "plan.out").read_text(encoding="utf-8"))
    memory, build = (plan[key][PLATFORMS[0]] for key in ("memory", "build"))
    found = read_json(run.work / "engine" / ENGINE_FILE)
    proof = found["backends"][names.TRT_RTX]["proof"]
    usage = run.usage(next(step for step in run.steps if step.name == "build"))
    rows = [
        Comparison("processor time of the build, s", build["seconds"], usage.processor_seconds),
        Comparison("peak memory of the build, GB", build["peak_bytes"] / 1e9, usage.peak / 1e9),
    ] if build else []  # fmt: skip
    return [
        *rows,
        Comparison("weights that the compiler was given, GB", memory["weights"] / 1e9, proof["weight_bytes"] / 1e9),
        Comparison("the plan with weights, GB", memory["weights"] / 1e9, proof["plan_bytes"] / 1e9),
        Comparison("activations, GB", memory["activations"] / 1e9, proof["activation_bytes"] / 1e9),
    ]


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f}" if size >= 1e9 else f"{size / 1e9:.2f}"


def result_of(run: Run) -> dict[str, Any]:
    """The run as it is published."""
    return {
        **{key: run.state[key] for key in ("size", "machine", "versions", "steps")},
        "comparisons": [asdict(each) for each in comparisons(run)],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of a published run."""
    host_facts, used = result["machine"], result["versions"]
    usages = {name: (step["command"], Usage(**step["usage"])) for name, step in result["steps"].items()}
    loads = [usage.load for _, usage in usages.values() if usage.load is not None]
    lines = [
        f"{host_facts['cores']} cores of {host_facts['cpu']}, {gigabytes(host_facts['memory'])} GB, "
        f"{', '.join(f'{name} {version}' for name, version in used.items())}. "
        f"Load average before a step {min(loads):.1f} to {max(loads):.1f}: other work ran, so times are upper bounds."
        if loads else "",
        "",
        "| step | time | processor time | peak resident | most anonymous pages | most pages of files | written |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for command, usage in usages.values():
        written = f"{gigabytes(usage.disk)} GB" if usage.disk else ""
        lines.append(
            f"| `{command}` | {usage.seconds:.0f} s | {usage.processor_seconds:.0f} s | {gigabytes(usage.peak)} GB "
            f"| {gigabytes(usage.peak_anonymous)} GB | {gigabytes(usage.peak_of_files)} GB | {written} |"
        )
    seconds = sum(usage.seconds for _, usage in usages.values())
    processor = sum(usage.processor_seconds for _, usage in usages.values())
    peak = max(usage.peak for _, usage in usages.values())
    lines += [
        f"| together | {seconds:.0f} s | {processor:.0f} s | {gigabytes(peak)} GB | | | |",
        "",
        "| | planned | measured | error |",
        "|---|---|---|---|",
    ]
    for each in (Comparison(**row) for row in result["comparisons"]):
        digits = 0 if each.name.endswith(" s") else 2
        lines.append(f"| {each.name} | {each.planned:.{digits}f} | {each.measured:.{digits}f} | {each.error:+.0%} |")
    return "\n".join(lines) + "\n"


def publish(result: Mapping[str, Any]) -> list[Path]:
    """Write the results, and those of the 8B into the page. Returns the files."""
    path = ROOT / "bench" / "results" / f"real-size-{result['size']}.json"
    write_json(path, dict(result))
    if result["size"] != "8b":
        return [path]
    before, start, rest = PAGE.read_text(encoding="utf-8").partition(f"<!-- {SECTION} -->\n")
    _, end, after = rest.partition(f"<!-- /{SECTION} -->")
    PAGE.write_text(f"{before}{start}{markdown(result)}{end}{after}", encoding="utf-8")
    return [path, PAGE]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for everything that is written, made where it is missing")
    parser.add_argument("--size", choices=names.MODEL_SIZES, default="8b")
    parser.add_argument("--keep", action="store_true", help="keep the folders that later steps have read")
    parser.add_argument("--publish", action="store_true", help="write bench/results/ and the page's table")
    parser.add_argument("--minutes", type=float, default=20, help="the most that the steps may take (default: 20)")
    parser.add_argument("--gigabytes", type=float, default=16, help="the most resident memory (default: 16)")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    run = Run(asked.work, asked.size)
    run.run(keep=asked.keep)
    result = result_of(run)
    print()
    print(markdown(result))
    if asked.publish:
        print("written:", *publish(result))
    usages = [run.usage(step) for step in run.steps]
    late = sum(usage.seconds for usage in usages) - 60 * asked.minutes
    large = max(usage.peak for usage in usages) - 1e9 * asked.gigabytes
    if late > 0:
        used = sum(usage.processor_seconds for usage in usages)
        print(
            f"the steps took {late:.0f} s more than {asked.minutes:g} minutes, with {used:.0f} s of processor time",
            file=sys.stderr,
        )
    if large > 0:
        print(f"a step took {gigabytes(large)} GB more than {asked.gigabytes:g} GB", file=sys.stderr)
    return int(late > 0 or large > 0)


if __name__ == "__main__":
    sys.exit(main())
