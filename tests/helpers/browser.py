"""Pages in headless Chromium, where that is installed, and a checker of accessibility."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
browser = pytest.mark.skipif(not CHROMIUM, reason="needs chromium (apt-get install chromium)")
PHONE, DESK = (390, 844), (1280, 800)
AXE = importlib.util.find_spec("axe_core_python")


def chromium(text, folder, script="", size=PHONE, picture=None):
    """The DOM that a page has after its own scripts and `script` ran in the browser."""
    path = folder / "tested.html"
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    words += [f"--screenshot={picture}"] if picture else ["--dump-dom"]
    done = subprocess.run([*words, path.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def phone(text, folder, script, size=PHONE):
    """What `script` says of the page in a frame of the size of a phone: a window is wider."""
    (folder / "inner.html").write_text(
        text.replace("</body>", f"<script>{script}</script></body>")
    )
    frame = f"""<html><body><iframe src="inner.html" width="{size[0]}" height="{size[1]}"></iframe>
    <script>addEventListener("message", (event) => {{ document.body.dataset.said = event.data; }});
    </script></body></html>"""
    return said(chromium(frame, folder, size=(1280, 1000)))


def said(dom):
    return re.search(r'data-said="([^"]*)"', dom)[1]
