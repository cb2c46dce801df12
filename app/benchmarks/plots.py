"""The plots of docs/benchmarks/ingest.md, as SVG that is the same for the same figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.growth import BATCH, Step
from benchmarks.rounds import Measure

_COLOURS = {
    "verify": "#8da0cb",
    "store": "#66a61e",
    "publish": "#1b6ca8",
    "before": "#999999",
    "usual": "#d95f02",
    "usual_before": "#fdae6b",
}

Measures = Mapping[tuple[str, int], Measure]


def plot_throughput(path: Path, measures: Measures, names: Mapping[str, str], connections: Sequence[int]) -> None:
    """Requests per second by connections."""
    figure, axes = _figure("connections", "requests per second")
    for variant, name in names.items():
        values = [measures[variant, count].requests_per_second for count in connections]
        axes.plot(range(len(connections)), values, marker="o", color=_COLOURS[variant], label=name)
    _finish(path, figure, axes, connections)


def plot_latency(path: Path, measures: Measures, names: Mapping[str, str], connections: Sequence[int]) -> None:
    """The 99th percentile by connections."""
    figure, axes = _figure("connections", "p99, milliseconds")
    for variant, name in names.items():
        values = [measures[variant, count].p99_ms for count in connections]
        axes.plot(range(len(connections)), values, marker="o", color=_COLOURS[variant], label=name)
    axes.set_yscale("log")
    _finish(path, figure, axes, connections)


def plot_growth(path: Path, steps: Sequence[Step]) -> None:
    """Cost of a batch by stored tickets."""
    figure, axes = _figure("stored tickets", f"milliseconds for {BATCH} tickets")
    sizes = [step.stored for step in steps]
    curves = {
        "insert": ([step.insert_ms for step in steps], _COLOURS["publish"], "-"),
        "insert, small collection": ([step.insert_small_ms for step in steps], _COLOURS["publish"], ":"),
        "duplicate check": ([step.duplicate_ms for step in steps], _COLOURS["usual"], "-"),
        "duplicate check, small collection": ([step.duplicate_small_ms for step in steps], _COLOURS["usual"], ":"),
    }
    for name, (values, colour, style) in curves.items():
        axes.plot(sizes, values, marker="o", color=colour, linestyle=style, label=name)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f}k")
    _finish(path, figure, axes, None)


def _figure(x: str, y: str) -> tuple[Any, Any]:
    mpl.rcParams.update({"svg.hashsalt": "bench-ingest", "svg.fonttype": "none", "font.family": "sans-serif"})
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, color="#e0e0e0")
    axes.set_axisbelow(True)
    return figure, axes


def _finish(path: Path, figure: Any, axes: Any, labels: Sequence[int] | None) -> None:
    if labels is not None:
        axes.set_xticks(range(len(labels)), [str(label) for label in labels])
    axes.set_ylim(bottom=None if axes.get_yscale() == "log" else 0)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, format="svg", metadata={"Date": None})
