"""A headless Chromium, driven by the WebDriver protocol over HTTP."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
)
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": " ", "Right": "\ue014", "End": "\ue010"}


class Browser:
    """A window."""

    def __init__(self, address: str, profile: Path) -> None:
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self._send("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"{address}/session/{made['sessionId']}"

    def show(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a page in a window of this size."""
        mobile = width < 500
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setDeviceMetricsOverride", size)
        self.cdp("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._send("POST", f"{self._session}/url", {"url": file.as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What a function body returns."""
        return self._send("POST", f"{self._session}/execute/sync", {"script": script, "args": arguments})

    def press(self, *keys: str) -> None:
        """Type keys by name, or texts."""
        strokes = [sign for key in keys for sign in KEYS.get(key, key)]
        actions = [{"type": kind, "value": sign} for sign in strokes for kind in ("keyDown", "keyUp")]
        self._send("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def cdp(self, command: str, parameters: dict[str, object] | None = None) -> Any:
        """A command of the protocol of its developer tools."""
        body = {"cmd": command, "params": parameters or {}}
        return self._send("POST", f"{self._session}/goog/cdp/execute", body)

    def messages(self) -> list[str]:
        """What its console has said since the last call."""
        return [entry["message"] for entry in self._send("POST", f"{self._session}/se/log", {"type": "browser"})]

    def close(self) -> None:
        self._send("DELETE", self._session)

    def _send(self, method: str, url: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with self._open(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser for the length of the block, with an empty profile."""
    assert DRIVER
    process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        found = (re.search(r"started successfully on port (\d+)", line) for line in process.stdout)
        port = next(each[1] for each in found if each)
        window = Browser(f"http://127.0.0.1:{port}", profile)
        yield window
        window.close()
    finally:
        process.terminate()
        process.wait(20)
