"""Files that may hold patients' texts: only their owner can read them."""

import os

_OWNER_ONLY = 0o600


def owner_only(path: str, flags: int) -> int:
    """For `open(…, opener=owner_only)`: nobody else can read a file that is made; one that is there stays as it is.

    Args:
        path: The file.
        flags: As `os.open` takes them.

    Returns:
        The descriptor.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(os.path.join(folder, "texts"), "w", opener=owner_only) as file:
        ...         oct(os.fstat(file.fileno()).st_mode & 0o777)
        '0o600'
    """
    return os.open(path, flags, _OWNER_ONLY)
