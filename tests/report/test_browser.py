"""The page in a real browser: Chromium, where it is installed."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sparsecore.models import recipes
from sparsecore.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt-get install chromium)")

# A frame as wide as a phone, whose page reports how wide it would like to be and which elements stick out.
PHONE = """<!doctype html><body><pre id="found"></pre>
<iframe id="phone" style="width:400px;height:800px;border:0" srcdoc="{page}"></iframe>
<script>phone.onload=()=>{{const inside=phone.contentDocument;
const empty=[...inside.querySelectorAll("figure.chart > svg")].filter(picture=>!picture.querySelector("path,circle"));
const broken=[...inside.images].filter(image=>!image.naturalWidth);
found.textContent=[inside.documentElement.scrollWidth,inside.images.length,broken.length,empty.length].join(" ")}}
</script>"""


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--virtual-time-budget=5000", f"--user-data-dir={profile}", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(profile)})


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    config = recipes.ImageRun(
        data="mnist_5k", hidden=(200, 200), density=0.05, topology="er", epochs=2, batch_size=1000, threads=1
    )
    recipes.run(config, recipes.load_data(config), folder=recipes.create_folder(root / "run", config))
    return write_report([root / "run"])


def test_a_browser_has_nothing_to_complain_about(page: Path, tmp_path: Path) -> None:
    done = browse(page, tmp_path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1280,2000")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_a_phone_shows_every_picture_without_scrolling_sideways(page: Path, tmp_path: Path) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(PHONE.format(page=html.escape(page.read_text(), quote=True)))
    done = browse(frame, tmp_path / "profile", "--dump-dom", "--window-size=1280,2000")
    found = re.search(r'<pre id="found">(\d+) (\d+) (\d+) (\d+)</pre>', done.stdout)
    assert found, done.stderr
    width, images, broken, empty = map(int, found.groups())
    assert width <= 400
    assert images == 2 * 2  # two layers, before and after: one checkpoint was kept, the last
    assert (broken, empty) == (0, 0)
