"""What `make prove` measured last, as tables and pictures for the page "Measured"."""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from math import log10
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
OURS = "this library"
BLUE, GREYS = "#0b62c4", ("#333333", "#777777", "#999999", "#b5b5b5", "#cfcfcf")
UNDRAWN = {"without the end", "without the tick", "15 s, doubled to 900 s"}
# Where a label stands, in points from its dot, that would lie on another label.
LABELS = {
    "its interval alone": ((4, 8), "left"),
    "every 60 s": ((-5, -3), "right"),
    "best timetable": ((5, -9), "left"),
    "every 15 s": ((-5, -9), "right"),
    "google-api-core": ((5, 5), "left"),
    "every 10 s": ((-4, -9), "right"),
}
MICRO = "\N{MICRO SIGN}s"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "measured", "font.size": 9}


def write(directory: Path) -> None:
    """Write all of it into a directory."""
    measured = json.loads((BENCHMARKS / "measured.json").read_text("utf-8"))
    goals = tomllib.loads((BENCHMARKS / "figures.toml").read_text("utf-8"))
    for name, text in texts(measured, goals).items():
        (directory / f"measured-{name}.md").write_text(text, "utf-8")
    plots = {script: report["plots"] for script, report in measured["reports"].items()}
    draw(directory / "measured-gets.svg", gets, plots["get_job"]["gets"], columns=2)
    draw(directory / "measured-polling.svg", polling, plots["polling"], columns=2)
    draw(directory / "measured-requests.svg", requests, plots["fleet"]["requests"])
    draw(directory / "measured-growth.svg", growth, plots["growth"]["growth"], columns=2)


# --- Tables -------------------------------------------------------------------------------------


def texts(measured: Mapping[str, Any], goals: Mapping[str, Any]) -> dict[str, str]:
    """Return the table of each script, the one of memory, the missed goals, and the machine."""
    found = {
        script: [(goal_of(goals, one), one) for one in report["figures"]]
        for script, report in measured["reports"].items()
    }
    everything = [pair for pairs in found.values() for pair in pairs]
    tables = {
        script: table((goal, one) for goal, one in pairs if not goal.get("memory"))
        for script, pairs in found.items()
    }
    missed = [(goal, one) for goal, one in everything if is_missed(goal, one)]
    return {
        **tables,
        "memory": table((goal, one) for goal, one in everything if goal.get("memory")),
        "missed": "".join(f"{reason(goal, one)}\n" for goal, one in missed),
        "machine": f"CPython {measured['python']}, {measured['cpus']} processors: "
        f"{len(everything)} figures, {len(missed)} of which miss their goal.\n",
        "gets": table_of_gets(measured["reports"]["get_job"]["plots"]["gets"]),
        "day": day(*measured["reports"]["growth"]["plots"]["day"]),
        "schedules": table_of_schedules(measured["reports"]["polling"]["plots"]),
    }


def goal_of(goals: Mapping[str, Any], figure: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is said of a figure."""
    script, _, name = figure["key"].partition(".")
    goal: Mapping[str, Any] = goals[script][name]
    return goal


def is_missed(goal: Mapping[str, Any], figure: Mapping[str, Any]) -> bool:
    """Whether a figure is over its goal."""
    return figure["value"] is not None and figure["value"] > goal["goal"]


def table(pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """Write figures as a table."""
    lines = ["| figure | measured | goal | limit, or best alternative |", "|---|---|---|---|"]
    for goal, one in pairs:
        name = f"**{goal['title']}**<br>{goal['means']}"
        lines.append(f"| {name} | {value(goal, one)} | {goal['goal']:g} | {goal['best']} |")
    return "\n".join(lines) + "\n"


def value(goal: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
    """Write a figure, and between which values half of the rounds lie."""
    if figure["value"] is None:
        return f"not measured: {figure['remark']}"
    text = f"{number(figure['value'])} {goal.get('unit', '')}".strip()
    if is_missed(goal, figure):
        text = f"**{text}, missed**"
    if figure["quartiles"]:
        low, high = figure["quartiles"]
        text += f" ({low:.2f} to {high:.2f})"
    return text


def number(figure: float) -> str:
    """Write a number with three digits that count, or two behind the point."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}".rstrip("0").rstrip(".")


def reason(goal: Mapping[str, Any], figure: Mapping[str, Any]) -> str:
    """Write why a goal is missed."""
    if not goal.get("missed"):
        raise ValueError(f"{figure['key']} is missed, and figures.toml does not say why")
    measured = f"**{goal['title']}: {number(figure['value'])}**, goal {goal['goal']:g}"
    return f"- {measured}. {goal['missed']}"


def day(one: Mapping[str, float]) -> str:
    """Write what a day with many jobs takes."""
    polls = one["polls"] / one["requests"]
    mib = one["jobs"] * one["memory"] / 1024
    return (
        f"| {one['jobs']:,} jobs for a day | |\n"
        "|---|---|\n"
        f"| requests | {one['requests']:,}, for {one['polls']:,} polls: {polls:.0f} polls a "
        "request |\n"
        f"| CPU | {one['cpu']:,.0f} s, {one['cpu'] / 864:.2f} % of a core |\n"
        f"| memory | {mib:,.0f} MiB, {one['memory']:.1f} KiB a job |\n"
    )


def table_of_gets(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write what a GET costs by each client."""
    kinds = sorted({(row["loop"], row["in_flight"]) for row in rows})
    heads = [f"{loop}, {count} in flight" for loop, count in kinds]
    lines = [f"| client | {' | '.join(heads)} |", f"|---|{'---:|' * len(kinds)}"]
    for client in dict.fromkeys(row["client"] for row in rows):
        cells = []
        for kind in kinds:
            (row,) = (
                row
                for row in rows
                if (row["client"], row["loop"], row["in_flight"]) == (client, *kind)
            )
            cells.append(f"{row['microseconds']:,.0f} {MICRO} ({row['ratio']:.2f})")
        lines.append(f"| {client} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table_of_schedules(servers: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Write what each schedule of polls asks for, and how soon it sees an end."""
    lines = [
        "| schedule | requests a job | mean lag, any moment | mean lag, ticking server |",
        "|---|---:|---:|---:|",
    ]
    for name, (sent, lag) in servers["any moment"].items():
        ticking = servers["ticking"][name][1]
        lines.append(f"| {name} | {sent:,.0f} | {lag:.1f} s | {ticking:.1f} s |")
    return "\n".join(lines) + "\n"


# --- Pictures -----------------------------------------------------------------------------------


def draw(path: Path, fill: Any, data: Any, *, columns: int = 1) -> None:
    """Draw a picture."""
    figure = Figure(figsize=(8 if columns > 1 else 5, 3.4), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for each in axes:
        each.grid(visible=True, color="#dddddd", linewidth=0.6)
        each.spines[["top", "right"]].set_visible(False)
        each.set_axisbelow(True)
    fill(axes, data)
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None})


def gets(axes: Sequence[Axes], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw what a GET costs by each client, for each loop."""
    loops = dict.fromkeys(row["loop"] for row in rows)
    for each, loop in zip(axes, loops, strict=True):
        mine = [row for row in rows if row["loop"] == loop]
        counts = sorted({row["in_flight"] for row in mine})
        clients = [*dict.fromkeys(row["client"] for row in mine)]
        for index, client in enumerate(clients):
            shown = [row for row in mine if row["client"] == client]
            shown.sort(key=lambda row: row["in_flight"])
            shift = (index - len(clients) / 2 + 0.5) * 0.16
            places = [place + shift for place in range(len(counts))]
            colour = BLUE if client == OURS else GREYS[index % len(GREYS)]
            heights = [row["microseconds"] for row in shown]
            each.bar(places, heights, 0.15, label=client, color=colour)
        each.set_xticks(range(len(counts)), [f"{count} in flight" for count in counts])
        each.set_title(loop)
        each.set_ylabel(f"CPU of a GET, {MICRO}")
        each.grid(visible=False, axis="x")
    axes[0].legend(frameon=False, fontsize=8)


def polling(axes: Sequence[Axes], servers: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw the mean lag against requests a job, for each server."""
    titles = {"any moment": "a server that acts at any moment", "ticking": "a server that ticks"}
    for each, (server, schedules) in zip(axes, servers.items(), strict=True):
        for name in schedules.keys() - UNDRAWN:
            sent, lag = schedules[name]
            colour = BLUE if name == OURS else GREYS[1]
            each.plot(sent, lag, "o", color=colour, markersize=6 if name == OURS else 4)
            shift, side = LABELS.get(name, ((5, 3), "left"))
            each.annotate(
                name,
                (sent, lag),
                shift,
                textcoords="offset points",
                fontsize=7.5,
                color=colour,
                horizontalalignment=side,
            )
        each.set(xscale="log", yscale="log", xlabel="requests a job", title=titles[server])
        each.set_ylabel("mean time from the end to its poll, s")
        each.set_xlim(25, 20_000)
        plain(each)


def requests(axes: Sequence[Axes], points: Sequence[Sequence[float]]) -> None:
    """Draw the requests of an hour against the number of jobs."""
    jobs, sent = zip(*points, strict=True)
    gets_alone = [60 * count for count in jobs]
    axes[0].plot(jobs, gets_alone, "--", color=GREYS[1], label="a GET a job and minute")
    axes[0].plot(jobs, sent, "o-", color=BLUE, label=OURS)
    axes[0].set(xscale="log", yscale="log", xlabel="jobs that are watched")
    axes[0].set_ylabel("requests an hour, one poll a minute")
    axes[0].legend(frameon=False)
    plain(axes[0])


def growth(axes: Sequence[Axes], rows: Sequence[Mapping[str, float]]) -> None:
    """Draw what a job costs against the number of jobs, and n log n beside it."""
    jobs = [row["jobs"] for row in rows]
    names = {"begin": "to begin", "round": "a round", "end": "to end"}
    for colour, (kind, name) in zip((GREYS[0], BLUE, GREYS[2]), names.items(), strict=True):
        axes[0].plot(jobs, [row[kind] for row in rows], "o-", color=colour, label=name)
    first = rows[0]["round"] / log10(jobs[0])
    axes[0].plot(jobs, [first * log10(n) for n in jobs], ":", color=BLUE, label="n log n")
    axes[0].set_ylabel(f"CPU for a job, {MICRO}")
    axes[0].legend(frameon=False, fontsize=8)
    axes[1].plot(jobs, [row["memory"] for row in rows], "o-", color=BLUE)
    axes[1].set_ylabel("memory of a job, KiB")
    for each in axes:
        each.set(xscale="log", xlabel="jobs that are watched")
        each.set_ylim(bottom=0)
    plain(axes[0], axes[1], only_x=True)


def plain(*axes: Axes, only_x: bool = False) -> None:
    """Write numbers out, not as powers."""
    for each in axes:
        each.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
        if not only_x:
            each.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
