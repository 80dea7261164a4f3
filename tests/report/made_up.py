"""Facts of runs that never were: any number of classes, names in any script."""

import numpy as np

from minicnn import report
from minicnn.calibration import probabilities
from minicnn.inspection.findings import Finding, Report

NAMES = ("dog", "<b>cat</b> & co", "パンダ", "طائر", "<script>alert(1)</script>", "a" * 60)


def judged(classes=3, samples=200, part="validation", temperature=2.0, seed=0, right=0.8):
    g = np.random.default_rng(seed)
    labels = np.arange(samples) % classes
    logits = g.normal(size=(samples, classes))
    hit = g.random(samples) < right
    logits[np.arange(samples), np.where(hit, labels, g.integers(0, classes, samples))] += 6
    before, after = probabilities(logits), probabilities(logits, temperature)
    return report.Judged(part, labels, after, before)


def history(epochs):
    return [
        {"epoch": k + 1, "loss": 2 * 0.8**k, "accuracy": 1 - 0.5 * 0.8**k,
         "val_loss": 2.1 * 0.8**k, "val_accuracy": 1 - 0.55 * 0.8**k, "lr": 0.01 / (k + 1),
         "seconds": 1.5 if k else None}
        for k in range(epochs)
    ]  # fmt: skip


def names(classes):
    return [NAMES[k] if k < len(NAMES) else f"class {k}" for k in range(classes)]


def shown(answers, k, labels):
    g = np.random.default_rng(int(k))
    side = 8 if k % 2 else 96
    image = g.integers(0, 255, (1 if k % 3 else 3, side, side), dtype=np.uint8)
    row = answers.probabilities[k]
    order = np.argsort(-row)
    return report.Shown(
        report.encode(image), labels[answers.labels[k]], labels[order[0]], float(row[order[0]]),
        (labels[order[-1]], float(row[order[-1]])), f"photos/{'long_name_' * 6}{k}.jpg",
    )  # fmt: skip


def findings():
    long = f"/data/photos & more/dog/{'long_name_' * 6}.jpg"
    found = Report("/data/photos & more", "photos")
    found.findings = [
        Finding("two_parts", (long, "/data/photos & more/b.jpg"), "the same file", (),
                ("train", "test")),
        *(Finding("blank", (f"/data/photos & more/<i>{k}</i>.png",)) for k in range(5)),
    ]  # fmt: skip
    return found


def facts(classes=3, epochs=8, labels=None, **changes):
    labels, first = labels or names(classes), judged(classes, max(200, 4 * classes))
    pictures = {
        "mistakes": [shown(first, k, labels) for k in report.confident_mistakes(first)],
        "hits": [shown(first, k, labels) for k in report.unsure_hits(first)],
        "explained": [shown(first, k, labels) for k in report.to_explain(first)],
    }
    plain = {
        "run": "runs/train-001", "data": "/data/photos & more", "architecture": "cnn-m",
        "parameters": 287_843, "input_shape": (3, 64, 64), "classes": labels, "epochs": epochs,
        "history": history(epochs), "best_epoch": epochs, "judged": [first], "temperature": 2.0,
        "counts": {"training": [400] * classes, "validation": [67] * classes},
        "notes": ["Photos were stretched."], "left_out": [("photos/<i>broken</i>.jpg", "damaged")],
        "inspection": findings(),
        "settings": {"format": 1, "lr": 0.005, "data": "/data/photos & more", "patience": None},
        "environment": {"minicnn": "0.1.0", "packages": {"numpy": "2.0"},
                        "started": "2026-11-23T13:59:00+00:00"},
        "command": ["minicnn", "train", "/data/photos & more", "--epochs", str(epochs)],
    }  # fmt: skip
    return report.Facts(**{**plain, **pictures, **changes})
