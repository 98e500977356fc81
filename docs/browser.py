"""Pages in a real browser: what they log, what their figures are, and how they look.

    python docs/browser.py docs/_build/html runs/pages          # a PNG of every page, narrow and wide

In: HTML files. Out: a `Visit` of each. The browser is a headless Chromium (Debian's package `chromium`), driven over a
pipe by the DevTools protocol; it has a profile of its own, which goes with it, and asks for nothing from the network.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

NARROW, WIDE = 400, 1400  # px
TALLEST_PX = 16000  # of a screenshot; what lies below is cut off
SECONDS = 60
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
IMAGES = """(async () => {
  const images = [...document.images].filter(image => image.getClientRects().length || image.loading == "lazy");
  for (const image of images) { image.loading = "eager"; await image.decode().catch(() => null); }
  if (window.MathJax && MathJax.startup && MathJax.startup.promise) await MathJax.startup.promise;
  const root = document.documentElement;
  return JSON.stringify({
    images: images.map(image => [image.currentSrc.slice(0, 200), image.naturalWidth]),
    width: root.scrollWidth, height: root.scrollHeight,
    equations: document.querySelectorAll("mjx-container").length,
    formulas: document.querySelectorAll(".math").length,
    cut: [...document.querySelectorAll("div.math > mjx-container")]
      .filter(formula => formula.scrollWidth > formula.clientWidth).map(formula => formula.parentElement.id),
    failed: document.querySelectorAll("mjx-merror, [data-mjx-error]").length,
  });
})()"""


@dataclass(frozen=True)
class Visit:
    """What a page is at one width: `errors` that it logged, natural widths in px of its `images` by source, the
    `width_px` and `height_px` that its content takes, how many of its `formulas` were set as `equations` or `failed`,
    and the `cut` ones by name: displayed equations that are wider than their place, and scroll.
    """

    errors: tuple[str, ...]
    images: tuple[tuple[str, int], ...]
    width_px: int
    height_px: int
    equations: int
    formulas: int
    failed: int
    cut: tuple[str, ...]


def chromium() -> str | None:
    """The browser's program, or None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser(contextlib.AbstractContextManager):
    """One browser with one tab. Raises RuntimeError where it does not answer in time."""

    def __init__(self, program: str):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()

        def take_pipes():  # the protocol's ends are 3 and 4
            os.dup2(reads, 13)
            os.dup2(writes, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._profile.name}"],
            close_fds=False,
            preexec_fn=take_pipes,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reads)
        os.close(writes)
        self._number, self._buffer, self._events, self._session = 0, b"", [], None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def __exit__(self, *_):
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def visit(self, page: Path, width_px: int, picture: Path | None = None) -> Visit:
        """Open a page at a width, wait until its figures and formulas are there, and photograph it into `picture`."""
        size = dict(width=width_px, height=900, deviceScaleFactor=1, mobile=False)
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._events.clear()
        self._call("Page.navigate", url=page.resolve().as_uri())
        self._wait_for("Page.loadEventFired")
        found = self._call("Runtime.evaluate", expression=IMAGES, awaitPromise=True, returnByValue=True)
        seen = json.loads(found["result"]["value"])
        if picture is not None:
            clip = dict(x=0, y=0, width=width_px, height=min(seen["height"], TALLEST_PX), scale=1)
            shot = self._call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
            picture.write_bytes(base64.b64decode(shot["data"]))
        images = tuple((source, width) for source, width in seen["images"])
        counts = (seen[name] for name in ("width", "height", "equations", "formulas", "failed"))
        return Visit(tuple(self._errors()), images, *counts, tuple(seen["cut"]))

    def _errors(self):
        for event in self._events:
            method, details = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                yield details["exceptionDetails"].get("text", "exception")
            elif method == "Runtime.consoleAPICalled" and details["type"] == "error":
                yield " ".join(str(argument.get("value", "")) for argument in details["args"])
            elif method == "Log.entryAdded" and details["entry"]["level"] == "error":
                yield f"{details['entry']['text']} {details['entry'].get('url', '')}"

    def _call(self, method: str, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer:
                self._events.append(answer)

    def _wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self._events):
            answer = self._receive(method)
            if "method" in answer:
                self._events.append(answer)

    def _receive(self, waiting_for: str) -> dict:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RuntimeError(f"the browser did not answer within {SECONDS} s, waiting for {waiting_for}")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise RuntimeError(f"the browser ended, waiting for {waiting_for}")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)


def main(site: Path, output: Path) -> int:
    program = chromium()
    if program is None:
        print("error: no chromium found; install it (apt-get install chromium)")
        return 2
    output.mkdir(parents=True, exist_ok=True)
    with Browser(program) as browser:
        for page in sorted(site.rglob("*.html")):
            name = "_".join(page.relative_to(site).with_suffix("").parts)
            for width_px in (NARROW, WIDE):
                visit = browser.visit(page, width_px, output / f"{name}_{width_px}.png")
                wide = f", content is {visit.width_px} px wide" if visit.width_px > width_px else ""
                empty = [source for source, width in visit.images if width == 0]
                print(f"{name} at {width_px}: {len(visit.images)} figures, {visit.equations} formulas{wide}")
                for problem in (*visit.errors, *(f"figure is not there: {source}" for source in empty)):
                    print(f"  {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
