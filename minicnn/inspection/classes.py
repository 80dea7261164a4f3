"""How many pictures the classes have."""

from .findings import Finding

FEW = 10  # pictures of a class below which its accuracy is a matter of luck
RATIO = 5  # how many times smaller than the largest class another one may be


def check_classes(counts: dict[str, dict[str, int]]) -> list[Finding]:
    """Findings about the numbers of usable pictures.

    Parameters
    ----------
    counts : dict
        part -> class -> pictures; "train" is one of the parts.
    """
    train = counts["train"]
    present = {name: count for name, count in train.items() if count}
    findings = [
        Finding("empty_class", (name,), "", (name,), ("train",))
        for name in train
        if name not in present
    ]
    for part, numbers in counts.items():
        unknown = [name for name, count in numbers.items() if count and name not in train]
        findings += [Finding("unknown_class", (name,), "", (name,), (part,)) for name in unknown]
    if len(present) < 2:
        findings.append(Finding("one_class", tuple(present), "", tuple(present), ("train",)))
    largest = max(present.values(), default=0)
    for name, count in present.items():
        if count < FEW:
            findings.append(
                Finding("tiny_class", (name,), f"fewer than {FEW}: {count:,}", (name,), ("train",))
            )
        elif RATIO * count < largest:
            detail = f"{count:,}, the largest {largest:,}"
            findings.append(Finding("imbalance", (name,), detail, (name,), ("train",)))
    return findings
