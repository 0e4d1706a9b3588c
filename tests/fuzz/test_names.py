"""Names that are more than names: none leads out of a folder, none becomes markup or a formula."""

import json

import pytest
from typer.testing import CliRunner

from ptycho_torch.cli import app
from ptycho_torch.config.read import parse_study
from ptycho_torch.runtime.errors import InputError, shown_path

BAD = (
    *("..", ".", "../up", "/etc/passwd", "a/b", "a\\b", "a\x00b", "a" * 61, "", " ", "a b", "-a"),
    *(
        "<b>x</b>",
        "a\nb",
        "a\n",
        "é",
        "\u202eabc",
        "$(touch x)",
        "a;b",
        "{seed}",
        "~",
        "%2e%2e",
        "CON:",
    ),
)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("block", ["datasets", "arms", "sweeps"])
def test_a_name_that_becomes_a_folder_is_letters_digits_and_little_else(tiny, block, name):
    tiny[block][name] = next(iter(tiny[block].values()))
    with pytest.raises(InputError) as caught:
        parse_study(tiny, "study.yaml")
    assert all(map(str.isprintable, str(caught.value).split("\n  ")))


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2J", "\u202e", "a\u2028b"])
def test_words_for_people_are_one_printable_line(tiny, text):
    tiny["title"] = text
    with pytest.raises(InputError, match="one line of printable text"):
        parse_study(tiny, "study.yaml")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("data/probe.npz", "data/probe.npz"),
        ("/home/somebody/probe.npz", "probe.npz"),
        ("../../home/somebody/probe.npz", "probe.npz"),
        ("~/probe.npz", "probe.npz"),
        ("data/../../x/probe.npz", "probe.npz"),
    ],
)
def test_results_name_a_path_outside_the_folder_without_its_folders(path, shown):
    assert shown_path(path) == shown


def test_a_file_of_any_name_is_reconstructed_within_the_output_folder(tmp_path, scan_named):
    source = scan_named(tmp_path, "$\\frac$ <img src=x>\x1b[2J.npz")
    before = sorted(tmp_path.iterdir())
    words = ["reconstruct", str(source), "--output-dir", str(tmp_path / "out"), "--passes", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out"])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["source"] == source.name
