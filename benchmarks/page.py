"""The page docs/benchmarks.md: a report in, Markdown out. Its words are written here, its numbers come from a run."""

from __future__ import annotations

from benchmarks.measured import Figure, Machine, PartName, Report

#: A load above this per core is not that of an idle machine.
_BUSY_PER_CORE = 0.25

_PARTS: dict[PartName, tuple[str, str]] = {
    "core": (
        "The core alone",
        (
            "One task in one process, no I/O: admission of real JPEG headers and CloudEvents attributes, merge, "
            "join, thinning, cut, decisions, steps with their checkpoints. Eight zones with two cameras of 10 "
            "frames a second, default settings, constant scores. "
            "Where a rate of frames is given, the cameras have that together; of checkpoints, all of a run are shown."
        ),
    ),
    "kafka": (
        "From a real Kafka",
        (
            "A backlog on a local broker, read to its end: by the worker (source, core, transactions, metrics; "
            "constant scores in place of the model), by a Faust agent that only counts (`async for event in "
            "stream.events()`), and by aiokafka's `getmany` for context. They take turns within one run; a ratio "
            "is between neighbours. All three ask for `fetch_bytes` per partition and fetch, the worker's default; all "
            "else is each one's own: the worker checks CRCs by the processor's instruction and lets Python look for "
            "cyclic garbage seldom, the others do both as aiokafka, Faust and Python do by "
            "default. The broker runs on the same cores, and so does `vigil record --follow`, where it reads the same "
            "backlog at the same time."
        ),
    ),
    "scoring": (
        "Scoring",
        (
            "The worker's scorer (decoding in child processes, micro-batches, three fused rows a pair) beside a "
            "bare loop: a thread per core that decodes 32 images and runs the same three graphs, one fused row a "
            "pair. One text for ten frames."
        ),
    ),
    "latency": (
        "Latency and memory of a whole worker",
        (
            "A real worker process, a local broker, the publisher and the subscriber on the same cores. Each "
            "camera has a zone of its own and 5 frames a second of 640x480; each zone has a text every 5 s that "
            "opens an incident. Saturation is what a backlog shows, published before; live, the publisher needs the "
            "same cores and leaves about half of that (an estimate). Half load is half of the rest, in real time. A "
            "latency runs from the append time of an opened alert's newest evidence to its arrival at a "
            "read_committed subscriber. Memory is the resident memory of the worker and its decode children "
            "together."
        ),
    ),
    "replay": (
        "Recordings",
        (
            "Commands as a user starts them, on files. `vigil verify` reads recordings of synthetic traffic like the "
            "core's above, with frames of 1 KB. Its rate is per second of one processor, of what a recording four "
            "times as long takes more, so that the start of Python is no part of it; the core is measured beside it. "
            "`vigil replay` judges the drawn site anew by the bundle, its start included."
        ),
    ),
}


def markdown(report: Report) -> str:
    """Return the page of a report."""
    machine = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{report.command}`; the tables hold what that run measured, nothing else.",
        "Each figure is shown as minimum / median / maximum over the rounds; goals are for the median.",
        "",
        f"- Machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, {machine.system}; no GPU is used.",
        f"- Load average just before the run: {machine.load:.2f}{_remark(machine)}.",
        f"- Python {machine.python}; {packages}.",
        f"- Bundle: {report.bundle}.",
        "",
    ]
    for part, (title, words) in _PARTS.items():
        figures = [figure for figure in report.figures if figure.part == part]
        if figures:
            lines += [f"## {title}", "", words, "", *_table(figures), ""]
    lines += [
        "## What these figures do not say",
        "",
        "- One machine, and a small one: they are for comparing neighbours within a run, not for sizing a site.",
        "- Constant scores leave the model out where a table says so; a real model on a CPU is the bound long before.",
        "- Single-broker Kafka on loopback: no replication, no network.",
    ]
    return "\n".join(lines) + "\n"


def text_lines(figures: list[Figure]) -> list[str]:
    """Return a line per figure for a terminal."""
    return [f"  {figure.name:<58} {_spread(figure):>32} {figure.unit:<10} {_goal(figure)}" for figure in figures]


def _table(figures: list[Figure]) -> list[str]:
    has_goals = any(figure.goal is not None for figure in figures)
    head = ["| what | min / median / max | unit |", "|---|---|---|"]
    if has_goals:
        head = ["| what | min / median / max | unit | goal |", "|---|---|---|---|"]
    rows = []
    for figure in figures:
        row = f"| {figure.name} | {_spread(figure)} | {figure.unit} |"
        rows.append(f"{row} {_goal(figure)} |" if has_goals else row)
    return [*head, *rows]


def _remark(machine: Machine) -> str:
    """Say so where the machine was not idle: absolute figures are lower then; ratios suffer less."""
    is_busy = machine.load > _BUSY_PER_CORE * machine.cores
    return "; other work was running, so absolute figures are below those of an idle machine" if is_busy else ""


def _spread(figure: Figure) -> str:
    values = figure.values
    if len(values) == 1:
        return figure.shown(values[0])
    return " / ".join(figure.shown(value) for value in (min(values), figure.median, max(values)))


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"at least {figure.shown(figure.goal)}: {'reached' if figure.is_reached else 'missed'}"
