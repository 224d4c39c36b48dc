#!/usr/bin/env python3
"""Draw the CSV files that the chapters write.

    plot.py [PATH ...]        PATH: a CSV file or a folder (default: out)

Every CSV of a known form, found by its name, is drawn to a PNG and an SVG
beside it: out/01_rnn_scratch/curve.csv gives curve.png and curve.svg there.

    curve.csv         loss and perplexity during training, one row a measurement
    activations.csv   activation functions and their slopes
    gradients.csv     gradient norm against lag, a line for each spectral radius
    normality.csv     the same for three matrices of one radius
    truncation.csv    error and memory of truncated backpropagation
    randomized.csv    the mean of randomized gradients and its standard error
    league.csv        networks compared at equal width, parameters and time
    predictions.csv   a series of numbers, real and predicted
    recall.csv        recall of a symbol against the lag
    shares.csv        the share of a gradient that arrives, against the lag
    accuracy.csv      answers that are right during training, a panel a task
    length.csv        the same against the source's length
    digits.csv        the same by the digits of the number; both of chapters 07 and 08
                      with those of the chapters before, where they lie beside them
    forcing.csv       a decoder told the right symbols and one left to its own
    branches.csv      what a decoder may say next, after a begun answer
    kernels.csv       kernels, and what the averages under them make of points
    attention.csv     where each symbol of an answer looks in the source
    masks.csv         who may be seen by whom, a panel of squares a mask
    warmup.csv        loss by the place of the norm and the steps of warm-up
    gaps.csv          letters that are guessed right, from the left or both sides
    closing.csv       the networks of all chapters, in two tasks

Other CSV files are left alone, as is a predictions.csv that holds sources
and answers, to be read.  A malformed file costs one line on stderr and
the exit status 2, after all the others have been drawn.

All results are computed by the C programs; this file only draws.  A new form
needs its columns, a function from rows to a figure, and a line in FORMS.
"""

import collections
import csv
import math
import os
import re
import sys
from pathlib import Path

import matplotlib
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (EngFormatter, FixedLocator, FuncFormatter,
                               MaxNLocator, NullLocator)

# The palette of Okabe and Ito, "Color Universal Design" (2008), also in Wong,
# "Points of view: Color blindness", Nature Methods 8, 441 (2011).  Its yellow
# is darkened here: the original is too pale for a thin line on white paper.
# A model keeps its colour and its marker through all chapters; the marker tells
# the models apart where the page is printed in grey.
MODEL_LOOKS = {
    "rnn": ("#0072B2", "o"),
    "lstm": ("#D55E00", "s"),
    "gru": ("#009E73", "^"),
    "seq2seq": ("#E69F00", "D"),
    "attention": ("#56B4E9", "v"),
    "transformer": ("#000000", ">"),
    "gpt": ("#CC79A7", "<"),
    "bert": ("#A89A00", "p"),
    "attention_dot": ("#1F4E79", "P"),      # the dark side of attention's blue
}

# How a split is drawn: dashes, width, markers or not.  In drawing order.
SPLIT_LOOKS = {
    "train": ((0, (4, 1.8)), 1.0, False),
    "valid": ("-", 1.0, False),
    "test": ("-", 1.7, True),
}

BASELINE_GREY = "0.4"
WIDTH = 6.0         # inches: 900 pixels at 150 dots an inch
TEXT_SIZE = 8       # points
SMALL_SIZE = 7
MARKER_SIZE = 4.8
ROUND = [1, 2, 5, 10]     # the steps between the ticks of a linear axis
POINTS_AN_INCH = 72

STYLE = {
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": TEXT_SIZE,
    "axes.labelsize": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "xtick.labelsize": SMALL_SIZE,
    "ytick.labelsize": SMALL_SIZE,
    "legend.fontsize": TEXT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.3",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 150,
    "svg.fonttype": "none",            # text stays text: small, searchable
    "svg.hashsalt": "plots",           # the same ids, so the same bytes, each time
}


class BadTable(Exception):
    """A CSV file does not have the form that its name promises."""


# ---------------------------------------------------------------------------
# Reading
#
# A form is described by a dict of column name -> parser.  A parser returns the
# value of a cell, or raises ValueError with the words for what it expected.

def text(cell):
    """Any text, as the seed: it is a label here, not a number."""
    return cell


def name(cell):
    if not cell:
        raise ValueError("a name")
    return cell


def number(cell):
    """A finite number; NaN for the nan or inf of a run that diverged."""
    try:
        value = float(cell)
    except ValueError:
        raise ValueError("a number") from None
    return value if math.isfinite(value) else math.nan


def number_or_empty(cell):
    """A number, or None for an empty cell: not measured."""
    if not cell:
        return None
    try:
        return number(cell)
    except ValueError:
        raise ValueError("a number or nothing") from None


def positive_or_empty(cell):
    value = number_or_empty(cell)
    if value is not None and value <= 0:
        raise ValueError("a number above 0")
    return value


def count_or_empty(cell):
    """A place on the x axis: a gap will not do."""
    value = number_or_empty(cell)
    if value is not None and not value >= 0:
        raise ValueError("a count, 0 or more, or nothing")
    return value


def amount(cell):
    value = number(cell)
    if not value >= 0:
        raise ValueError("a number, 0 or more")
    return value


def whole(cell):
    """A place: 0, 1, 2 …"""
    if not (cell.isascii() and cell.isdigit()):
        raise ValueError("a whole number, 0 or more")
    return int(cell)


def share(cell):
    """0 to 1, or a NaN for a share of nothing."""
    value = number(cell)
    if value < 0 or value > 1 + 1e-6:       # a sum of floats may end above 1
        raise ValueError("a share, from 0 to 1")
    return value


def weight(cell):
    value = share(cell)
    if math.isnan(value):
        raise ValueError("a share, from 0 to 1")
    return value


def finite(cell):
    value = number(cell)
    if math.isnan(value):
        raise ValueError("a finite number")
    return value


def symbol(cell):
    """A character; a blank, which the cell has lost, is shown as a dot."""
    return cell or "\u00b7"


def split_name(cell):
    if cell != "baseline" and cell not in SPLIT_LOOKS:
        raise ValueError("train, valid, test or baseline")
    return cell


def read_table(path: Path, columns: dict) -> list:
    """The rows of a CSV file as dicts of parsed cells."""
    header = list(columns)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            found = next(lines, [])
            if found != header:
                raise BadTable(f"row 1: expected the header {','.join(header)}, "
                               f"found {','.join(found) or 'nothing'}")
            rows = [parse_row(cells, columns, lines.line_num)
                    for cells in lines if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTable(f"expected CSV in UTF-8: {error}") from None
    if not rows:
        raise BadTable("row 2: expected a row of data, found the end of the file")
    return rows


def parse_row(cells: list, columns: dict, line_number: int) -> dict:
    if len(cells) != len(columns):
        raise BadTable(f"row {line_number}: expected {len(columns)} cells, "
                       f"found {len(cells)}")
    row = {}
    for (column, parse), cell in zip(columns.items(), cells):
        try:
            row[column] = parse(cell.strip())
        except ValueError as expected:
            raise BadTable(f"row {line_number}, column {column}: "
                           f"expected {expected}, found '{cell}'") from None
    return row


# ---------------------------------------------------------------------------
# What the figures share

def chapter_title(path: Path) -> str:
    """The chapter's folder, and those below it: 01_rnn_scratch."""
    folders = path.resolve().parent.parts
    for i, folder in enumerate(folders):
        if re.match(r"\d\d_", folder):
            return " / ".join(folders[i:])
    return folders[-1]


def write_title(figure, path, remark=""):
    """The title at the upper left and a remark in grey at the right."""
    top = 1 - 0.08 / figure.get_figheight()
    margin = 0.1 / figure.get_figwidth()
    figure.text(margin, top, chapter_title(path), va="top", weight="bold",
                size=TEXT_SIZE + 1)
    figure.text(1 - margin, top, remark, va="top", ha="right",
                size=SMALL_SIZE, color="0.35")


def columns_of(count: int) -> int:
    """How many panels stand side by side."""
    return 2 if count in (2, 4) else min(3, count)


def distinct(values):
    """The values without repetition, in their first order."""
    return list(dict.fromkeys(values))


# ---------------------------------------------------------------------------
# curve.csv: loss and perplexity during training

CURVE_COLUMNS = {
    "model": name,
    "seed": text,
    "epoch": count_or_empty,
    "step": count_or_empty,
    "tokens": count_or_empty,
    "split": split_name,
    "loss": number_or_empty,
    "perplexity": positive_or_empty,
    "grad_norm": number_or_empty,
    "learning_rate": number_or_empty,
}

AXIS_LABELS = {
    "epoch": "epoch",
    "tokens": "training symbols read",
    "step": "training steps",
    "loss": "loss (nats a token)",
    "perplexity": "perplexity (log scale)",
}


def draw_curve(path: Path) -> Figure:
    rows = [complete(row) for row in read_table(path, CURVE_COLUMNS)]
    rows = [row for row in rows if row["loss"] is not None]
    baselines = [row for row in rows if row["split"] == "baseline"]
    curves = [row for row in rows if row["split"] != "baseline"]
    if not any(math.isfinite(row["loss"]) for row in curves):
        raise BadTable("expected a train, valid or test row with a finite loss "
                       "or perplexity, found none")
    x_column = choose_x(curves)
    curves = [row for row in curves if row[x_column] is not None]
    looks = model_looks(distinct(row["model"] for row in curves))

    entries = legend_entries(curves, looks)
    figure, panels = two_panels(len(entries), len(looks), baselines)
    for panel, y_column in zip(panels, ("loss", "perplexity")):
        draw_panel(panel, curves, looks, x_column, y_column)
        draw_baselines(panel, baselines, y_column)
    figure.legend(handles=entries, loc="lower center", borderaxespad=0.2,
                  ncol=legend_columns(len(entries), len(looks)),
                  handlelength=2.8, columnspacing=2.0, labelspacing=0.3)
    write_title(figure, path, seed_remark(curves))
    return figure


def complete(row: dict) -> dict:
    """Loss and perplexity, perplexity = exp(loss): one cell gives the other."""
    loss, perplexity = row["loss"], row["perplexity"]
    if loss is None and perplexity is not None:
        loss = math.log(perplexity)
    elif perplexity is None and loss is not None:
        # Above exp(700) there is no double: a gap, as for a NaN.
        perplexity = math.exp(loss) if loss < 700 else math.nan
    return {**row, "loss": loss, "perplexity": perplexity}


def choose_x(curves: list) -> str:
    """The column for the x axis: epoch, or else tokens, or else step.

    Epochs make a curve only from three on, and only where a split is measured
    once in each; shorter runs are drawn by the symbols read.
    """
    places = [(row["model"], row["seed"], row["split"], row["epoch"])
              for row in curves]
    epochs = {row["epoch"] for row in curves} - {None, 0}   # 0: before training
    filled = {column: sum(row[column] is not None for row in curves)
              for column in ("epoch", "tokens", "step")}
    most = len(curves) / 2
    if (filled["epoch"] > most and len(epochs) >= 3
            and len(places) == len(set(places))):
        return "epoch"
    for column in ("tokens", "step"):
        if filled[column] > most and len({row[column] for row in curves}) > 1:
            return column
    column = max(filled, key=filled.get)
    if not filled[column]:
        raise BadTable("expected a number in epoch, tokens or step, found none")
    return column


def model_looks(models):
    """Model -> (colour, marker): fixed for the known names, else by order."""
    spare = [look for model, look in MODEL_LOOKS.items() if model not in models]
    spare = spare or list(MODEL_LOOKS.values())
    strangers = [model for model in models if model not in MODEL_LOOKS]
    looks = {model: spare[i % len(spare)] for i, model in enumerate(strangers)}
    return {model: MODEL_LOOKS.get(model) or looks[model] for model in models}


def two_panels(entry_count, model_count, baselines):
    """A figure with room for the title, the legend and the baseline labels.

    The margins are set in inches, not left to an automatic layout: the places
    of the labels are worked out from the panels' final height.
    """
    columns = legend_columns(entry_count, model_count)
    bottom = 0.5 + 0.16 * math.ceil(entry_count / columns)
    top, left, plot_height = 0.36, 0.57, 2.25
    longest = max((len(row["model"]) for row in baselines), default=0)
    # A small letter is about 0.056 inch wide; " 20.6" and the leader follow it.
    right = 0.12 if not baselines else min(0.056 * (longest + 5) + 0.2, 1.3)
    height = bottom + plot_height + top
    figure = Figure(figsize=(WIDTH, height))
    panel_width = WIDTH / 2 - left - right
    panels = [figure.add_axes([(left + i * WIDTH / 2) / WIDTH, bottom / height,
                               panel_width / WIDTH, plot_height / height])
              for i in range(2)]
    return figure, panels


def draw_panel(panel, curves, looks, x_column, y_column):
    for split in SPLIT_LOOKS:
        for place, model in enumerate(looks):
            seeds = {}
            for row in curves:
                if (row["model"], row["split"]) == (model, split):
                    points = seeds.setdefault(row["seed"], {})
                    points[row[x_column]] = row[y_column]
            draw_seeds(panel, list(seeds.values()), looks[model], split, place)
    panel.set_xlabel(AXIS_LABELS[x_column])
    panel.set_ylabel(AXIS_LABELS[y_column])
    if x_column == "epoch":
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    else:
        panel.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        panel.xaxis.set_major_formatter(EngFormatter(sep="\u2009"))
    if y_column == "perplexity":
        panel.set_yscale("log")
    else:
        panel.yaxis.set_major_locator(MaxNLocator(8, steps=ROUND))


def draw_seeds(panel, seeds, look, split, place):
    """One line for a single seed; else thin lines and their mean.

    A seed is a dict from x to y.
    """
    average = mean_points(seeds)
    if len(seeds) == 1 or not average:
        for points in seeds:
            draw_line(panel, points, look, split, place)
        return
    for points in seeds:
        panel.plot(*zip(*sorted(points.items())), color=look[0],
                   linestyle=SPLIT_LOOKS[split][0], linewidth=0.5, alpha=0.5)
    draw_line(panel, average, look, split, place)


def mean_points(seeds):
    """The mean over the seeds at each x that all of them have.

    Where one seed is missing or diverged there is no mean: it would jump as
    seeds come and go.
    """
    if not seeds:
        return {}
    shared = set.intersection(*map(set, seeds))
    means = {x: sum(points[x] for points in seeds) / len(seeds) for x in shared}
    return {x: mean for x, mean in means.items() if math.isfinite(mean)}


def draw_line(panel, points, look, split, place):
    colour, marker = look
    dashes, width, marked = SPLIT_LOOKS[split]
    stride = max(1, len(points) // 7)
    # The models' markers start at different points, not to hide one another.
    start = (place * stride) // 3 % stride if len(points) > 1 else 0
    # A single point has no line to be seen by.
    shown = marker if marked or len(points) == 1 else None
    panel.plot(*zip(*sorted(points.items())), color=colour, linestyle=dashes,
               linewidth=width, marker=shown, markersize=MARKER_SIZE,
               markevery=(start, stride), markeredgecolor="white",
               markeredgewidth=0.6)


def legend_entries(curves, looks):
    """A line for each model and split, so that a model fills a column."""
    pairs = {(row["model"], row["split"]) for row in curves}
    return [legend_entry(look, split, f"{model}, {split}")
            for model, look in looks.items() for split in SPLIT_LOOKS
            if (model, split) in pairs]


def legend_entry(look, split, label):
    colour, marker = look
    dashes, width, marked = SPLIT_LOOKS[split]
    return Line2D([], [], color=colour, linestyle=dashes, linewidth=width,
                  marker=marker if marked else None, markersize=MARKER_SIZE,
                  markeredgecolor="white", markeredgewidth=0.6, label=label)


def legend_columns(entry_count, model_count):
    if model_count == 1:
        return entry_count
    return model_count if model_count <= 4 else min(4, (model_count + 1) // 2)


def seed_remark(curves):
    seeds = {}
    for row in curves:
        seeds.setdefault(row["model"], set()).add(row["seed"])
    counts = {len(found) for found in seeds.values()}
    if counts == {1}:
        return ""
    which = f"the {counts.pop()} seeds" if len(counts) == 1 else "the seeds"
    return f"thin lines: {which}; thicker lines: their mean"


def draw_baselines(panel, baselines, y_column):
    """Horizontal reference lines, with their names in the right margin."""
    levels = distinct((row[y_column], row["model"]) for row in baselines
                      if math.isfinite(row[y_column]))
    levels.sort()
    for y, _ in levels:
        panel.axhline(y, color=BASELINE_GREY, linewidth=0.8,
                      linestyle=(0, (1, 1.5)), zorder=1.5)
    # Reading the limits fixes them: labels and ticks depend on them.
    panel.set_ylim(panel.get_ylim())
    if y_column == "perplexity":
        set_plain_ticks(panel)
    heights = [panel.transData.transform((0, y))[1] for y, _ in levels]
    to_points = POINTS_AN_INCH / panel.figure.dpi
    heights = [height * to_points for height in heights]
    for (y, model), old, new in zip(levels, heights,
                                    spread(heights, SMALL_SIZE + 2)):
        panel.annotate(f"{model} {label_number(y, y_column)}", xy=(1, y),
                       xycoords=panel.get_yaxis_transform(),
                       xytext=(8, new - old), textcoords="offset points",
                       va="center", size=SMALL_SIZE, color=BASELINE_GREY,
                       annotation_clip=False,
                       arrowprops={"arrowstyle": "-", "linewidth": 0.5,
                                   "color": BASELINE_GREY, "relpos": (0, 0.5),
                                   "shrinkA": 1, "shrinkB": 0})


def spread(places: list, gap: float) -> list:
    """Move sorted places apart to at least a gap, each as little as may be.

    Neighbours that are too close become a block, evenly spaced around their
    mean; a block that then touches the one below is merged with it.
    """
    blocks = []
    for place in places:
        block = [place]
        while blocks and lower_end(block, gap) - upper_end(blocks[-1], gap) < gap:
            block = blocks.pop() + block
        blocks.append(block)
    return [lower_end(block, gap) + i * gap
            for block in blocks for i in range(len(block))]


def lower_end(block, gap):
    return sum(block) / len(block) - (len(block) - 1) * gap / 2


def upper_end(block, gap):
    return sum(block) / len(block) + (len(block) - 1) * gap / 2


def label_number(value, y_column):
    if y_column == "loss":
        return f"{value:.2f}"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def set_plain_ticks(panel):
    """Ticks such as 5, 10, 20 on a log axis, in place of powers of ten."""
    ticks = plain_ticks(*panel.get_ylim())
    panel.yaxis.set_major_locator(FixedLocator(ticks))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.10g}" if value < 1e5
                      else f"{value:.0e}"))


def plain_ticks(low: float, high: float) -> list:
    """The coarsest set of round numbers that gives at least five ticks."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [digit * 10.0 ** decade for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 5:
            return ticks[::math.ceil(len(ticks) / 8)]
    return [tick for tick in MaxNLocator(7, steps=ROUND).tick_values(low, high)
            if low <= tick <= high]


# ---------------------------------------------------------------------------
# activations.csv: activation functions and their slopes

ACTIVATION_COLUMNS = {"name": name, "x": number, "y": number, "slope": number}
ACTIVATION_LINES = {        # column -> colour, dashes, legend
    "y": ("#0072B2", "-", "value"),
    "slope": ("#D55E00", (0, (4, 1.8)), "slope"),
}


def draw_activations(path: Path) -> Figure:
    """Small multiples: a panel for each function, its slope dashed."""
    rows = read_table(path, ACTIVATION_COLUMNS)
    functions = distinct(row["name"] for row in rows)
    columns = columns_of(len(functions))
    lines = math.ceil(len(functions) / columns)
    height = 0.85 + 1.6 * lines
    figure = Figure(figsize=(WIDTH, height))
    for place, function in enumerate(functions):
        panel = figure.add_subplot(lines, columns, place + 1)
        draw_activation(panel, [row for row in rows if row["name"] == function])
        panel.set_title(function, loc="left")
        if place + columns >= len(functions):
            panel.set_xlabel("x")
    figure.subplots_adjust(left=0.4 / WIDTH, right=1 - 0.12 / WIDTH,
                           bottom=0.62 / height, top=1 - 0.5 / height,
                           wspace=0.25, hspace=0.35)
    handles = [Line2D([], [], color=colour, linestyle=dashes, label=label)
               for colour, dashes, label in ACTIVATION_LINES.values()]
    figure.legend(handles=handles, loc="lower center", ncol=2,
                  borderaxespad=0.2, handlelength=2.8)
    write_title(figure, path)
    return figure


def draw_activation(panel, rows):
    rows = sorted(rows, key=lambda row: row["x"])
    for axis_line in (panel.axhline, panel.axvline):
        axis_line(0, color="0.6", linewidth=0.7, zorder=1)
    for column, (colour, dashes, _) in ACTIVATION_LINES.items():
        panel.plot([row["x"] for row in rows], [row[column] for row in rows],
                   color=colour, linestyle=dashes, linewidth=1.4)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    panel.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))


# ---------------------------------------------------------------------------
# league.csv: networks compared with one thing held equal.  The comparison at
# equal seconds differs from run to run and so has a file of its own beside it.

LEAGUE_COLUMNS = {"comparison": name, "model": name, "seed": text,
                  "hidden": number, "parameters": number, "epoch": number,
                  "train": number, "test": number, "best_test": number,
                  "best_epoch": number}
LEAGUE_TITLES = {"hidden": "equal width", "parameters": "equal parameters",
                 "seconds": "equal time"}
LEAGUE_ENTRIES = {      # column -> marker, size, filled or not, legend
    "test": (None, MARKER_SIZE + 1, True, "test"),      # None: the model's own
    "train": ("o", MARKER_SIZE - 1, False, "training"),
    "best_test": ("_", MARKER_SIZE + 5, True, "lowest test on the way"),
}


def draw_league(path: Path) -> Figure:
    """A panel for each comparison, a column of marks in it for each network."""
    rows = read_table(path, LEAGUE_COLUMNS)
    timed = path.with_name("league_seconds.csv")
    if timed.exists():
        rows += read_table(timed, LEAGUE_COLUMNS)
    comparisons = distinct(row["comparison"] for row in rows)
    looks = model_looks(distinct(row["model"] for row in rows))
    height = 3.1
    figure = Figure(figsize=(WIDTH, height))
    panels = figure.subplots(1, len(comparisons), sharey=True, squeeze=False)[0]
    for panel, comparison in zip(panels, comparisons):
        draw_comparison(panel, [row for row in rows
                                if row["comparison"] == comparison], looks)
        panel.set_title(LEAGUE_TITLES.get(comparison, comparison), loc="left")
    panels[0].set_ylabel("perplexity")
    figure.subplots_adjust(left=0.5 / WIDTH, right=1 - 0.12 / WIDTH,
                           bottom=1.05 / height, top=1 - 0.55 / height,
                           wspace=0.08)
    handles = [Line2D([], [], color="0.3", linestyle="", marker=marker or "s",
                      markersize=size, label=label,
                      markerfacecolor="0.3" if filled else "white")
               for marker, size, filled, label in LEAGUE_ENTRIES.values()]
    figure.legend(handles=handles, loc="lower center", ncol=len(handles),
                  borderaxespad=0.2)
    write_title(figure, path, "under the names: width, parameters, epochs")
    return figure


def draw_comparison(panel, rows, looks):
    models = distinct(row["model"] for row in rows)
    for row in rows:
        place, (colour, own) = models.index(row["model"]), looks[row["model"]]
        panel.plot([place, place], [row["train"], row["test"]], color=colour,
                   linewidth=1)
        for column, (marker, size, filled, _) in LEAGUE_ENTRIES.items():
            panel.plot([place], [row[column]], marker=marker or own,
                       markersize=size, color=colour,
                       markerfacecolor=colour if filled else "white")
    labels = [league_label([row for row in rows if row["model"] == model][0])
              for model in models]
    panel.set_xticks(range(len(models)), labels)
    panel.set_xlim(-0.6, len(models) - 0.4)
    panel.grid(visible=False, axis="x")
    panel.yaxis.set_major_locator(MaxNLocator(8, steps=ROUND))


def league_label(row):
    """As many lines for all: a name has two, the first of which may be empty."""
    first, _, second = row["model"].partition("_")
    return "\n".join((first if second else "", second or first,
                      f"{row['hidden']:.0f}", f"{row['parameters']:,.0f}",
                      f"{row['epoch']:.0f}"))


# ---------------------------------------------------------------------------
# recall.csv and shares.csv: what is left of something after so many steps

VARIANTS = {                # what follows the model's name -> dashes, marker
    "": ("-", "o"), "grown": ((0, (4, 1.8)), "o"), "bias0": ((0, (1, 1.5)), "s"),
    "bias1": ((0, (4, 1.8)), "^"), "bias5": ("-", "D"),
}


def draw_recall(path: Path) -> Figure:
    return draw_against_lag(path, "accuracy", "accuracy")


def draw_shares(path: Path) -> Figure:
    return draw_against_lag(path, "share", "share of the gradient (log scale)")


def draw_against_lag(path: Path, column: str, label: str) -> Figure:
    """A line for each model; variants, as rnn_grown, have the model's colour."""
    rows = read_table(path, {"model": name, "lag": number, column: number})
    models = [model for model in distinct(row["model"] for row in rows)
              if model != "chance"]
    figure = Figure(figsize=(WIDTH, 3.6))
    panel = figure.add_axes([0.6 / WIDTH, 0.85 / 3.6, (WIDTH - 0.8) / WIDTH, 2.35 / 3.6])
    if column == "share":
        panel.set_yscale("log")         # a share lost at each step: a straight line
    else:
        panel.set_xscale("log")
    for model in models + ["chance"]:
        points = sorted((row["lag"], row[column]) for row in rows
                        if row["model"] == model)
        if points:
            panel.plot(*zip(*points), label=model, **variant_look(model))
    panel.set_xlabel("lag (steps between the symbol and the question)")
    panel.set_ylabel(label)
    panel.xaxis.set_major_locator(FixedLocator(distinct(row["lag"] for row in rows)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda lag, _: f"{lag:g}"))
    figure.legend(loc="lower center", ncol=4, borderaxespad=0.2, handlelength=2.8,
                  columnspacing=2.0, labelspacing=0.3)
    write_title(figure, path)
    return figure


def variant_look(model: str) -> dict:
    """lstm_bias5_alone: an LSTM's colour, the variant's dashes, a thin line."""
    if model == "chance":
        return {"color": BASELINE_GREY, "linestyle": (0, (1, 1.5)), "linewidth": 0.8}
    family, _, variant = model.removesuffix("_alone").partition("_")
    dashes, marker = VARIANTS.get(variant, VARIANTS[""])
    alone = model.endswith("_alone")
    colour = MODEL_LOOKS.get(family, (BASELINE_GREY,))[0]
    return {"color": colour, "linestyle": dashes, "marker": marker,
            "linewidth": 0.7 if alone else 1.4, "markersize": MARKER_SIZE,
            "markerfacecolor": "white" if alone else colour,
            "markeredgecolor": colour if alone else "white", "markeredgewidth": 0.6}


# ---------------------------------------------------------------------------
# predictions.csv: a series of numbers, real and predicted

PREDICTION_COLUMNS = {"task": name, "scaling": name, "position": number,
                      "real": number, "predicted": number}


def draw_predictions(path: Path) -> Figure:
    """A panel for each task and scaling."""
    rows = read_table(path, PREDICTION_COLUMNS)
    tasks = distinct(row["task"] for row in rows)
    scalings = distinct(row["scaling"] for row in rows)
    height = 0.85 + 1.5 * len(tasks)
    figure = Figure(figsize=(WIDTH, height))
    for i, task in enumerate(tasks):
        for j, scaling in enumerate(scalings):
            panel = figure.add_subplot(len(tasks), len(scalings),
                                       i * len(scalings) + j + 1)
            draw_prediction(panel, [row for row in rows
                                    if (row["task"], row["scaling"]) == (task, scaling)])
            panel.set_title(f"{task.replace('_', '-')}, {scaling} numbers", loc="left")
            if i == len(tasks) - 1:
                panel.set_xlabel("position in the series")
    figure.subplots_adjust(left=0.5 / WIDTH, right=1 - 0.12 / WIDTH,
                           bottom=0.65 / height, top=1 - 0.5 / height,
                           wspace=0.25, hspace=0.4)
    handles = [Line2D([], [], color="0.6", linewidth=3, label="real"),
               Line2D([], [], color=MODEL_LOOKS["lstm"][0], marker=".",
                      linestyle="none", label="predicted, held-out windows")]
    figure.legend(handles=handles, loc="lower center", ncol=2, borderaxespad=0.2)
    write_title(figure, path)
    return figure


def draw_prediction(panel, rows):
    ends = [(min if end == 0 else max)(rows, key=lambda row: row["position"])
            for end in (0, 1)]
    panel.plot([row["position"] for row in ends], [row["real"] for row in ends],
               color="0.8", linewidth=1, zorder=1)
    panel.plot([row["position"] for row in rows], [row["real"] for row in rows],
               color="0.6", marker="s", markersize=3.5, linestyle="none", zorder=1.5)
    panel.plot([row["position"] for row in rows],
               [row["predicted"] for row in rows], color=MODEL_LOOKS["lstm"][0],
               marker=".", markersize=2.5, linestyle="none")
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    panel.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))


# Chapters 06 and 07 give this name to a table of words, to be read, not drawn.
ANSWER_HEADER = ["model", "task", "source", "target", "answer", "exact"]


def holds_answers(path: Path) -> bool:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return next(csv.reader(file), []) == ANSWER_HEADER
    except (OSError, UnicodeDecodeError, csv.Error):
        return False                    # drawing it will tell what is wrong


# ---------------------------------------------------------------------------
# gradients.csv and normality.csv: how long a gradient is, so many steps back

GRADIENT_COLUMNS = {"radius": number, "lag": number, "norm": number}
NORMALITY_COLUMNS = {"matrix": name, "lag": number, "norm": number}
LINE_LOOKS = list(MODEL_LOOKS.values())


def draw_gradients(path: Path) -> Figure:
    """A line a radius; dashed, the radius to the power of the lag."""
    rows = read_table(path, GRADIENT_COLUMNS)
    figure, panel = one_panel()
    draw_lags(panel, rows, "radius", lambda radius: f"\u03c1 = {radius:g}")
    for radius in distinct(row["radius"] for row in rows):
        lags = sorted({row["lag"] for row in rows})
        panel.plot(lags, [radius ** lag for lag in lags], color="0.25",
                   linestyle=(0, (2, 2)), linewidth=0.8, zorder=3)
    write_title(figure, path, "dashed: \u03c1 to the power of the lag")
    return figure


def draw_normality(path: Path) -> Figure:
    figure, panel = one_panel()
    draw_lags(panel, read_table(path, NORMALITY_COLUMNS), "matrix", str)
    write_title(figure, path)
    return figure


def draw_lags(panel, rows, column, label):
    for place, value in enumerate(distinct(row[column] for row in rows)):
        colour, marker = LINE_LOOKS[place % len(LINE_LOOKS)]
        points = sorted((row["lag"], row["norm"]) for row in rows
                        if row[column] == value)
        panel.plot(*zip(*points), color=colour, linewidth=1.4, marker=marker,
                   markersize=MARKER_SIZE, markeredgecolor="white",
                   markeredgewidth=0.6, label=label(value),
                   markevery=max(1, len(points) // 7))
    panel.set_yscale("log")
    panel.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    panel.set_xlabel("lag: steps back from the last state")
    panel.set_ylabel("length of the gradient (log scale)")
    panel.figure.legend(*panel.get_legend_handles_labels(), loc="lower center",
                        ncol=len(panel.get_legend_handles_labels()[0]),
                        borderaxespad=0.2, columnspacing=1.6)


def one_panel():
    """A figure with one panel, and room for the title and a legend."""
    height = 3.3
    figure = Figure(figsize=(WIDTH, height))
    panel = figure.add_axes([0.62 / WIDTH, 0.72 / height,
                             1 - 0.8 / WIDTH, 1 - 1.1 / height])
    return figure, panel


# ---------------------------------------------------------------------------
# truncation.csv: what cutting every k steps does to gradient and memory

TRUNCATION_COLUMNS = {"k": number, "error": number, "cosine": number,
                      "tape_bytes": number}


def draw_truncation(path: Path) -> Figure:
    rows = sorted(read_table(path, TRUNCATION_COLUMNS), key=lambda row: row["k"])
    height = 2.9
    figure = Figure(figsize=(WIDTH, height))
    error, memory = figure.subplots(1, 2)
    lines = ((error, "error", 1, "#D55E00", "s", "error / length of the gradient"),
             (error, "cosine", 1, "#0072B2", "o", "cosine"),
             (memory, "tape_bytes", 1e6, "#0072B2", "o", "tape"))
    for panel, column, unit, colour, marker, label in lines:
        panel.plot([row["k"] for row in rows],
                   [row[column] / unit for row in rows], color=colour,
                   linewidth=1.4, marker=marker, markersize=MARKER_SIZE,
                   markeredgecolor="white", markeredgewidth=0.6, label=label)
    for panel in (error, memory):
        ticks = [row["k"] for row in rows]
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
        panel.set_xlabel("k: steps between two cuts (log scale)")
    error.set_ylim(bottom=0)
    memory.set_yscale("log")
    memory.set_ylabel("largest tape (MB, log scale)")
    set_plain_ticks(memory)
    figure.subplots_adjust(left=0.45 / WIDTH, right=1 - 0.12 / WIDTH,
                           bottom=0.72 / height, top=1 - 0.38 / height,
                           wspace=0.28)
    figure.legend(*error.get_legend_handles_labels(), loc="lower left", ncol=2,
                  borderaxespad=0.2, columnspacing=1.6)
    write_title(figure, path)
    return figure


# ---------------------------------------------------------------------------
# randomized.csv: the mean of n randomized gradients against the full one

RANDOMIZED_COLUMNS = {"estimates": number, "error": number,
                      "standard_error": number_or_empty, "fixed": number}


def draw_randomized(path: Path) -> Figure:
    rows = read_table(path, RANDOMIZED_COLUMNS)
    figure, panel = one_panel()
    lines = (("error", "#0072B2", "o", "-", "distance of the mean"),
             ("standard_error", "0.25", None, (0, (2, 2)), "standard error"),
             ("fixed", "#D55E00", None, "-", "always cut"))
    for column, colour, marker, dashes, label in lines:
        points = [(row["estimates"], row[column]) for row in rows
                  if row[column] is not None]
        if points:
            panel.plot(*zip(*points), color=colour, linestyle=dashes,
                       linewidth=1.4, marker=marker, markersize=MARKER_SIZE,
                       markeredgecolor="white", markeredgewidth=0.6, label=label)
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
    panel.set_yscale("log")
    set_plain_ticks(panel)
    panel.set_xlabel("estimates in the mean (log scale)")
    panel.set_ylabel("error / length (log scale)")
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=len(handles),
                  borderaxespad=0.2)
    write_title(figure, path)
    return figure


# ---------------------------------------------------------------------------
# What the panels of shares have in common: accuracy.csv, length.csv, forcing.csv

SHARE_TICKS = (0, 0.25, 0.5, 0.75, 1)
OWN, TOLD = "test", "train"     # solid with markers, and thin and dashed


def share_panels(count, columns, panel_height, bottom, gap=0.2, same_x=True):
    """Panels of one y axis, and of one x axis or not.

    The shared numbers are written at the left and at the bottom only.
    """
    lines = math.ceil(count / columns)
    left, right, top, title = 0.62, 0.2, 0.3, 0.24
    line_height = title + panel_height + 0.08
    height = top + lines * line_height - 0.08 + bottom
    panel_width = (WIDTH - left - right - (columns - 1) * gap) / columns
    figure, panels = Figure(figsize=(WIDTH, height)), []
    for place in range(count):
        line, column = divmod(place, columns)
        panel = figure.add_axes([
            (left + column * (panel_width + gap)) / WIDTH,
            (height - top - line * line_height - title - panel_height) / height,
            panel_width / WIDTH, panel_height / height],
            sharex=panels[0] if panels and same_x else None,
            sharey=panels[0] if panels else None)
        first, last = column == 0, place + columns >= count or not same_x
        panel.tick_params(left=first, labelleft=first, bottom=last, labelbottom=last)
        panels.append(panel)
    panels[0].set_ylim(-0.03, 1.03)
    panels[0].yaxis.set_major_locator(FixedLocator(SHARE_TICKS))
    panels[0].yaxis.set_major_formatter(FuncFormatter(percent))
    return figure, panels


def percent(value, _=None):
    return f"{100 * value:.0f}\u2009%"


def label_outer(panels, columns, x_label, y_label):
    """The name of the axes: once in each line, and under each lowest panel."""
    for place, panel in enumerate(panels):
        if place % columns == 0:
            panel.set_ylabel(y_label)
        if place + columns >= len(panels):
            panel.set_xlabel(x_label)


def label_below(panels, label):
    """A name of the x axis for all panels of a line together."""
    left, right = panels[0].get_position().x0, panels[-1].get_position().x1
    panels[0].annotate(label, ((left + right) / 2, 0), (0, -20),
                       xycoords=("figure fraction", "axes fraction"),
                       textcoords="offset points", ha="center", va="top",
                       size=TEXT_SIZE)


def set_step_ticks(panel, count):
    panel.xaxis.set_major_locator(MaxNLocator(count, steps=ROUND))
    panel.xaxis.set_major_formatter(EngFormatter(sep="\u2009"))


def task_title(task: str) -> str:
    return task.replace("_", " ")


# ---------------------------------------------------------------------------
# accuracy.csv: what share of the answers is right, during training

ACCURACY_COLUMNS = {"model": name, "task": name, "step": amount,
                    "loss": number_or_empty, "symbols": share, "exact": share}
ACCURACY_LINES = {"exact": (OWN, "exact match"), "symbols": (TOLD, "symbols")}


def draw_accuracy(path: Path) -> Figure:
    """A panel for each task, a model's two lines in it."""
    rows = read_table(path, ACCURACY_COLUMNS)
    tasks = distinct(row["task"] for row in rows)
    looks = model_looks(distinct(row["model"] for row in rows))
    columns = columns_of(len(tasks))
    figure, panels = share_panels(len(tasks), columns, 1.5 if len(tasks) > 2 else 1.9,
                                  0.82 if len(looks) > 1 else 0.66)
    for panel, task in zip(panels, tasks):
        for column, (split, _) in reversed(ACCURACY_LINES.items()):
            for place, model in enumerate(looks):
                points = {row["step"]: row[column] for row in rows
                          if (row["task"], row["model"]) == (task, model)}
                if points:
                    draw_line(panel, points, looks[model], split, place)
        panel.set_title(task_title(task), loc="left")
    set_step_ticks(panels[0], 10 // columns)
    label_outer(panels, columns, "training steps", "share right")
    handles = [legend_entry(look, split, f"{model}, {label}")
               for model, look in looks.items()
               for split, label in ACCURACY_LINES.values()]
    figure.legend(handles=handles, loc="lower center", borderaxespad=0.2,
                  ncol=legend_columns(len(handles), len(looks)), handlelength=2.8,
                  columnspacing=2.0, labelspacing=0.3)
    write_title(figure, path)
    return figure


# ---------------------------------------------------------------------------
# length.csv and digits.csv: what share of the answers is right, by the length
# of the words or by the digits of the number

LENGTH_COLUMNS = {"model": name, "task": name, "hidden": amount, "length": amount,
                  "pairs": amount, "exact": share}
LENGTH_LABELS = {"length": "length in characters", "digits": "digits of the number"}
FEWEST_PAIRS = 10           # a share of fewer says nothing
WIDTH_LOOKS = (             # from the widest network: dashes, line, filled or not
    ("-", 1.7, True), ((0, (4, 1.8)), 1.1, False), ((0, (1, 1.3)), 1.1, False),
)


def draw_length(path: Path) -> Figure:
    """A panel for each task, a line for each model and width."""
    rows = read_table(path, LENGTH_COLUMNS)
    earlier = earlier_lengths(path, rows)
    rows = [row for row in earlier + rows if row["pairs"] >= FEWEST_PAIRS]
    if not rows:
        raise BadTable(f"expected a row of {FEWEST_PAIRS} pairs or more, found none")
    tasks = distinct(row["task"] for row in rows)
    looks = model_looks(distinct(row["model"] for row in rows))
    lines = {(model, hidden): length_look(look, place)
             for model, look in looks.items()
             for place, hidden in enumerate(widths_of(model, rows))}
    entries = length_entries(lines, list(looks))
    figure, panels = share_panels(len(tasks), len(tasks),
                                  2.7 if len(tasks) == 1 else 2.1,
                                  0.54 + 0.16 * len(entries[0]), same_x=False)
    for panel, task in zip(panels, tasks):
        draw_lengths(panel, [row for row in rows if row["task"] == task], lines)
        panel.set_title(task_title(task), loc="left")
        panel.xaxis.set_major_locator(MaxNLocator(9 // len(tasks) + 1, steps=ROUND))
    panels[0].set_ylabel("exact match")
    label_below(panels, LENGTH_LABELS[path.stem])
    figure.legend(handles=sum(entries, []), loc="lower center", borderaxespad=0.2,
                  ncol=len(entries), handlelength=2.8, columnspacing=2.0,
                  labelspacing=0.3)
    write_title(figure, path, earlier_remark(earlier))
    return figure


def widths_of(model, rows):
    """From the widest."""
    return sorted({row["hidden"] for row in rows if row["model"] == model},
                  reverse=True)


def draw_lengths(panel, rows, lines):
    for line, look in lines.items():
        points = sorted((row["length"], row["exact"]) for row in rows
                        if (row["model"], row["hidden"]) == line)
        if points:
            panel.plot(*zip(*points), clip_on=False, **look)
    panel.set_xlim(left=0)


def length_entries(lines, models):
    """The legend in columns, filled up with nothing to be equally long.

    A column for each model; a line for a single one; two columns for more
    models than a page has room for side by side.
    """
    columns = [[Line2D([], [], label=f"{model}, width {hidden:g}", **look)
                for (model, hidden), look in lines.items() if model == column]
               for column in models]
    if len(columns) == 1:
        columns = [[entry] for entry in columns[0]]
    elif len(columns) > 3:
        half = math.ceil(len(columns) / 2)
        columns = [sum(columns[:half], []), sum(columns[half:], [])]
    most = max(map(len, columns))
    for column in columns:
        column += [Line2D([], [], linestyle="none", label=" ")
                   for _ in range(most - len(column))]
    return columns


EARLIER = ("06_seq2seq", "07_attention")


def earlier_lengths(path: Path, rows: list) -> list:
    """Beside a chapter's rows those of the chapters before it that may be compared."""
    folder = path.resolve().parent
    if folder.parent.name.startswith("08_"):
        folder = folder.parent              # its tasks have folders of their own
    chosen = []
    for chapter in EARLIER if re.match(r"\d\d_", folder.name) else ():
        table = folder.with_name(chapter) / path.name
        if chapter[:2] < folder.name[:2] and table.exists():
            try:
                found = read_table(table, LENGTH_COLUMNS)
            except BadTable as error:
                raise BadTable(f"in {table}, drawn beside it: {error}") from None
            chosen += [{**row, "chapter": chapter[:2]}
                       for row in comparable_rows(found, rows + chosen)]
    return chosen


def comparable_rows(found, rows):
    """Those of other models at a task of rows: at a width of rows, or else the widest."""
    own = {row["hidden"] for row in rows}
    known, tasks = {row["model"] for row in rows}, {row["task"] for row in rows}
    found = [row for row in found if row["model"] not in known and row["task"] in tasks
             and row["pairs"] >= FEWEST_PAIRS]
    widths = {model: widths_of(model, found) for model in distinct(row["model"] for row in found)}
    widths = {model: own.intersection(all_of_it) or all_of_it[:1]
              for model, all_of_it in widths.items()}
    return [row for row in found if row["hidden"] in widths[row["model"]]]


def earlier_remark(rows):
    """Which models come from which chapter."""
    return "; ".join(
        " and ".join(distinct(row["model"] for row in rows if row["chapter"] == chapter))
        + f": from chapter {chapter}" for chapter in distinct(row["chapter"] for row in rows))


def length_look(look, place) -> dict:
    colour, marker = look
    dashes, width, filled = WIDTH_LOOKS[min(place, len(WIDTH_LOOKS) - 1)]
    return {"color": colour, "linestyle": dashes, "linewidth": width,
            "marker": marker, "markersize": MARKER_SIZE if filled else MARKER_SIZE - 1,
            "markerfacecolor": colour if filled else "white",
            "markeredgecolor": "white" if filled else colour,
            "markeredgewidth": 0.6 if filled else 0.8}


# ---------------------------------------------------------------------------
# forcing.csv: a decoder that is told the right symbols, and one that is not

FORCING_COLUMNS = {"forcing": name, "task": name, "step": amount, "told_loss": number_or_empty,
                   "told_symbols": share, "alone_symbols": share,
                   "alone_exact": share}
FORCING_LINES = {"told_symbols": (TOLD, "told the right symbols so far"),
                 "alone_symbols": (OWN, "left to its own")}


def draw_forcing(path: Path) -> Figure:
    """A panel for each way of training; what lies between its lines is shaded."""
    rows = read_table(path, FORCING_COLUMNS)
    kinds = distinct(row["forcing"] for row in rows)
    rows.sort(key=lambda row: row["step"])
    columns = min(4, len(kinds))
    figure, panels = share_panels(len(kinds), columns, 1.9, 0.7, gap=0.32)
    for panel, kind in zip(panels, kinds):
        draw_gap(panel, [row for row in rows if row["forcing"] == kind])
        panel.set_title(f"forcing {kind}", loc="left")
    set_step_ticks(panels[0], 10 // columns)
    label_outer(panels, columns, "training steps", "symbols right")
    for panel, kind in zip(panels, kinds):
        label_ends(panel, [row for row in rows if row["forcing"] == kind][-1])
    handles = [legend_entry(MODEL_LOOKS["seq2seq"], split, label)
               for split, label in FORCING_LINES.values()]
    figure.legend(handles=handles, loc="lower center", ncol=2, borderaxespad=0.2,
                  handlelength=2.8, columnspacing=2.0)
    write_title(figure, path, "forcing: how often training tells it the right symbol")
    return figure


def draw_gap(panel, rows):
    steps = [row["step"] for row in rows]
    panel.fill_between(steps, [row["told_symbols"] for row in rows],
                       [row["alone_symbols"] for row in rows],
                       color=MODEL_LOOKS["seq2seq"][0], alpha=0.18, linewidth=0)
    for column, (split, _) in FORCING_LINES.items():
        draw_line(panel, {row["step"]: row[column] for row in rows},
                  MODEL_LOOKS["seq2seq"], split, 0)


def label_ends(panel, row):
    """Where the two lines end, in percent, beside their ends."""
    ends = sorted(row[column] for column in FORCING_LINES
                  if math.isfinite(row[column]))
    to_points = POINTS_AN_INCH / panel.figure.dpi
    heights = [panel.transData.transform((0, y))[1] * to_points for y in ends]
    for y, old, new in zip(ends, heights, spread(heights, SMALL_SIZE)):
        panel.annotate(f"{100 * y:.0f}", xy=(row["step"], y), annotation_clip=False,
                       xytext=(5, new - old), textcoords="offset points",
                       va="center", size=SMALL_SIZE, color=BASELINE_GREY)


# ---------------------------------------------------------------------------
# branches.csv: what may come next in an answer that has begun

BRANCH_COLUMNS = {"prefix": text, "symbol": symbol, "probability": weight}
MOST_PREFIXES, MOST_BRANCHES = 6, 5
LEAST_BRANCH = 0.005        # what would be called 0 % is not drawn


def draw_branches(path: Path) -> Figure:
    """A panel for each prefix, a bar in it for each likely symbol."""
    rows = read_table(path, BRANCH_COLUMNS)
    prefixes = distinct(row["prefix"] for row in rows)[:MOST_PREFIXES]
    columns = columns_of(len(prefixes))
    lines = math.ceil(len(prefixes) / columns)
    height = 0.6 + 1.15 * lines
    figure = Figure(figsize=(WIDTH, height))
    for place, prefix in enumerate(prefixes):
        panel = figure.add_subplot(lines, columns, place + 1)
        draw_bars(panel, [row for row in rows if row["prefix"] == prefix])
        panel.set_title(f"after {prefix}" if prefix else "at the beginning", loc="left")
        last = place + columns >= len(prefixes)
        panel.tick_params(bottom=last, labelbottom=last)
    figure.subplots_adjust(left=0.4 / WIDTH, right=1 - 0.45 / WIDTH,
                           bottom=0.3 / height, top=1 - 0.54 / height,
                           wspace=0.55, hspace=0.3)
    write_title(figure, path, "probability of the next symbol")
    return figure


def draw_bars(panel, rows):
    rows = sorted((row for row in rows if row["probability"] > LEAST_BRANCH),
                  key=lambda row: -row["probability"])[:MOST_BRANCHES]
    places = range(len(rows))
    panel.barh(places, [row["probability"] for row in rows], height=0.62,
               color=MODEL_LOOKS["seq2seq"][0])
    for place, row in zip(places, rows):
        panel.annotate(percent(row["probability"]), xy=(row["probability"], place),
                       xytext=(3, -0.5), textcoords="offset points", va="center",
                       size=SMALL_SIZE, color=BASELINE_GREY, annotation_clip=False)
    panel.set_yticks(places, [row["symbol"] for row in rows])
    panel.set_ylim(MOST_BRANCHES - 0.5, -0.5)           # the likeliest on top
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_locator(FixedLocator((0, 0.5, 1)))
    panel.xaxis.set_major_formatter(FuncFormatter(percent))
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False, axis="y")


# ---------------------------------------------------------------------------
# kernels.csv: weights by distance, and the weighted averages that they make

KERNEL_PANELS = {           # panel -> title, label of x, label of y
    "weight": ("kernels", "distance from the query", "weight"),
    "estimate": ("weighted averages", "x", "y"),
}
KERNEL_LOOKS = {            # series -> how it is drawn, in drawing order
    "data": {"color": "0.6", "linestyle": "none", "marker": "o", "markersize": 2.6,
             "markeredgewidth": 0},
    "truth": {"color": "0.25", "linestyle": (0, (2, 2)), "linewidth": 0.9,
              "zorder": 2.5},           # on top of what comes close to it
    "boxcar": {"color": "#009E73", "linestyle": "-", "linewidth": 1.1},
    "gaussian": {"color": "#D55E00", "linestyle": (0, (4, 1.8)), "linewidth": 1.3},
    "epanechnikov": {"color": "#CC79A7", "linestyle": (0, (7, 1.5, 1.5, 1.5)),
                     "linewidth": 1.3},
    "learned": {"color": MODEL_LOOKS["attention"][0], "linestyle": "-",
                "linewidth": 2.0},
}


def kernel_panel(cell):
    if cell not in KERNEL_PANELS:
        raise ValueError(" or ".join(KERNEL_PANELS))
    return cell


def kernel_series(cell):
    if cell not in KERNEL_LOOKS:
        raise ValueError(f"one of {', '.join(KERNEL_LOOKS)}")
    return cell


KERNEL_COLUMNS = {"panel": kernel_panel, "series": kernel_series, "x": finite,
                  "y": finite}


def draw_kernels(path: Path) -> Figure:
    rows = read_table(path, KERNEL_COLUMNS)
    panels = [panel for panel in KERNEL_PANELS
              if any(row["panel"] == panel for row in rows)]
    found = [series for series in KERNEL_LOOKS
             if any(row["series"] == series for row in rows)]
    height = 3.1
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots(1, len(panels), squeeze=False, gridspec_kw={
        "width_ratios": [2, 3][-len(panels):]})[0]
    for panel, key in zip(axes, panels):
        for series in found:
            points = sorted((row["x"], row["y"]) for row in rows
                            if (row["panel"], row["series"]) == (key, series))
            if points:
                panel.plot(*zip(*points), **KERNEL_LOOKS[series])
        title, x_label, y_label = KERNEL_PANELS[key]
        panel.set_title(title, loc="left")
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        panel.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        panel.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    figure.subplots_adjust(left=0.5 / WIDTH, right=1 - 0.12 / WIDTH,
                           bottom=0.72 / height, top=1 - 0.55 / height, wspace=0.25)
    figure.legend(handles=[Line2D([], [], label=series, **KERNEL_LOOKS[series])
                           for series in found],
                  loc="lower center", ncol=len(found), borderaxespad=0.2,
                  handlelength=2.6, columnspacing=1.4)
    write_title(figure, path)
    return figure


# ---------------------------------------------------------------------------
# attention.csv: where each symbol of an answer looks

ATTENTION_COLUMNS = {"model": name, "example": whole, "row": whole, "output": symbol,
                     "column": whole, "input": symbol, "weight": weight}
MOST_EXAMPLES = 4
CELL = 0.12                 # inches: 18 whole pixels
MAP_TOP, MAP_LEFT, MAP_GAP = 3.5 * CELL, 3 * CELL, CELL   # above, left, right and below
WIDEST = 75 * CELL          # of maps side by side; a longer one stands alone
PIXEL = 1 / 150             # inches: a cell has whole ones, or the grid is uneven
LETTER_CELLS = range(18, 10, -1)    # pixels of a cell that bears a character
NUMBER_CELLS = range(9, 3, -1)      # and where only one in LABEL_STRIDE has a name
LABEL_STRIDE = 6
MOST_CELLS = 4000           # as shapes in an SVG; more are a picture in it
HEAD = re.compile(r"block (\d+),? head (\d+)$")
SCALE_ENDS = (0.1, 0.2, 0.5, 1)
# White to navy in equal steps of CIELAB's lightness, which the eye sees as equal.
WEIGHT_COLOURS = LinearSegmentedColormap.from_list("weights", [
    "#FFFFFF", "#C3E4FF", "#8BC8FE", "#58ACEE", "#2B8FD5", "#0D72B3", "#12578B",
    "#1A3C61", "#182437"])


def draw_attention(path: Path) -> Figure:
    """A map for each example and model: the answer downwards, the source across.

    The models' maps of an example are side by side where they fit, or else one
    under the other.  Where the models are the heads of one network, they stand in
    lines of equally many, no line with heads of two blocks, in smaller cells
    where that makes them fit.
    """
    rows = read_table(path, ATTENTION_COLUMNS)
    models = distinct(row["model"] for row in rows)
    examples = []
    for example in sorted({row["example"] for row in rows})[:MOST_EXAMPLES]:
        chosen = [[row for row in rows if (row["example"], row["model"])
                   == (example, model)] for model in models]
        examples.append([weight_map(found) for found in chosen if found])
    heads, end = all(map(HEAD.match, models)), 1
    if heads:
        most = max(min(row["weight"], 1) for row in rows)   # a sum of floats may pass 1
        end = min(end for end in SCALE_ENDS if end >= most)
    lines = head_lines(examples, models) if heads else map_lines(examples)
    heights = [MAP_TOP + MAP_GAP + max(drawn["cell"] * len(drawn["outputs"])
                                       for drawn in line) for line in lines]
    width = max(WIDTH, *(sum(map(map_width, line)) for line in lines))
    figure = Figure(figsize=(width, 0.3 + sum(heights) + 0.45))
    top = figure.get_figheight() - 0.3
    cells = sum(len(drawn["outputs"]) * len(drawn["inputs"])
                for line in lines for drawn in line)
    for line, height in zip(lines, heights):
        left = MAP_LEFT
        for drawn in line:
            draw_map(figure, left, top - MAP_TOP, end, cells > MOST_CELLS, **drawn)
            left += map_width(drawn)
        top -= height
    draw_weight_scale(figure, end)
    own = all(drawn["inputs"] == drawn["outputs"] for line in lines for drawn in line)
    write_title(figure, path, "across: who is looked at; downwards: who looks"
                if heads and own else "across: the source; downwards: the answer")
    return figure


def head_lines(examples: list, models: list) -> list:
    """Heads in lines, with the cell that is the largest for all of them."""
    most = max(collections.Counter(HEAD.match(model)[1] for model in models).values())
    fits = [fit_heads(maps, most) for maps in examples]
    lines = []
    for maps, (columns, _) in zip(examples, fits):
        for drawn in maps:
            drawn["cell"] = PIXEL * min(pixels for _, pixels in fits)
            if len(examples) == 1:
                drawn["title"] = drawn["title"].partition(". ")[2]
        blocks = {}
        for drawn in maps:
            blocks.setdefault(HEAD.search(drawn["title"])[1], []).append(drawn)
        for block in blocks.values():
            lines += [block[i:i + columns] for i in range(0, len(block), columns)]
    return lines


def fit_heads(maps, heads):
    """The maps in a line, a divisor of the heads if that fits, and a cell's pixels."""
    sizes = (NUMBER_CELLS if any(stride_of(drawn["inputs"]) > 1 for drawn in maps)
             else LETTER_CELLS)
    for columns in [n for n in range(heads, 0, -1) if heads % n == 0]:
        for pixels in sizes:
            if all(columns * map_width({**drawn, "cell": pixels * PIXEL}) <= WIDEST
                   for drawn in maps):
                return columns, pixels
    return 1, sizes[-1]


def stride_of(names: list) -> int:
    """Every how many names there is room for: numbers are wider than a cell."""
    long = sum(len(text) > 1 for text in names)
    return LABEL_STRIDE if len(names) > LABEL_STRIDE and long > len(names) / 2 else 1


def map_lines(examples: list) -> list:
    """Maps in lines, as in a text whose words are the examples."""
    lines, room = [], 0
    for maps in examples:
        width = sum(map(map_width, maps))
        for part in [maps] if width <= WIDEST else [[drawn] for drawn in maps]:
            width = sum(map(map_width, part))
            if width > room:
                lines.append([])
                room = WIDEST
            lines[-1] += part
            room -= width
    return lines


def map_width(drawn) -> float:
    """In inches, with what is around it; the title is not to touch the next."""
    title = CELL * math.ceil(0.55 * len(drawn["title"]))
    return MAP_LEFT + max(drawn["cell"] * len(drawn["inputs"]), title) + MAP_GAP


def weight_map(rows):
    """The characters of both sides, and the weights of one example."""
    outputs = dict(sorted((row["row"], row["output"]) for row in rows))
    inputs = dict(sorted((row["column"], row["input"]) for row in rows))
    weights = {(row["row"], row["column"]): row["weight"] for row in rows}
    title = f"{rows[0]['example']}. {rows[0]['model']}"
    for i in range(len(outputs)):
        for j in range(len(inputs)):
            if (i, j) not in weights:
                raise BadTable(f"{title}: expected a weight for row {i} and column {j}, "
                               "found none")
    return {"title": title, "cell": CELL, "outputs": list(outputs.values()),
            "inputs": list(inputs.values()),
            "weights": [[weights[i, j] for j in range(len(inputs))]
                        for i in range(len(outputs))]}


def draw_map(figure, left, top, end, as_picture, title, cell, outputs, inputs, weights):
    """One map, its upper left corner at these inches, dark where a weight is end."""
    width, height = figure.get_size_inches()
    panel = figure.add_axes([left / width, (top - cell * len(outputs)) / height,
                             cell * len(inputs) / width, cell * len(outputs) / height])
    panel.pcolormesh(weights, cmap=WEIGHT_COLOURS, vmin=0, vmax=end, edgecolors="0.92",
                     linewidth=0.3, rasterized=as_picture)
    panel.invert_yaxis()
    panel.grid(visible=False)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)
        spine.set_color("0.6")
    down, across = stride_of(outputs), stride_of(inputs)
    # Letters are as wide as the cells at 7 points; numbers may be wider than theirs.
    size = SMALL_SIZE - 1 if across > 1 else min(SMALL_SIZE, 1.1 * SMALL_SIZE * cell / CELL)
    look = {"size": size, "textcoords": "offset points", "annotation_clip": False}
    for i, character in list(enumerate(outputs))[::down]:
        # A gap, which hangs below the line, would seem to belong to the next row.
        panel.annotate(character, (0, i + 0.5), (-4, -0.3), ha="right",
                       va="center" if character == "_" else "center_baseline", **look)
    for j, character in list(enumerate(inputs))[::across]:
        # A name, as "end", begins at its column: it may pass the right edge.
        panel.annotate(character, (j + 0.5 if len(character) == 1 else j + 0.1, 0),
                       (0, 3.5), va="baseline",
                       ha="center" if len(character) == 1 else "left", **look)
    figure.text(left / width, (top + 0.21) / height, title, size=TEXT_SIZE)


def draw_weight_scale(figure, end):
    width, height = figure.get_size_inches()
    scale = figure.add_axes([MAP_LEFT / width, 0.24 / height,
                             1.5 / width, 0.09 / height])
    scale.pcolormesh([[i / 63 for i in range(64)]], cmap=WEIGHT_COLOURS, vmin=0, vmax=1)
    scale.set_xticks([0, 32, 64], ["0", f"{end / 2:g}", f"{end:g}"])
    scale.set_yticks([])
    scale.grid(visible=False)
    scale.annotate("weight", (1, 0.5), (5, 0), xycoords="axes fraction",
                   textcoords="offset points", va="center", size=SMALL_SIZE)


# ---------------------------------------------------------------------------
# masks.csv: who may be seen by whom

def seen_or_not(cell):
    if cell not in ("0", "1"):
        raise ValueError("0 or 1")
    return int(cell)


MASK_COLUMNS = {"mask": name, "row": whole, "column": whole, "seen": seen_or_not}
SQUARE = 14 * PIXEL
MASK_GAP, MASK_TITLE = 0.24, 0.2    # inches: between panels, and above each
SEEN_COLOUR = "#1A3C61"             # of a large weight in the maps of attention


def draw_masks(path: Path) -> Figure:
    """A panel for each mask, in lines that are as equally long as may be."""
    rows = read_table(path, MASK_COLUMNS)
    masks = {title: mask_squares(title, [row for row in rows if row["mask"] == title])
             for title in distinct(row["mask"] for row in rows)}
    lines = mask_lines(masks)
    heights = [MASK_TITLE + MASK_GAP + SQUARE * max(len(masks[title]) for title in line)
               for line in lines]
    height = 0.34 + sum(heights)
    figure = Figure(figsize=(WIDTH, height))
    top = height - 0.34
    for line, line_height in zip(lines, heights):
        left, bottom = 0.14, top - line_height + MASK_GAP
        for title in line:
            draw_mask(figure, left, bottom, title, masks[title])
            left += mask_width(title, masks[title])
        top -= line_height
    write_title(figure, path, "downwards: who asks; across: who may be seen (dark)")
    return figure


def mask_squares(title, rows):
    found = {(row["row"], row["column"]): row["seen"] for row in rows}
    down, across = (1 + max(place[side] for place in found) for side in (0, 1))
    for i in range(down):
        for j in range(across):
            if (i, j) not in found:
                raise BadTable(f"{title}: expected row {i} and column {j}, found none")
    return [[found[i, j] for j in range(across)] for i in range(down)]


def mask_width(title, squares) -> float:
    return max(SQUARE * len(squares[0]), 0.062 * len(title)) + MASK_GAP


def mask_lines(masks) -> list:
    """As few lines as hold the masks, in their order; the narrowest way of them."""
    widths = [mask_width(title, squares) for title, squares in masks.items()]

    def broken(room):
        lines, left = [], 0
        for title, width in zip(masks, widths):
            if not lines or width > left + 1e-9:
                lines.append([])
                left = room
            lines[-1].append(title)
            left -= width
        return lines

    room = WIDTH - 0.28 + MASK_GAP
    fewest = len(broken(room))
    sums = {sum(widths[i:j]) for i in range(len(widths)) for j in range(i + 1, len(widths) + 1)}
    return broken(min([room] + [total for total in sums
                                if total <= room and len(broken(total)) == fewest]))


def draw_mask(figure, left, bottom, title, squares):
    """One mask, its lower left corner at these inches."""
    width, height = figure.get_size_inches()
    panel_width, panel_height = SQUARE * len(squares[0]), SQUARE * len(squares)
    panel = figure.add_axes([left / width, bottom / height, panel_width / width,
                             panel_height / height])
    panel.pcolormesh(squares, cmap=ListedColormap(["white", SEEN_COLOUR]), vmin=0, vmax=1,
                     edgecolors="0.85", linewidth=0.4)
    panel.invert_yaxis()
    panel.grid(visible=False)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)
        spine.set_color("0.6")
    figure.text(left / width, (bottom + panel_height + 0.06) / height, title,
                size=TEXT_SIZE)


# ---------------------------------------------------------------------------
# warmup.csv: where the norm stands, and how the learning rate begins

NORM_COLOURS = {"pre": "#0072B2", "post": "#D55E00"}
WARMUP_DASHES = ((0, (4, 1.8)), "-", (0, (1, 1.3)), (0, (7, 1.5, 1.5, 1.5)))


def norm(cell):
    if cell not in NORM_COLOURS:
        raise ValueError("pre or post")
    return cell


WARMUP_COLUMNS = {"norm": norm, "warmup": whole, "step": amount, "loss": number}


def draw_warmup(path: Path) -> Figure:
    """A line for each norm and warm-up, named at its end."""
    rows = read_table(path, WARMUP_COLUMNS)
    warmups = sorted({row["warmup"] for row in rows})
    lines, ends = {}, []
    for key in distinct((row["norm"], row["warmup"]) for row in rows):
        points = sorted((row["step"], row["loss"]) for row in rows
                        if (row["norm"], row["warmup"]) == key)
        known = [point for point in points if math.isfinite(point[1])]
        lines[key] = points
        if known:
            lost = "" if known[-1] == points[-1] else ", diverged"
            ends.append((known[-1], warmup_label(key) + lost, NORM_COLOURS[key[0]]))
    if not ends:
        raise BadTable("expected a row with a finite loss, found none")
    height, left, right = 3.2, 0.57, 0.2 + 0.064 * max(len(label) for _, label, _ in ends)
    figure = Figure(figsize=(WIDTH, height))
    panel = figure.add_axes([left / WIDTH, 0.5 / height, (WIDTH - left - right) / WIDTH,
                             (height - 0.5 - 0.42) / height])
    for (place, warmup), points in lines.items():
        panel.plot(*zip(*points), color=NORM_COLOURS[place], linewidth=1.4,
                   linestyle=WARMUP_DASHES[warmups.index(warmup) % len(WARMUP_DASHES)])
    panel.set_xlim(0, max(row["step"] for row in rows) or 1)
    for warmup in warmups:
        if 0 < warmup < panel.get_xlim()[1]:
            panel.axvline(warmup, color=BASELINE_GREY, linewidth=0.8,
                          linestyle=(0, (1, 1.5)), zorder=1.5)
            panel.annotate("warm-up ends", (warmup, 1), (3, -2), va="top",
                           xycoords=panel.get_xaxis_transform(), size=SMALL_SIZE,
                           textcoords="offset points", color=BASELINE_GREY)
    set_step_ticks(panel, 6)
    panel.yaxis.set_major_locator(MaxNLocator(7, steps=ROUND))
    panel.set_xlabel("training steps")
    panel.set_ylabel("training loss (nats a token)")
    label_lines(panel, ends)
    write_title(figure, path, "pre: the norm stands before each layer; post: after it")
    return figure


def warmup_label(key):
    return f"{key[0]}, " + (f"warm-up {key[1]}" if key[1] else "no warm-up")


def label_lines(panel, ends):
    """Names of lines beside the panel, as near as may be to where they end."""
    ends = sorted(ends, key=lambda end: end[0][1])
    panel.set_ylim(panel.get_ylim())    # the places of the labels depend on it
    to_points = POINTS_AN_INCH / panel.figure.dpi
    heights = [panel.transData.transform(point)[1] * to_points for point, _, _ in ends]
    for ((_, y), label, colour), old, new in zip(ends, heights,
                                                 spread(heights, TEXT_SIZE + 2)):
        panel.annotate(label, xy=(1, y), xycoords=panel.get_yaxis_transform(),
                       xytext=(8, new - old), textcoords="offset points",
                       va="center", size=TEXT_SIZE, color=colour, annotation_clip=False,
                       arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": colour,
                                   "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0})


# ---------------------------------------------------------------------------
# gaps.csv: a letter is missing; who sees one side of it, and who sees both?

SIDES = {"left": "sees what stands left of the gap", "both": "sees both sides of the gap"}
STRANGER_GREY = "0.68"      # a bar of what is no network


def sides(cell):
    if cell not in SIDES:
        raise ValueError("left or both")
    return cell


GAP_COLUMNS = {"model": name, "sees": sides, "gaps": whole, "accuracy": weight}


def draw_gaps(path: Path) -> Figure:
    """Bars in the file's order, those that see the same together."""
    rows = read_table(path, GAP_COLUMNS)
    groups = {SIDES[side]: [row for row in rows if row["sees"] == side]
              for side in distinct(row["sees"] for row in rows)}
    top, bottom, line = 0.34, 0.5, 0.17
    height = top + column_height(groups, line) + bottom
    figure = Figure(figsize=(WIDTH, height))
    left, right = 0.14 + 0.062 * max(len(row["model"]) for row in rows), 0.2
    panels = column_panels(figure, groups, left, WIDTH - right, top, line)
    for panel, found in zip(panels, groups.values()):
        draw_share_bars(panel, found, "accuracy", percent_fine)
        panel.set_yticks(range(len(found)), [row["model"] for row in found])
    most = max(row["accuracy"] for row in rows) or 1
    panels[0].set_xlim(0, 1.08 * most)          # with room for the largest one's number
    panels[0].xaxis.set_major_locator(MaxNLocator(8, steps=ROUND))
    panels[-1].set_xlabel("letters guessed right")
    counts = distinct(row["gaps"] for row in rows)
    # The standard deviation of a share p of n is √(p (1 - p) / n) ≤ 1 / √(4 n).
    write_title(figure, path, f"{counts[0]} gaps; standard error at most "
                + percent_fine(1 / math.sqrt(4 * counts[0]))
                if len(counts) == 1 and counts[0] else "")
    return figure


COLUMN_TITLE, COLUMN_GAP = 0.22, 0.14   # inches: above each panel, and between two


def column_height(groups, line) -> float:
    return (line * sum(map(len, groups.values())) + COLUMN_TITLE * len(groups)
            + COLUMN_GAP * (len(groups) - 1))


def column_panels(figure, groups, left, right, top, line):
    """Panels one under the other, each as high as its rows are many.

    They share the x axis, whose numbers are under the lowest one.
    """
    width, height = figure.get_size_inches()
    panels, upper = [], height - top
    for title, found in groups.items():
        upper -= COLUMN_TITLE + line * len(found)
        panel = figure.add_axes([left / width, upper / height, (right - left) / width,
                                 line * len(found) / height],
                                sharex=panels[0] if panels else None)
        upper -= COLUMN_GAP
        panel.set_title(title, loc="left")
        panel.set_ylim(len(found) - 0.5, -0.5)          # the first on top
        panel.grid(visible=False, axis="y")
        last = len(panels) == len(groups) - 1
        panel.tick_params(axis="x", bottom=last, labelbottom=last)
        panel.tick_params(axis="y", length=0, labelsize=TEXT_SIZE)
        panels.append(panel)
    return panels


def draw_share_bars(panel, rows, column, label):
    for place, row in enumerate(rows):
        panel.barh(place, row[column], height=0.68,
                   color=MODEL_LOOKS.get(row["model"], (STRANGER_GREY,))[0])
        label_value(panel, row[column], place, label(row[column]))
    panel.xaxis.set_major_formatter(FuncFormatter(percent))


def label_value(panel, x, y, label, distance=3):
    """A number beside what ends at x; white behind it hides the grid."""
    panel.annotate(label, xy=(x, y), xytext=(distance, -0.5), va="center",
                   textcoords="offset points", size=SMALL_SIZE, color="0.25",
                   annotation_clip=False, bbox={"facecolor": "white", "linewidth": 0,
                                                "pad": 0.8})


def percent_fine(value):
    return f"{100 * value:.1f}\u2009%"


# ---------------------------------------------------------------------------
# closing.csv: the networks of all chapters in two tasks

CLOSING_TASKS = ("quijote", "to_digits", "to_words")
MEASURES = ("bits", "exact")


def closing_task(cell):
    if cell not in CLOSING_TASKS:
        raise ValueError(f"one of {', '.join(CLOSING_TASKS)}")
    return cell


def measure(cell):
    if cell not in MEASURES:
        raise ValueError(" or ".join(MEASURES))
    return cell


def finite_amount(cell):
    value = finite(cell)
    if value < 0:
        raise ValueError("a number, 0 or more")
    return value


CLOSING_COLUMNS = {"task": closing_task, "at": text, "model": name,
                   "parameters": finite_amount, "steps": finite_amount,
                   "seconds": finite_amount, "measure": measure, "value": finite_amount}


def draw_closing(path: Path) -> Figure:
    """At the left what is measured in bits, as points; at the right shares, as bars.

    Bars would have to begin at 0 bits, where no model of a language comes near.
    """
    rows = read_table(path, CLOSING_COLUMNS)
    columns = [(kind, closing_groups([row for row in rows if row["measure"] == kind]))
               for kind in MEASURES]
    columns = [(kind, groups) for kind, groups in columns if groups]
    top, bottom, line = 0.34, 0.5, 0.36
    tallest = max(column_height(groups, line) for _, groups in columns)
    height = top + tallest + bottom
    figure = Figure(figsize=(WIDTH, height))
    share_of_width = WIDTH / len(columns)
    for place, (kind, groups) in enumerate(columns):
        # The rows of the shorter column are higher, so that both end together.
        found = sum(groups.values(), [])
        roomy = line + (tallest - column_height(groups, line)) / len(found)
        left = place * share_of_width + 0.2 + max(
            max(0.062 * len(row["model"]), 0.05 * len(closing_cost(row))) for row in found)
        panels = column_panels(figure, groups, left, (place + 1) * share_of_width - 0.46,
                               top, roomy)
        for panel, rows_of_panel in zip(panels, groups.values()):
            draw_closing_rows(panel, kind, rows_of_panel)
        finish_closing(panels, kind, [row["value"] for row in found])
    write_title(figure, path, "under the names: seconds of training, parameters")
    return figure


def closing_groups(rows):
    """The rows by title: by what was held equal, or by the task."""
    groups = {}
    for row in rows:
        if row["measure"] == "exact" and row["value"] > 1 + 1e-6:
            raise BadTable(f"{row['task']}, {row['model']}: expected a share, from 0 to 1, "
                           f"found '{row['value']:g}'")
        task = "Quijote" if row["task"] == "quijote" else task_title(row["task"])
        title = f"{task}, {row['at']}" if row["at"] else task
        groups.setdefault(title, []).append(row)
    return groups


def draw_closing_rows(panel, kind, rows):
    if kind == "exact":
        draw_share_bars(panel, rows, "value", percent_fine)
    else:
        for place, row in enumerate(rows):
            panel.axhline(place, color="0.8", linewidth=0.7, zorder=1)
            panel.plot([row["value"]], [place], "o", markersize=MARKER_SIZE + 2,
                       color=MODEL_LOOKS.get(row["model"], (STRANGER_GREY,))[0])
            label_value(panel, row["value"], place, f"{row['value']:.3f}", 6)
    panel.set_yticks(range(len(rows)), [""] * len(rows))
    for place, row in enumerate(rows):
        for label, up, size, colour in ((row["model"], 4.5, TEXT_SIZE, "black"),
                                        (closing_cost(row), -5, SMALL_SIZE - 1, "0.35")):
            panel.annotate(label, (0, place), (-5, up), ha="right", va="center",
                           xycoords=panel.get_yaxis_transform(), size=size, color=colour,
                           textcoords="offset points", annotation_clip=False)


def closing_cost(row):
    count = EngFormatter(places=0 if row["parameters"] < 1e6 else 1,
                         sep="\u2009")(row["parameters"])
    return f"{row['seconds']:.0f}\u2009s, {count}"


def finish_closing(panels, kind, values):
    if kind == "exact":
        panels[0].set_xlim(0, 1)
        panels[0].xaxis.set_major_locator(FixedLocator(SHARE_TICKS))
        panels[-1].set_xlabel("exact answers (more is better)")
        return
    span = max(max(values) - min(values), 0.02)
    panels[0].set_xlim(min(values) - 0.25 * span, max(values) + 0.35 * span)
    panels[0].xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    panels[-1].set_xlabel("bits a letter (less is better; not from 0)")


# ---------------------------------------------------------------------------
# The known forms, and the program

FORMS = {
    "accuracy": draw_accuracy,
    "activations": draw_activations,
    "attention": draw_attention,
    "branches": draw_branches,
    "closing": draw_closing,
    "curve": draw_curve,
    "forcing": draw_forcing,
    "gaps": draw_gaps,
    "gradients": draw_gradients,
    "kernels": draw_kernels,
    "league": draw_league,
    "length": draw_length,
    "digits": draw_length,
    "masks": draw_masks,
    "normality": draw_normality,
    "predictions": draw_predictions,
    "randomized": draw_randomized,
    "recall": draw_recall,
    "shares": draw_shares,
    "truncation": draw_truncation,
    "warmup": draw_warmup,
}


def find_tables(paths: list) -> list:
    """The CSV files of a known form, in a fixed order."""
    tables = []
    for path in paths:
        found = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
        tables += [table for table in found
                   if table.suffix == ".csv" and table.stem in FORMS
                   and not (table.stem == "predictions" and holds_answers(table))]
    return distinct(tables)


def save(figure: Figure, path: Path) -> None:
    """Write PNG and SVG under other names, then rename: a file is whole or old."""
    kinds = {"png": {"Software": None}, "svg": {"Date": None}}
    parts = {kind: path.with_name(f".{path.stem}.{os.getpid()}.{kind}")
             for kind in kinds}
    try:
        for kind, metadata in kinds.items():
            figure.savefig(parts[kind], format=kind, metadata=metadata)
        for kind in kinds:
            os.replace(parts[kind], path.with_suffix("." + kind))
    finally:
        for part in parts.values():
            if part.exists():
                part.unlink()


def draw(path: Path) -> bool:
    """Draw one table; True if that went well."""
    try:
        save(FORMS[path.stem](path), path)
    except BadTable as error:
        print(f"plot.py: {path}: {error}", file=sys.stderr)
        return False
    except OSError as error:
        print(f"plot.py: {path}: cannot read or write: {error}", file=sys.stderr)
        return False
    print(f"drew {path.with_suffix('.png')} and {path.stem}.svg")
    return True


def main(arguments: list) -> int:
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__.strip())
        return 0
    matplotlib.rcdefaults()         # no private settings: the same for everyone
    matplotlib.rcParams.update(STYLE)
    paths = [Path(argument) for argument in arguments or ["out"]]
    failed = False
    for path in paths:
        if not path.exists():
            print(f"plot.py: {path}: no such file or folder", file=sys.stderr)
            failed = True
    for table in find_tables([path for path in paths if path.exists()]):
        failed = not draw(table) or failed
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
