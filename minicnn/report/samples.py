"""Single answers with their pictures, and whether the answers' confidence can be believed."""

from ..calibration import expected_calibration_error
from .facts import Facts, Shown
from .markup import Content, Markup, name, percent, plural, tag
from .reliability import diagram, scores


def mistakes_section(facts: Facts) -> list[Content] | None:
    """The wrong answers that the model was surest of."""
    judged = facts.judged[0]
    wrong = len(judged.labels) - judged.hits
    heading = tag("h2", "Most confident mistakes")
    if not wrong:
        return [heading, tag("p", f"None: all {len(judged.labels):,} answers are right.")]
    shown = f"the {len(facts.mistakes)} surest of " if len(facts.mistakes) < wrong else ""
    return [
        heading,
        tag("p", f"{shown.capitalize()}{plural(wrong, 'wrong answer')}. Look at the labels "
            "first: a sure mistake is often a picture in the wrong folder.", class_="note"),
        tag("div", [_figure(one, one.picture.pixelated) for one in facts.mistakes],
            class_="gallery"),
    ]  # fmt: skip


def hits_section(facts: Facts) -> list[Content] | None:
    """The right answers that the model was least sure of."""
    if not facts.hits:
        return None
    return [
        tag("h2", "Least confident hits"),
        tag("p", "Right, but only just. More pictures like these would help the most.",
            class_="note"),
        tag("div", [_figure(one, one.picture.pixelated) for one in facts.hits], class_="gallery"),
    ]  # fmt: skip


def explained_section(facts: Facts) -> list[Content] | None:
    """Grad-CAM beside the pictures."""
    if not facts.explained:
        return None
    return [
        tag("h2", "Where it looks"),
        tag("p", "Each picture as the model saw it, and beside it with the places that speak for "
            "the answer, from dark (little) to yellow (most). The surest hit of each of some "
            "classes, then the surest mistakes. A model that looks at the background has learned "
            "the background. ", tag("code", "minicnn explain"), " draws any picture, and measures "
            "whether the map can be trusted.", class_="note"),
        tag("div", [_figure(one, False, "Grad-CAM of ") for one in facts.explained],
            class_="gallery pairs"),
    ]  # fmt: skip


def calibration_section(facts: Facts) -> list[Content]:
    """Reliability diagram, ECE before and after, and what was done about it."""
    judged, temperature = facts.judged[0], facts.temperature
    after = expected_calibration_error(judged.labels, judged.probabilities)
    before = expected_calibration_error(judged.labels, judged.before)
    mean = float(judged.probabilities.max(axis=1).mean())
    text: list[Content] = [
        f"The model says {percent(mean)} on average, and is right on "
        f"{percent(judged.accuracy)} of the {judged.part} images. "
    ]
    if temperature == 1:
        text.append(
            "Its probabilities are those of the network: no temperature is stored, or every "
            "validation image was right and there was nothing to fit it by."
        )
    else:
        way = "less" if temperature > 1 else "more"
        text.append(
            f"Dividing its scores by a temperature of {temperature:.2f}, fitted on the validation "
            f"part, makes the answers {way} sure and changes none of them; the calibration error "
            f"goes from {percent(before)} to {percent(after)}. It is stored in the model: "
        )
        text += [tag("code", "minicnn predict"), " and ", tag("code", "predict_proba"),
                 " use it; ", tag("code", "--no-temperature"), " and ",
                 tag("code", "temperature=1"), " turn it off."]  # fmt: skip
        if judged.part == "validation":
            text.append(" It was fitted on these same images, which flatters the figures a bit.")
    return [
        tag("h2", "Can the probabilities be believed?"),
        tag("p", text, class_="note"),
        tag("div", diagram(judged, temperature),
            tag("div", scores(judged, temperature),
                tag("p", "Points on the dotted line are honest: of the answers given with 80 %, "
                    "80 % are right. Below it the model is too sure of itself, above it too "
                    "timid. A large point stands for many answers; the columns count them. The "
                    "calibration error is the mean distance from the line. Log-loss and Brier "
                    "score punish confident mistakes; lower is better.", class_="note")),
            class_="two"),
    ]  # fmt: skip


def _figure(one: Shown, pixelated: bool, before: str = "") -> Markup:
    right = one.true == one.predicted
    picture = one.picture
    image = tag(
        "img", src=picture.url, width=picture.width, height=picture.height,
        class_="pixels" if pixelated else None, decoding="async",
        alt=f"{before}{one.name}: {one.true}, taken for {one.predicted}",
    )  # fmt: skip
    answer = tag("span", name(one.predicted), class_="right" if right else "wrong")
    if right:
        second, chance = one.second
        rest: Content = ["then ", name(second), f" ({percent(chance)})"]
    else:
        rest = ["is ", name(one.true)]
    return tag("figure", image, tag("figcaption", answer, f" {percent(one.probability)}",
               tag("small", rest), tag("small", name(one.name))))  # fmt: skip
