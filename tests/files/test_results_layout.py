"""A folder of results says which layout it has; another version's is refused by name."""

import pytest

from ptycho_torch.files.layout import LAYOUT, MARK, check_layout
from ptycho_torch.runtime.errors import InputError


def test_a_new_folder_gets_the_mark_once(tmp_path):
    check_layout(tmp_path / "results")
    mark = tmp_path / "results" / MARK
    assert mark.read_text() == LAYOUT + "\n"
    before = mark.stat().st_mtime_ns
    check_layout(tmp_path / "results")
    assert mark.stat().st_mtime_ns == before


def test_an_older_folder_is_refused_and_left_alone_until_it_is_taken_over(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="holds train/ of an older version") as refused:
        check_layout(tmp_path)
    assert f"echo '{LAYOUT}' > {tmp_path / MARK}" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
    (tmp_path / MARK).write_text(LAYOUT + "\n")
    check_layout(tmp_path)


def test_another_layout_and_a_folder_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / MARK).write_text("ptycho-torch results 2")
    with pytest.raises(InputError, match="is of the layout 'ptycho-torch results 2', this version"):
        check_layout(tmp_path)
    with pytest.raises(InputError, match="cannot be written: .*; choose another place"):
        check_layout(tmp_path / MARK / "results")
