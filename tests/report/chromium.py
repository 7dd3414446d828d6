"""A headless Chromium that tests talk to through a pair of pipes, in the words of the DevTools protocol: no port, no library."""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NEEDS = "the report's pictures need Chromium (Debian's package `chromium`)"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ANSWER_LIMIT_S = 60
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip


def found_chromium() -> str | None:
    """The path of a Chromium on this machine, if there is one."""
    return next((path for path in map(shutil.which, _NAMES) if path), None)


class Chromium:
    """A running browser with one page.

    problems: what the page's console and its exceptions told; requests: every address that the page asked for.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._asked = 0
        self._read_buffer = b""
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def as_three_and_four() -> None:
            # Above 4 first, so that neither is overwritten before it was copied.
            high = [os.dup2(end, 100 + number) for number, end in enumerate((to_browser, from_browser))]
            for number, end in enumerate(high):
                os.dup2(end, 3 + number)

        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=as_three_and_four,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._session: str | None = None
        target = next(one for one in self._pages() if one["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and what it started."""
        os.close(self._write)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        """Show a file in a window of this size, and wait until its charts are drawn."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=phone)
        # From nowhere, so that what is waited for is not yet true of the page before.
        for address in ("about:blank", page.resolve().as_uri()):
            self.ask("Page.navigate", url=address)
        self.wait_for("document.documentElement?.dataset.drawn !== undefined")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true."""
        limit = time.monotonic() + _ANSWER_LIMIT_S
        while not self.run(condition):
            assert time.monotonic() < limit, f"{condition}: not within {_ANSWER_LIMIT_S} s; the page told {self.problems}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and release a key, such as Tab or Enter, as a person at the keyboard would."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        text = {"Enter": "\r", " ": " "}.get(key)
        pressed = {"key": key, "windowsVirtualKeyCode": codes[key], **({"text": text} if text else {})}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **pressed)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=codes[key])

    def ask(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._asked:
                if "error" in told:
                    raise AssertionError(f"{method}: {told['error']}")
                return told["result"]
            self._note(told)

    def _pages(self) -> list[dict[str, Any]]:
        while not (found := self.ask("Target.getTargets")["targetInfos"]):
            time.sleep(0.05)
        return list(found)

    def _note(self, told: dict[str, Any]) -> None:
        method, parameters = told.get("method"), told.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(f"console.{parameters['type']}: {json.dumps(parameters['args'])}")
        elif method == "Log.entryAdded":
            self.problems.append(f"log.{parameters['entry']['level']}: {parameters['entry']['text']}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read_buffer:
            ready, _, _ = select.select([self._read], [], [], _ANSWER_LIMIT_S)
            assert ready, f"Chromium said nothing for {_ANSWER_LIMIT_S} s"
            part = os.read(self._read, 1 << 20)
            assert part, f"Chromium ended with {self._process.poll()}"
            self._read_buffer += part
        message, self._read_buffer = self._read_buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found
