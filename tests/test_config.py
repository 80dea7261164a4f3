"""What `environment` and `show_config` tell."""

import minicnn as mc
from minicnn import config
from minicnn.kernels.build import has_openmp


def test_environment_names_versions_machine_and_threads(keep_threads):
    mc.set_num_threads(3)
    facts = config.environment()
    assert facts["minicnn"] == mc.__version__
    assert facts["threads"] == 3 and facts["cpus"] >= 1
    assert facts["openmp"] is has_openmp()
    assert facts["packages"]["numpy"].count(".") == 2


def test_package_version_of_a_package_that_is_not_installed_is_none():
    assert config.package_version("no-such-package-here") is None


def test_show_config_has_a_line_for_every_fact():
    lines = mc.show_config().splitlines()
    assert [line.split()[0] for line in lines].count("threads") == 1
    assert len(lines) == len(config.environment())
