"""Importing minicnn: what it offers, and what it leaves for later."""

import subprocess
import sys

import pytest

import minicnn as mc

HEAVY = ("PIL", "tqdm", "matplotlib", "safetensors", "urllib.request", "numpy.random")


@pytest.mark.parametrize("name", mc.__all__)
def test_every_public_name_can_be_had_and_is_documented(name):
    assert name in dir(mc)
    if name != "__version__":
        assert getattr(mc, name).__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Conv3d'"):
        mc.Conv3d  # noqa: B018


def test_import_leaves_heavy_packages_for_later():
    program = f"import minicnn, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
