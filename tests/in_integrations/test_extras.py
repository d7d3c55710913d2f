"""What is said where an extra is missing."""

import subprocess
import sys

import pytest

from fireworks_batch import integrations

# The package that each integration cannot do without.
NEEDED = {
    "arrow": ("pyarrow", "arrow"),
    "cost": ("genai_prices", "cost"),
    "otel": ("opentelemetry", "otel"),
    "pydantic": ("pydantic", "pydantic"),
    "pydantic_ai": ("pydantic_ai", "pydantic-ai"),
    "rich": ("rich", "cli"),
}


def test_the_table_has_each_integration():
    """No integration is left out below."""
    assert set(NEEDED) == set(integrations.__all__)


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_extra_is_named(name):
    """The error says which package is missing, and the command that installs the extra."""
    package, extra = NEEDED[name]
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from fireworks_batch import integrations\n"
        f"try: integrations.{name}\n"
        f"except ModuleNotFoundError as error: print(error)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not done.stderr
    assert f"pip install 'fireworks-batch[{extra}]'" in done.stdout


def test_a_misspelt_integration_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="pydantics"):
        _ = integrations.pydantics
