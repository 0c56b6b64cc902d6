"""Files that may hold patients' texts: only their owner can read them."""

import os

_OWNER_ONLY = 0o600


def owner_only(path: str, flags: int) -> int:
    """For `open(…, opener=owner_only)`: only the owner can read a new file; an existing file keeps its permissions.

    Args:
        path: The file.
        flags: As for `os.open`.

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
