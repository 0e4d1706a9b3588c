"""A file is there whole and right, or not at all, wherever it comes from."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ptycho_torch.files.download import fetch
from ptycho_torch.runtime.errors import InputError

CONTENT, FILE = bytes(range(256)) * 40, "measured.npz.bz2"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOBODY = "http://127.0.0.1:9/nobody.bz2"


@pytest.fixture(scope="module")
def server():
    """A server of the file: whole, cut off, or not there."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:-1000])

        def log_message(self, *_):
            pass

    answers = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{answers.server_port}"
    answers.shutdown()
    answers.server_close()


@pytest.fixture
def get(tmp_path, monkeypatch):
    monkeypatch.delenv("PTYCHO_DATA", raising=False)
    request = {"file": FILE, "sha256": SHA256}
    path = tmp_path / "got" / "measured"
    return lambda address, **other: fetch(path, address=address, **{**request, **other})


def test_a_download_is_the_very_file(get, server, tmp_path):
    assert get(f"{server}/whole") == "download"
    assert (tmp_path / "got" / "measured").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["measured"]


@pytest.mark.parametrize(
    ("page", "other", "message"),
    [
        ("/missing", {}, "404"),
        ("/short", {}, "cannot be downloaded"),
        ("/whole", {"sha256": "0" * 64}, "hash"),
    ],
)
def test_a_wrong_download_is_one_line_and_leaves_nothing(
    get, server, tmp_path, page, other, message
):
    with pytest.raises(InputError) as error:
        get(server + page, **other)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert server in str(error.value)
    assert f"'{FILE}' into a folder" in str(error.value) and "PTYCHO_DATA" in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_comes_first_and_is_checked_as_well(get, tmp_path, monkeypatch):
    """The address leads nowhere: the file must come from the folder."""
    monkeypatch.setenv("PTYCHO_DATA", str(tmp_path))
    (tmp_path / FILE).write_bytes(CONTENT)
    assert get(NOBODY) == "folder"
    (tmp_path / FILE).write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        get(NOBODY)
    monkeypatch.setenv("PTYCHO_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="is no folder"):
        get(NOBODY)
