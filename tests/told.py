"""Names of parametrized tests, the same in every process that collects them."""

import re


def told(value: object) -> str:
    """The value as text, without the addresses of functions and objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:100]
