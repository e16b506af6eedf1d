"""The pictures of docs/benchmarks.md as SVG, from the figures of a JSON file.

The same figures give the same bytes. Text and lines are of a middle grey and the ground is
transparent, so that both show on a light page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.columns import COLUMNS, Found
from benchmarks.goals import OURS

GREY = "#7a7a7a"
COLOURS = ("#3b82f6", "#d9730d", "#2f9e44", "#a855f7", "#d6336c")
MARKERS = ("o", "s", "D", "^", "v")
WIDTH_INCHES = 9.0
_STYLE: Any = {  # the type of its keys is a list of all of them, in matplotlib alone
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": GREY,
    "axes.titlesize": 11,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 10,
    "grid.alpha": 0.35,
    "grid.color": GREY,
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "svg.fonttype": "none",
    "svg.hashsalt": "perdure",
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}

Points = dict[str, list[tuple[float, float]]]
"""Line -> its points."""


class Picture(NamedTuple):
    """A file in the folder of the pictures, and what it shows, for those who cannot see it."""

    file: str
    text: str


def peers(results: Found, folder: Path) -> Picture | None:
    """How many times better perdure is than each peer; None without peers."""
    ours = [label for label in results if label.startswith(OURS)]
    theirs = [label for label in results if not label.startswith(OURS)]
    if not ours or not theirs:
        return None
    with mpl.rc_context(_STYLE):
        height = 1.1 + len(ours) * (0.7 + 0.34 * len(theirs))
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        every = figure.subplots(len(ours), 1, sharex=True, squeeze=False)[:, 0]
        for axes, label in zip(every, ours, strict=True):
            _ratios(axes, results, label, theirs)
        every[-1].set_xlabel("times better than the peer (log scale); left of 1 the peer is better")
        handles, names = every[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        return _save(
            figure,
            folder,
            "benchmarks-peers.svg",
            "Dots on a log scale: how many times better perdure is than each peer, by work. The"
            " table of ratios below has the same figures.",
        )


def _ratios(axes: Axes, results: Found, ours: str, theirs: Sequence[str]) -> None:
    axes.set_title(f"perdure on {ours}", loc="left")
    axes.set_xscale("log")
    axes.axvline(1.0, color=GREY, linewidth=1.5)
    axes.grid(axis="both")
    axes.set_axisbelow(True)
    for number, column in enumerate(COLUMNS):
        mine = column.of(results[ours])
        found = [
            (column.times(mine, value), place)
            for place, label in enumerate(theirs)
            if mine and (value := column.of(results[label]))
        ]
        name = column.title.partition(",")[0]
        axes.plot(
            [times for times, _ in found],
            [place for _, place in found],
            MARKERS[number],
            color=COLOURS[number],
            label=name,
            linestyle="none",
        )
    axes.set_yticks(range(len(theirs)), theirs)
    axes.set_ylim(len(theirs) - 0.5, -0.5)
    axes.xaxis.set_major_formatter("{x:g}")


def growth(results: Found, folder: Path) -> Picture | None:
    """What longer journals and more workflows cost; None if nothing of it was measured."""
    ours = {
        label.partition(" synchronous_commit")[0]: works
        for label, works in results.items()
        if label.startswith(OURS)
    }
    panels = [
        (title, label, points)
        for title, label, read in _PANELS
        if (points := {name: found for name, found in read(ours).items() if len(found) > 1})
    ]
    if not panels:
        return None
    with mpl.rc_context(_STYLE):
        rows = (len(panels) + 1) // 2
        figure = Figure(figsize=(WIDTH_INCHES, 0.3 + 3.2 * rows), layout="constrained")
        every = figure.subplots(rows, 2, squeeze=False).flat
        for axes, (title, label, points) in zip(every, panels, strict=False):
            axes.set_xscale("linear" if label == _LINEAR else "log")
            _lines(axes, points)
            axes.set_title(title, loc="left")
            axes.set_xlabel(label)
        for axes in list(every)[len(panels) :]:
            axes.set_axis_off()
        return _save(
            figure,
            folder,
            "benchmarks-growth.svg",
            "Lines: the cost of one operation beside the length of the journal and the number of"
            " other workflows. A flat line says that the cost of one does not grow.",
        )


def _lines(axes: Axes, points: Points) -> None:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    backends = list(dict.fromkeys(name.partition(":")[0] for name in points))
    for name, found in points.items():
        backend, _, kind = name.partition(":")
        number = backends.index(backend)
        style = "--" if kind.strip() in _DASHED else "-"
        axes.plot(
            [length for length, _ in found],
            [cost for _, cost in found],
            marker=MARKERS[number],
            color=COLOURS[number],
            linestyle=style,
            label=name,
        )
    highest = max(cost for found in points.values() for _, cost in found)
    axes.set_ylim(0, highest * _ROOM_FOR_LEGEND)
    lengths = sorted({length for found in points.values() for length, _ in found})
    axes.set_xticks(lengths, [f"{length:,.0f}" for length in lengths])
    axes.minorticks_off()
    axes.legend(fontsize=9, handlelength=3.5, loc="upper left")


def _by_length(works: Found, work: str, prefix: str) -> list[tuple[float, float]]:
    """(length, figure) of the figures whose names are the prefix and a length."""
    medians = works.get(work, {}).get("medians", {})
    found = {
        float(name.removeprefix(prefix)): float(value)
        for name, value in medians.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
    }
    return sorted(found.items())


def _resumed(ours: Found) -> Points:
    return {
        label: [
            (length, 1e6 / rate) for length, rate in _by_length(works, "resume", "tasks_per_s_")
        ]
        for label, works in ours.items()
    }


def _woken(ours: Found) -> Points:
    return {
        f"{label}: {name}": _by_length(works, "growth", f"{name}_wake_ms_")
        for label, works in ours.items()
        for name in ("kept", "replayed")
    }


def _waiting(ours: Found) -> Points:
    return {
        f"{label}: {name}": _by_length(works, "waiting", f"{figure}_bytes_each_")
        for label, works in ours.items()
        for name, figure in (("on disk", "disk"), ("worker", "worker"))
    }


def _claims(ours: Found) -> Points:
    """A claim beside as many as `crowd` was measured with; alone is drawn as beside one."""
    points: Points = {}
    for label, works in ours.items():
        medians = works.get("crowd", {}).get("medians", {})
        for name in ("finished", "waiting"):
            count, beside = medians.get(f"count_{name}"), medians.get(f"claim_us_beside_{name}")
            if count and beside:
                alone = float(medians["claim_us_alone"])
                points[f"{label}: {name}"] = [(1.0, alone), (float(count), float(beside))]
    return points


_DASHED = ("replayed", "worker", "waiting")
_LINEAR = "recorded tasks before the sleep"
_ROOM_FOR_LEGEND = 1.5
_PANELS: tuple[tuple[str, str, Callable[[Found], Points]], ...] = (
    ("Resume of a recorded task, \N{MICRO SIGN}s", "recorded tasks in the workflow", _resumed),
    ("How late it goes on after a sleep, ms", _LINEAR, _woken),
    ("A claim, \N{MICRO SIGN}s", "other workflows in the store", _claims),
    ("Bytes of a waiting workflow", "waiting workflows", _waiting),
)


def _save(figure: Figure, folder: Path, name: str, text: str) -> Picture:
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(name, text)
