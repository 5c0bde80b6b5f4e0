"""The examples in docstrings give the results that they show."""

import doctest
import importlib
import pkgutil

import pytest

from toolkit import analysis

MODULES = [module.name for module in pkgutil.walk_packages(analysis.__path__, "toolkit.analysis.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
