"""Headless Chromium for tests of pages that Python serves, over its DevTools protocol."""

import base64
import contextlib
import io
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless=new", "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}
SLOWEST = 120  # a loaded machine draws slowly [s]


class Browser:
    """One page in a browser."""

    def __init__(self, socket):
        self._socket, self._ids = socket, itertools.count(1)
        self.errors = []

    def _call(self, method, **params):
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=SLOWEST))
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"]["text"])
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script):
        """The value of a script."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script):
        """Wait until a script's value is true, and give that."""
        return until(lambda: self.run(script), script)

    def press(self, key, times=1):
        """Press a key in what has the focus."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def click(self, selector_script):
        """Click on the middle of the element that a script gives."""
        self.until(f"Boolean({selector_script})")
        x, y, width, height = self.run(
            f"(b => [b.x, b.y, b.width, b.height])(({selector_script}).getBoundingClientRect())"
        )
        at = {"x": x + width / 2, "y": y + height / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, **at)

    def picture(self):
        """What is seen, (height, width, 3) uint8."""
        png = base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def until(condition, what):
    """Wait for something, and give it."""
    end = time.monotonic() + SLOWEST
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"still not: {what}")


@contextlib.contextmanager
def opened(url, folder, width=1280, height=720):
    """A browser at a page."""
    from websockets.sync.client import connect  # viser's own

    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        told = Path(folder) / "DevToolsActivePort"
        port = until(lambda: told.exists() and told.read_text().split(), "the browser's port")[0]
        pages = f"http://127.0.0.1:{port}/json"

        def address():
            with urllib.request.urlopen(pages) as answer:
                found = [page for page in json.load(answer) if page["type"] == "page" and page["url"].startswith(url)]
            return found and found[0]["webSocketDebuggerUrl"]

        with connect(until(address, url), max_size=None, proxy=None) as socket:
            browser = Browser(socket)
            browser._call("Runtime.enable")
            yield browser
    finally:
        process.terminate()
        process.wait(20)
