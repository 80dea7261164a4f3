"""The pages on layers: there is one for each, their links lead somewhere, their examples run."""

import doctest
import re
from pathlib import Path

import pytest

import minicnn as mc
from minicnn import layers, optim

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "layers"
PAGES = [*sorted(FOLDER.glob("*.md")), ROOT / "docs" / "adding_a_layer.md"]
LINK = re.compile(r"\[[^]]*\]\(([^)]+)\)")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGE_OF = {
    "BatchNorm1d": "batchnorm",
    "BatchNorm2d": "batchnorm",
    "Dropout2d": "dropout",
    "AdamW": "adam",
    "CrossEntropyLoss": "softmax_cross_entropy",
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "SiLU": "silu",
    "GELU": "gelu",
}


def page_name(class_name):
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()
    return PAGE_OF.get(class_name, snake)


def documented_classes():
    base = {"Layer", "Parameter", "ShapeError", "inference"}
    return sorted({*layers.__all__} - base | {"CrossEntropyLoss", "SGD", "Adam", "AdamW"})


def examples(text):
    return [block for block in BLOCK.findall(text) if ">>>" in block]


@pytest.mark.parametrize("class_name", documented_classes())
def test_page_of_every_layer_loss_and_optimizer_exists_and_links_its_class(class_name):
    page = FOLDER / f"{page_name(class_name)}.md"
    assert page.is_file(), f"docs/layers/{page.name} is missing"
    text = page.read_text()
    where = {"CrossEntropyLoss": mc.CrossEntropyLoss}.get(class_name)
    where = where or getattr(layers, class_name, None) or getattr(optim, class_name)
    assert f"{where.__module__.replace('.', '/')}.py#{class_name})" in text
    assert f"({page.name})" in (FOLDER / "README.md").read_text()
    assert "## On paper" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_the_page_lead_to_files_and_functions(page):
    for link in LINK.findall(page.read_text()):
        path, _, name = link.partition("#")
        target = (page.parent / path).resolve()
        assert target.is_file(), f"{page.name}: {link}"
        if name:
            definition = rf"^\s*(cp?def|def|class) {re.escape(name)}\b"
            assert re.search(definition, target.read_text(), re.MULTILINE), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_the_page_give_what_it_says(page):
    blocks = examples(page.read_text())
    assert blocks, f"{page.name} has no example"
    names = {}
    for k, block in enumerate(blocks):
        test = doctest.DocTestParser().get_doctest(block, names, f"{page.name}:{k}", str(page), 0)
        report = []
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, out=report.append, clear_globs=False)
        assert not runner.failures, "".join(report)
        names = test.globs


def test_kernels_of_the_layers_are_all_linked_from_a_page():
    text = "".join(page.read_text() for page in PAGES)
    for file in ("linear", "conv2d", "pool2d", "activations", "batchnorm", "dropout"):
        source = (ROOT / "minicnn" / "kernels" / f"{file}.pyx").read_text()
        for name in re.findall(r"^def (\w+(?:forward|backward)\w*)\(", source, re.MULTILINE):
            assert f"{file}.pyx#{name})" in text, f"no page links {name}"
