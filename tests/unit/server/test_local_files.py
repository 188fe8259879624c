"""Files live in a folder that goes with the server; cards prove their body; sources refuse what is not public."""

import base64
import io
import stat
import subprocess
import sys

import pytest
from PIL import Image

from batch.server import placeholder_image
from batch.server.engines.base import canonical
from batch.server.engines.placeholder import placeholder_size
from batch.server.inputs import Unavailable, is_public, split_data_url
from batch.server.simulation import files
from batch.server.simulation.files import PREFIX, Files, sweep
from batch.server.subprocesses import ROOT


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_private_and_goes_with_the_server(temporary):
    with Files() as store:
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
        store.keep(b"x", "assets", "image/png", 0.0)
    assert list(temporary.iterdir()) == []


def test_a_file_is_found_by_its_kind_and_name_only():
    with Files() as store:
        kept = store.keep(b"x", "assets", "image/jpeg", 0.0)
        assert kept.name.endswith(".jpg")
        assert len(kept.name) > 30
        assert store.find("assets", kept.name, 1e12, 1.0) == kept
        assert store.find("outputs", kept.name, 0.0, 1.0) is None
        assert store.find("assets", "../lock", 0.0, 1.0) is None
        assert store.read(kept) == b"x"


def test_outputs_end_with_their_lifetime_and_uploads_do_not():
    with Files() as store:
        upload, output = (store.keep(b"x", kind, "image/png", 100.0) for kind in ("assets", "outputs"))
        assert store.find("outputs", output.name, 159.0, 60.0) == output
        assert store.find("outputs", output.name, 160.0, 60.0) is None
        assert not (store.folder / output.name).exists()
        assert store.find("assets", upload.name, 160.0, 60.0) == upload


def test_folders_of_killed_servers_are_swept_and_held_ones_are_not(temporary):
    dead = temporary / f"{PREFIX}dead"
    dead.mkdir()
    (dead / "lock").touch()
    foreign = temporary / f"{PREFIX}without-lock"
    foreign.mkdir()
    with Files() as held:
        sweep(temporary)
        assert held.folder.exists()
        assert foreign.exists()
        assert not dead.exists()


BODY = {"prompt": "Apply oak", "seed": 7}


def test_a_card_is_the_same_for_the_same_body_in_any_order():
    assert placeholder_image(BODY) == placeholder_image(dict(reversed(BODY.items())))
    assert placeholder_image(BODY) != placeholder_image({**BODY, "seed": 8})
    assert canonical(BODY) == canonical(dict(reversed(BODY.items())))


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_card_is_a_valid_image_in_the_asked_format(image_format):
    body = {**BODY, "image_format": image_format, "quality": 10}
    with Image.open(io.BytesIO(placeholder_image(body))) as image:
        image.load()
        assert image.format == image_format.upper()
        assert image.size == placeholder_size(body)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("172.16.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_only_public_addresses_are_fetched(address, public):
    assert is_public(address) is public


def test_a_data_url_gives_type_and_bytes():
    text = base64.b64encode(b"\x89PNG").decode()
    assert split_data_url(f"data:image/png;base64,{text}") == ("image/png", b"\x89PNG")
    assert split_data_url("data:,a%20b") == ("text/plain", b"a b")


@pytest.mark.parametrize("url", ["", "data:image/png", "http://e.com/x", "data:image/png;base64,!!!"])
def test_a_bad_data_url_is_unavailable(url):
    with pytest.raises(Unavailable):
        split_data_url(url)


def test_the_face_of_the_package_is_cheap_and_shares_nothing_with_the_journey():
    """Importing it loads neither HTTP nor images; a server with default settings needs no pydantic and no other part of texbatch."""
    script = (
        "import sys, batch.server; heavy = {'asyncio', 'pydantic', 'numpy', 'cv2', 'PIL', 'aiohttp'};"
        "print(sorted(heavy & set(sys.modules)));"
        "import batch.server.serving, batch.server.embed, batch.server.engines.placeholder; batch.server.LocalSettings();"
        "print(sorted({'numpy', 'cv2', 'PIL', 'httpx', 'pandas', 'pydantic', 'yaml'} & set(sys.modules)));"
        "print(sorted(m for m in sys.modules if m.startswith('batch.') and not m.startswith('batch.server')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["[]", "[]", "['batch.core', 'batch.core.parameters']"]
