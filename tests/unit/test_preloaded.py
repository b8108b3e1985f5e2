"""What programs of tests are forked with: a name that is not found is passed over in silence, and then paid for."""

from importlib import import_module

import pytest
from mts1b_platform.testing import programs


@pytest.mark.parametrize("module", programs._modules)
def test_a_module_that_is_loaded_beforehand_exists(module: str):
    import_module(module)


def test_what_runs_a_program_is_loaded_beforehand():
    assert programs._become.__module__ in programs._modules
