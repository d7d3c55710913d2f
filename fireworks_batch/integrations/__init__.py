"""What connects the library with others: a module for each, with an extra of the same name.

The modules use the public names of `fireworks_batch` only, and the core imports none of them. A
module is imported when it is first used, so that ``from fireworks_batch import integrations`` needs
no extra.
"""

from collections.abc import Iterator
from contextlib import contextmanager

TYPE_CHECKING = False

if TYPE_CHECKING:
    from fireworks_batch.integrations import arrow as arrow
    from fireworks_batch.integrations import cost as cost
    from fireworks_batch.integrations import otel as otel
    from fireworks_batch.integrations import pydantic as pydantic
    from fireworks_batch.integrations import pydantic_ai as pydantic_ai
    from fireworks_batch.integrations import rich as rich

__all__ = ["arrow", "cost", "otel", "pydantic", "pydantic_ai", "rich"]


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import packages of an extra inside this block.

    Args:
        extra: The name of the extra.

    Raises:
        ModuleNotFoundError: A package is missing. The text names the extra and the command that
            installs it.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            f"{exc.name} is not installed: it comes with the extra {extra!r}; "
            f"try: pip install 'fireworks-batch[{extra}]'",
            name=exc.name,
        ) from exc


if not TYPE_CHECKING:  # type checkers do not see this, and so refuse a misspelt name
    from importlib import import_module

    def __getattr__(name: str) -> object:
        """Import a module of this package."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(f"{__name__}.{name}")

    def __dir__() -> list[str]:
        """List the modules."""
        return __all__
