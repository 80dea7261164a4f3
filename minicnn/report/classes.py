"""Class by class: how good the answers are, what was taken for what, and the data behind."""

import numpy as np

from ..metrics import per_class
from .confusion import confusion
from .facts import Facts
from .findings import found_in_data
from .markup import Content, Markup, name, percent, plural, table, tag

MANY = 25  # classes from which on a table gets a box of limited height
LISTED = 50  # files left out that are named


def classes_section(facts: Facts) -> list[Content]:
    """Precision, recall and F1 of each class, and the confusion matrix."""
    judged = facts.judged[0]
    scores = per_class(judged.matrix)
    rows = [
        [name(label), f"{scores.support[k]:,}", percent(scores.precision[k]),
         percent(scores.recall[k]), percent(scores.f1[k]), _bar(scores.f1[k])]
        for k, label in enumerate(facts.classes)
    ]  # fmt: skip
    present = scores.support > 0
    means = [float(values[present].mean()) for values in scores[:3]]
    rows.append(["mean", f"{len(judged.labels):,}", percent(means[0]),
                 percent(means[1]), percent(means[2]), _bar(means[2])])  # fmt: skip
    head = ["class", "images", "precision", "recall", "F1", ""]
    return [
        tag("h2", "Classes"),
        tag("p", "Precision: of the images taken for this class, how many were. Recall: of the "
            "images of this class, how many were recognized. F1 is high only where both are. "
            f"All of it on the {judged.part} part.", class_="note"),
        table(head, rows, tall=len(rows) > MANY, total=True),
        tag("h3", "What was taken for what"),
        confusion(judged.matrix, facts.classes),
    ]  # fmt: skip


def data_section(facts: Facts) -> list[Content]:
    """How many images of each class are in each part, and what was left out."""
    parts = list(facts.counts)
    totals = {part: sum(facts.counts[part]) for part in parts}
    rows: list[list[Content]] = [
        [name(label), *(f"{facts.counts[part][k]:,}" for part in parts),
         f"{sum(facts.counts[part][k] for part in parts):,}"]
        for k, label in enumerate(facts.classes)
    ]  # fmt: skip
    rows.append(["all", *(f"{totals[part]:,}" for part in parts), f"{sum(totals.values()):,}"])
    training = np.array(facts.counts["training"])
    notes = list(facts.notes)
    if training.min() > 0 and training.max() >= 3 * training.min():
        low, high = facts.classes[int(training.argmin())], facts.classes[int(training.argmax())]
        notes.append(
            f"The classes are uneven: {training.max() / training.min():.1f} times as many images "
            f"of {high} as of {low}. --class-weight balanced makes up for that."
        )
    return [
        tag("h2", "Data"),
        tag("p", "From ", name(facts.data), class_="note"),
        table(["class", *parts, "all"], rows, tall=len(rows) > MANY, total=True),
        [tag("p", note, class_="note") for note in notes],
        _left_out(facts),
        found_in_data(facts),
    ]


def _left_out(facts: Facts) -> Markup | None:
    if not facts.left_out:
        return None
    rows = [[name(path), reason] for path, reason in facts.left_out[:LISTED]]
    more = len(facts.left_out) - LISTED
    heading = f"{plural(len(facts.left_out), 'file or folder', 'files and folders')} left out"
    return Markup(
        tag("h3", heading) + table(["file", "reason"], rows, text=2, tall=len(rows) > MANY)
        + (tag("p", f"and {more:,} more", class_="note") if more > 0 else "")
    )  # fmt: skip


def _bar(share: float) -> Markup:
    return tag("span", tag("i", style=f"width:{100 * share:.1f}%"), class_="bar",
               aria_hidden="true")  # fmt: skip
