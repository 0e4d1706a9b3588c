"""What every reader owes for a bad file: one printable line, or an indented one for each mistake."""

import pytest

from ptycho_torch.runtime.errors import InputError


def refused(call, *words):
    """Call what must raise `InputError` with these words; return what it says."""
    with pytest.raises(InputError) as caught:
        call()
    assert all(line.isprintable() for line in str(caught.value).split("\n  "))
    for word in words:
        assert word in str(caught.value), caught.value
    return str(caught.value)
