"""A file is there whole and right, or not at all, wherever it comes from."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ptycho_torch.files.download import fetch
from ptycho_torch.runtime.errors import InputError


@pytest.fixture
def server(packed):
    """A server of the file: whole, cut off, or not there."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(packed.content)))
            self.end_headers()
            whole = self.path == "/whole"
            self.wfile.write(packed.content if whole else packed.content[:-1000])

        def log_message(self, *_):
            pass

    answers = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{answers.server_port}"
    answers.shutdown()
    answers.server_close()


@pytest.fixture
def get(packed, tmp_path, monkeypatch):
    monkeypatch.delenv("PTYCHO_DATA", raising=False)
    wanted = {"file": packed.file, "sha256": packed.sha256, "max_bytes": 10**7}
    return lambda address, **other: fetch(
        tmp_path / "got" / "measured", address=address, **{**wanted, **other}
    )


def left_behind(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_download_is_the_very_file(get, server, packed, tmp_path):
    assert get(f"{server}/whole") == "download"
    assert (tmp_path / "got" / "measured").read_bytes() == packed.content


@pytest.mark.parametrize(
    ("page", "other", "message"),
    [
        ("/missing", {}, "404"),
        ("/short", {}, "truncated, or another one"),
        ("/whole", {"sha256": "0" * 64}, f"expected {'0' * 64}"),
        ("/whole", {"max_bytes": 1000}, "larger than 1000 bytes"),
    ],
)
def test_a_wrong_download_is_one_line_and_leaves_nothing(
    get, server, tmp_path, page, other, message
):
    with pytest.raises(InputError) as error:
        get(server + page, **other)
    text = str(error.value)
    assert message in text and "\n" not in text and server in text
    assert left_behind(tmp_path) == []


def test_without_a_network_the_error_names_the_folder_that_helps(get, packed, tmp_path):
    with pytest.raises(InputError, match="PTYCHO_DATA") as error:
        get("http://127.0.0.1:9/nobody.bz2")
    assert packed.file in str(error.value)
    assert left_behind(tmp_path) == []


def test_a_folder_comes_first_and_is_checked_as_well(get, packed, tmp_path, monkeypatch):
    """The address leads nowhere: the file must come from the folder."""
    monkeypatch.setenv("PTYCHO_DATA", str(packed.folder))
    assert get("http://127.0.0.1:9/nobody.bz2") == "folder"
    other = tmp_path / "other"
    other.mkdir()
    (other / packed.file).write_bytes(packed.content[:-1])
    monkeypatch.setenv("PTYCHO_DATA", str(other))
    with pytest.raises(InputError, match="SHA-256"):
        get("http://127.0.0.1:9/nobody.bz2")
    monkeypatch.setenv("PTYCHO_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="is no folder"):
        get("http://127.0.0.1:9/nobody.bz2")
