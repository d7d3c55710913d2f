"""How large a batch, and one upload, may be."""

import attrs
import pytest

from fireworks_batch import ConfigurationError, Limits


def test_defaults_are_those_promised():
    """80 GiB, 150 MB, and no limit of rows."""
    assert attrs.asdict(Limits()) == {
        "max_rows": None,
        "max_bytes": 80 * 1024**3,
        "max_upload_bytes": 150_000_000,
    }


@pytest.mark.parametrize("name", ["max_rows", "max_bytes", "max_upload_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True])
def test_a_limit_is_a_whole_number(name, value):
    """Of at least 1; the error names the setting and the value."""
    with pytest.raises(ConfigurationError, match=f"Limits.{name} must be a whole number") as no:
        Limits(**{name: value})
    assert repr(value) in str(no.value)
    assert getattr(Limits(**{name: 1}), name) == 1
