"""A folder of results says which layout it has; another version's is refused by name."""

import os

import pytest

from ptycho_torch.files.layout import LAYOUT, MARK, check_layout
from ptycho_torch.runtime.errors import InputError


@pytest.fixture
def results(tmp_path):
    """A folder of results with these folders in it, and a run's file."""

    def make(*folders):
        for name in folders:
            (tmp_path / "results" / name).mkdir(parents=True)
            (tmp_path / "results" / name / "run.json").write_text("{}")
        return tmp_path / "results"

    return make


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.*")}


@pytest.mark.parametrize("folders", [(), ("real_data",), ("sources",), ("sources", "train")])
def test_a_new_folder_and_one_from_before_the_mark_get_it(results, folders, caplog):
    folder = results(*folders)
    check_layout(folder)
    assert (folder / MARK).read_text() == LAYOUT + "\n"
    assert ("taken over" in caplog.text) == ("train" in folders)
    before = (folder / MARK).stat().st_mtime_ns
    check_layout(folder)
    assert (folder / MARK).stat().st_mtime_ns == before


def test_an_older_folder_is_refused_and_left_alone_until_it_is_taken_over(results):
    folder = results("simulate", "train")
    before = files(folder)
    with pytest.raises(InputError, match="holds simulate/ of an older version") as refused:
        check_layout(folder)
    assert files(folder) == before and "\n" not in str(refused.value)
    assert f"echo '{LAYOUT}' > {folder / MARK}" in str(refused.value)
    (folder / MARK).write_text(LAYOUT + "\n")
    check_layout(folder)


@pytest.mark.parametrize("found", ["ptycho-torch results 2", "", "\0\xff" * 500])
def test_another_layout_is_named(results, found):
    folder = results("sources", "train")
    (folder / MARK).write_text(found, encoding="latin-1")
    before = (folder / MARK).read_bytes()
    with pytest.raises(InputError, match="is of the layout '.*', this version makes") as refused:
        check_layout(folder)
    assert (folder / MARK).read_bytes() == before and len(str(refused.value)) < 600


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match="file: is no folder"):
        check_layout(tmp_path / "file")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(InputError, match="nowhere: is no folder"):
        check_layout(tmp_path / "nowhere")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / MARK)
    with pytest.raises(InputError, match="layout.txt: cannot be read: it is a pipe"):
        check_layout(tmp_path / "pipe")
    with pytest.raises(InputError, match="layout.txt: cannot be written"):
        check_layout(tmp_path / "file" / "results")
