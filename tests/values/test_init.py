"""What the package offers."""

import types

from perdure import values


def test_all_that_is_imported_is_offered_and_nothing_else():
    there = {
        name
        for name, thing in vars(values).items()
        if not name.startswith("_") and not isinstance(thing, types.ModuleType)
    }
    assert set(values.__all__) == there - {"annotations"}
    assert len(values.__all__) == len(set(values.__all__))
