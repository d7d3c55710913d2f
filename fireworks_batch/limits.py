"""How large a batch, and one upload, may be. Performs no I/O."""

import attrs

from fireworks_batch.policies import whole_number

__all__ = ["Limits"]

_GIB = 1024**3


@attrs.frozen(kw_only=True)
class Limits:
    """How much goes into one dataset, and from which size on it is uploaded in the other way.

    Raises:
        ConfigurationError: A value is no whole number of at least 1.
    """

    max_rows: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(whole_number)
    )
    """Most rows of one dataset, 1 or more; None: the server names no limit."""

    max_bytes: int = attrs.field(default=80 * _GIB, validator=whole_number)
    """Most bytes of one dataset, 1 or more; the server's limit is 80 GiB."""

    max_upload_bytes: int = attrs.field(default=150_000_000, validator=whole_number)
    """Most bytes that are sent through the API, 1 or more; larger files go to storage, by a signed
    URL."""
