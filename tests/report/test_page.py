"""The report as text: what it says, that names stay text, that nothing points outside."""

import io
import re
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from minicnn import report
from minicnn.calibration import probabilities
from minicnn.inspection.findings import Finding, Report
from minicnn.report.axes import nice_ticks, whole_ticks
from minicnn.report.confusion import confusion
from minicnn.report.markup import Markup, join, tag
from minicnn.report.page import SECTIONS

from .made_up import facts, history, judged, names


class Outline(HTMLParser):
    """Elements, their attributes, and whether each one is closed where it should be."""

    EMPTY = {"br", "col", "img", "meta"}

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in self.EMPTY:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text += data.replace("\N{NO-BREAK SPACE}", " ")

    def values(self, attribute):
        return [a[attribute] for _, a in self.elements if attribute in a]


@pytest.mark.parametrize("classes", [2, 3, 20, 21, 100, 250])
@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_page_is_well_formed_and_points_to_nothing_outside(classes, epochs):
    outline = Outline(report.page(facts(classes, epochs)))
    assert outline.open == []
    assert all(url.startswith("data:image/") for url in outline.values("src"))
    assert all(url.startswith("#") for url in outline.values("href"))
    assert set(outline.values("href")) <= {f"#{anchor}" for anchor in outline.values("id")}
    named = {name for name, _ in outline.elements}
    assert not named & {"script", "link", "iframe", "object", "form", "base"}
    assert not [a for _, a in outline.elements for key in a if key.startswith("on")]
    css = report.page(facts()).split("<style>")[1].split("</style>")[0]
    assert "url(" not in css and "@import" not in css


def test_page_forbids_whatever_is_outside():
    (policy,) = [a["content"] for n, a in Outline(report.page(facts())).elements
                 if a.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_every_picture_and_chart_says_in_words_what_it_is():
    elements = Outline(report.page(facts())).elements
    assert all(a.get("alt") for name, a in elements if name == "img")
    charts = [a for name, a in elements if name == "svg" and "aria-hidden" not in a]
    assert len(charts) == 5 and all(a.get("aria-label") for a in charts)


def test_names_are_text_in_every_section():
    bad = "<i>x</i>\"'&\x00\ud800"
    changes = {"run": f"runs/{bad}", "data": bad, "architecture": bad, "notes": [bad],
               "left_out": [(bad, bad)], "settings": {bad: bad}, "environment": {bad: [bad]},
               "command": [bad], "labels": [bad, *names(3)[1:]]}  # fmt: skip
    page = report.page(facts(**changes))
    outline = Outline(page)
    assert outline.open == []
    assert "<i>x" not in page and "\x00" not in page
    assert page.encode()  # half a surrogate pair would not be UTF-8
    assert outline.text.count("<i>x</i>") >= 9


def test_headline_says_accuracy_interval_and_what_it_is_worth():
    part = judged(samples=200)
    text = Outline(report.page(facts(judged=[part]))).text
    share, (low, high) = part.accuracy, part.interval
    assert f"Right on {100 * share:.1f} % of 200 validation images" in text
    assert f"between {100 * low:.1f} % and {100 * high:.1f} %" in text
    assert "chosen by these same images" in text
    test = judged(samples=50, part="test")
    text = Outline(report.page(facts(judged=[test, part]))).text
    assert "of 50 test images" in text and "never saw these images" in text
    assert "because there are few images" in text and "accuracy, validation" in text


def test_stopped_run_says_so():
    text = Outline(report.page(facts(epochs=5, complete=False, history=history(3), best_epoch=3)))
    assert "stopped after 3 epochs of 5" in text.text
    assert "stopped" not in Outline(report.page(facts())).text
    ended = facts(epochs=4, ended="the time is over")
    assert "ended after 4 epochs: the time is over." in Outline(report.page(ended)).text


def test_confusion_matrix_shows_counts_and_shares():
    labels = np.array([0] * 8 + [1] * 4)
    answers = np.array([0] * 6 + [1] * 2 + [1] * 4)
    rows = probabilities(5.0 * np.eye(2)[answers])
    part = report.Judged("validation", labels, rows, rows)
    two = facts(2, judged=[part], mistakes=[], hits=[], explained=[])
    outline = Outline(report.page(two))
    text = outline.text
    cells = [a["class"] for name, a in outline.elements if name == "td" and "style" in a]
    cells += [a["class"] for name, a in outline.elements if a.get("class") == "none"]
    assert cells == ["hit full", "miss", "hit full", "none"]
    assert "675.0 %" in text and "225.0 %" in text and "4100 %" in text  # count, then share


def test_many_classes_are_drawn_and_the_confusions_listed():
    page = report.page(facts(100))
    assert page.count("taken for class") > 10
    assert "Most frequent mistakes" in page
    assert "viewBox" in page.split("What was taken for what")[1].split("Most frequent")[0]
    assert len(page) < 600_000


def test_a_dense_matrix_of_many_classes_stays_small():
    g = np.random.default_rng(0)
    labels, answers = np.arange(20_000) % 100, g.integers(0, 100, 20_000)
    rows = np.eye(100)[answers]
    part = report.Judged("validation", labels, rows, rows)
    page = report.page(facts(100, judged=[part], mistakes=[], hits=[], explained=[]))
    assert page.count("<rect") > 8000 and len(page) < 1_500_000


def squares(page):
    """(class, title) of each square of the matrix."""
    part = page.split("What was taken for what")[1].split("Most frequent")[0]
    return re.findall(r'<rect class="(hit|miss)"[^>]*>(?:<title>([^<]*)</title>)?</rect>', part)


def test_more_classes_than_rows_are_drawn_in_groups():
    labels = np.arange(1500) % 500
    answers = labels.copy()
    answers[0], answers[1], answers[2] = 499, 4, 400  # groups of five: 0 to 4, …, 495 to 499
    answers[1000] = 1  # class 0 once more
    rows = np.eye(500)[answers]
    part = report.Judged("validation", labels, rows, rows)
    names = [f"c{k}" for k in range(500)]
    page = report.page(facts(500, labels=names, judged=[part], mistakes=[], hits=[], explained=[]))
    found = squares(page)
    assert sum(kind == "hit" for kind, _ in found) == 100
    assert [title for kind, title in found if kind == "miss"] == [
        "c0 – c4 taken for c0 – c4: 2",
        "c0 – c4 taken for c400 – c404: 1",
        "c0 – c4 taken for c495 – c499: 1",
    ]
    assert "Each row stands for 5 classes" in page
    assert page.count("<tr><th") > 500 and len(page) < 800_000


def test_fifty_mistakes_are_listed_where_classes_are_in_groups():
    page = report.page(facts(300))
    rows = page.split("Most frequent mistakes")[1].split("</table>")[0].count("<tr>")
    assert rows == 51  # and the head


def test_a_dense_matrix_of_very_many_classes_stays_small():
    matrix = np.random.default_rng(0).integers(0, 5, (1000, 1000))
    drawn = confusion(matrix, [f"class {k}" for k in range(1000)])
    assert drawn.count("<rect") == 1 + 100 + 100 * 100 and len(drawn) < 1_500_000


def test_findings_are_told_worst_first_with_a_few_names():
    found = Report("/data/photos & more", "photos")
    found.findings = [Finding("blank", (f"/data/photos & more/{k}.png",)) for k in range(9)]
    found.findings.append(
        Finding("two_parts", ("/data/photos & more/<a>.jpg", "b"), "the same file", (),
                ("train", "val"))
    )  # fmt: skip
    page = report.page(facts(inspection=found))
    text = Outline(page).text
    told = text.split("What is wrong with them")[1].split("Use it")[0]
    assert told.index("picture is in two parts") < told.index("pictures are of one colour")
    assert "<a>.jpg = b (the same file; training and validation)" in told
    assert told.count(".png") == 3 and "and 6 more" in told
    assert "minicnn check '/data/photos & more'" in told
    assert "saved differently" in told
    found.skipped = ("near_duplicate",)
    assert "very same pixels" in Outline(report.page(facts(inspection=found))).text


def test_clean_data_are_said_to_be_so_and_unknown_ones_nothing():
    page = report.page(facts(inspection=Report("digits", "arrays")))
    assert "Nothing was found." in page and "minicnn check" not in page
    assert "What is wrong with them" not in report.page(facts(inspection=None))


def test_sections_without_content_are_left_out_with_their_links():
    page = report.page(facts(explained=[], hits=[]))
    assert 'id="explained"' not in page and 'href="#explained"' not in page
    assert 'id="unsure"' not in page
    whole = report.page(facts())
    assert all(f'id="{anchor}"' in whole for anchor in SECTIONS)


def test_no_mistakes_and_no_temperature_are_told():
    part = judged(right=1.0, temperature=1.0)
    labels = part.answers
    clean = report.Judged("validation", labels, part.probabilities, part.probabilities)
    text = Outline(report.page(facts(judged=[clean], mistakes=[], temperature=1.0))).text
    assert "all 200 answers are right" in text
    assert "no temperature is stored" in text
    assert "without temperature" not in text


def test_calibration_gives_both_errors():
    part = judged(samples=400)
    text = Outline(report.page(facts(judged=[part]))).text
    from minicnn.calibration import expected_calibration_error as ece

    for p in (part.before, part.probabilities):
        assert f"{100 * ece(part.labels, p):.2f} %" in text


def test_command_is_quoted_for_a_shell():
    assert "minicnn train '/data/photos &amp; more'" in report.page(facts()).replace("&#x27;", "'")


@pytest.mark.parametrize("nothing", ["val_loss", "lr", "seconds"])
@pytest.mark.parametrize("value", [None, float("inf"), float("nan")])
def test_history_with_gaps_is_shown(nothing, value):
    rows = [{**row, nothing: value} for row in history(4)]
    assert Outline(report.page(facts(history=rows, best_epoch=2))).open == []


# --- the pieces -------------------------------------------------------------------------------


def test_tag_escapes_text_and_attributes_and_keeps_markup():
    inner = tag("b", "<&>", title='"x"')
    assert inner == '<b title="&quot;x&quot;">&lt;&amp;&gt;</b>'
    assert tag("p", inner, None, [1, "<"], class_="a", aria_label=None) == (
        f'<p class="a">{inner}1&lt;</p>'
    )
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert isinstance(join("<"), Markup) and join("<") == "&lt;"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 7, [0, 2, 4, 6]), (0.93, 0.99, None), (5, 5, [5])],
)
def test_ticks_are_round_and_inside(low, high, expected):
    ticks = nice_ticks(low, high)
    assert expected is None or ticks == expected
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks) and 1 <= len(ticks) <= 8
    assert all(len(f"{t:g}") <= 5 for t in ticks)


@pytest.mark.parametrize("last", [1, 2, 3, 10, 97, 1000])
def test_epoch_ticks_are_whole_numbers(last):
    ticks = whole_ticks(1, last)
    assert ticks and all(t == int(t) and 1 <= t <= last for t in ticks)


def opened(picture):
    kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", picture.url).groups()
    image = Image.open(io.BytesIO(b64decode(data)))
    assert image.format.lower() == kind and image.size == (picture.width, picture.height)
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_small_pictures_keep_every_pixel(channels):
    image = np.random.default_rng(0).integers(0, 256, (channels, 5, 9), dtype=np.uint8)
    picture = report.encode(image)
    assert picture.pixelated
    planes = image[:3] if channels in (3, 4) else image[[0, 0, 0]]
    assert np.array_equal(opened(picture), planes.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.0, 255.0), (-3.0, 2.0), (100.0, 4000.0), (0.0, 0.0)]
)
def test_float_pictures_are_scaled_to_what_can_be_seen(low, high):
    ramp = np.linspace(low, high, 16, dtype=np.float32).reshape(1, 4, 4)
    found = opened(report.encode(ramp))[:, :, 0].ravel()
    expected = np.zeros(16) if high == low else np.linspace(0, 255, 16)
    assert np.abs(found - expected).max() <= 1


def test_large_pictures_are_jpeg_of_the_asked_width():
    picture = report.encode_pixels(np.full((100, 800, 3), 77, np.uint8), 400)
    assert (picture.width, picture.height, picture.pixelated) == (400, 50, False)
    assert np.abs(opened(picture) - 77).max() <= 2


PREPROCESSING = {"channels": 3, "size": [8, 8], "divisor": 255, "background": None}


@pytest.mark.parametrize("turned", [False, True])
def test_thumbnail_keeps_the_proportions_as_looked_at(tmp_path, turned):
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    Image.new("RGB", (800, 400), (200, 30, 30)).save(tmp_path / "a.jpg", exif=exif)
    picture = report.thumbnail(tmp_path / "a.jpg", {**PREPROCESSING, "order": "BGR"})
    assert (picture.width, picture.height) == ((100, 200) if turned else (200, 100))
    assert np.abs(opened(picture) - [200, 30, 30]).max() <= 4  # red stays red


def test_thumbnail_of_what_cannot_be_read_is_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert report.thumbnail(tmp_path / "a.jpg", PREPROCESSING) is None
    assert report.thumbnail(tmp_path / "gone.jpg", PREPROCESSING) is None


# --- what is chosen ---------------------------------------------------------------------------


def chosen_case():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55], [0.99, 0.01], [0.3, 0.7]])
    return report.Judged("validation", np.array([0, 1, 0, 1, 1, 1]), p, p)


def test_mistakes_come_surest_first_and_hits_least_sure_first():
    case = chosen_case()
    assert report.confident_mistakes(case).tolist() == [4, 2, 1]
    assert report.confident_mistakes(case, 1).tolist() == [4]
    assert report.unsure_hits(case).tolist() == [3, 5, 0]
    assert case.hits == 3 and case.matrix.tolist() == [[1, 1], [2, 2]]


def test_explained_are_the_surest_hit_of_each_class_and_two_mistakes():
    assert report.to_explain(chosen_case()).tolist() == [0, 5, 4, 2]
    many = judged(40, 400)
    found = report.to_explain(many)
    assert len(found) == 8
    assert len(set(many.labels[found[:6]])) == 6
    assert (many.answers[found[6:]] != many.labels[found[6:]]).all()
