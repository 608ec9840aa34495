"""A real Chromium without a window, as a person's browser with the console open in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Self

from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.remote.webelement import WebElement

from tests.lab import packages
from tests.lab.server import Folder, LabError, wait_until

_BINARY = "/usr/bin/chromium"
_DRIVER = "/usr/bin/chromedriver"
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the lab runs as root
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--force-color-profile=srgb",
)
# What the page's policy forbids becomes an error of the console, whatever the release logs itself.
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy ${event.effectiveDirective} blocked ${event.blockedURI}`));
"""
_SHOWN = """
const [css, text] = arguments;
const texts = (element) => element.innerText ?? element.textContent;
return [...document.querySelectorAll(css)].filter(
  (element) => element.checkVisibility() && texts(element).includes(text));
"""


class Browser:
    """Chromium with a profile of its own; `language` is "en" or "ru".

    `downloads` is where files go that the page saves.
    """

    def __init__(self, language: str = "en") -> None:
        packages.ensure(*packages.BROWSER)
        self._folder = Folder("browser")
        self.downloads = self._folder.path / "downloads"
        self.downloads.mkdir()
        options = webdriver.ChromeOptions()
        options.binary_location = _BINARY
        for flag in (*_FLAGS, f"--accept-lang={language}", f"--user-data-dir={self._profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        environment = os.environ | {"LANGUAGE": language, "HOME": str(self._folder.path)}
        self.driver = webdriver.Chrome(options, Driver(_DRIVER, env=environment))
        self.before_each_page(_REPORT_VIOLATIONS)
        self._command(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads)
        )
        self.resize(1280, 800)

    @property
    def _profile(self) -> Path:
        return self._folder.path / "profile"

    def close(self) -> None:
        """End the browser and remove its profile."""
        self.driver.quit()
        self._folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def before_each_page(self, script: str) -> None:
        """Run a script in every page from now on, before the page's own."""
        self._command("Page.addScriptToEvaluateOnNewDocument", source=script)

    def resize(self, width: int, height: int) -> None:
        """Give the page a screen of this size; one under 500 pixels is a telephone's."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def prefer(self, scheme: str) -> None:
        """Make the browser prefer the colours `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Load a page anew, also when only its fragment differs from the one that is shown."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def forget(self) -> None:
        """Clear what the page keeps in this browser, and what was logged so far."""
        self.driver.execute_script("sessionStorage.clear(); localStorage.clear()")
        self.driver.get("about:blank")
        self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # Chrome's own method

    def all(self, css: str, text: str = "") -> list[WebElement]:
        """Return every element that is shown and holds `text`."""
        found: list[WebElement] = self.run(_SHOWN, css, text)
        return found

    def count(self, css: str) -> int:
        """Return how many elements there are, quickly even when they are hundreds."""
        return int(self.run("return document.querySelectorAll(arguments[0]).length", css))

    def wait_count(self, css: str, count: int) -> None:
        """Return when there are so many elements."""
        self.wait_for(lambda: self.count(css) == count, f"{count} of {css}")

    def wait(self, css: str, text: str = "", timeout: float = 15.0) -> WebElement:
        """Return the first element that is shown and holds `text`, once there is one."""
        found: list[WebElement] = []

        def there() -> bool:
            found[:] = self.all(css, text)
            return bool(found)

        self.wait_for(there, f"{css} {text!r}", timeout)
        return found[0]

    def wait_gone(self, css: str, text: str = "", timeout: float = 15.0) -> None:
        """Return when no shown element matches any more."""
        self.wait_for(lambda: not self.all(css, text), f"no {css} {text!r}", timeout)

    def wait_for(self, done: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
        """Return when `done()` holds."""
        try:
            wait_until(done, timeout, what)
        except LabError as error:
            raise LabError(f"{error}; the page shows: {self.text()[:800]}") from None

    def click(self, css: str, text: str = "") -> None:
        """Press an element as soon as it is there."""
        self.wait(css, text).click()

    def type(self, css: str, text: str) -> None:
        """Write into a field in place of what stands there."""
        element = self.wait(css)
        element.clear()
        element.send_keys(text)

    def text(self) -> str:
        """Return all text that the page shows."""
        return str(self.run("return document.body?.innerText ?? ''"))

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def errors(self) -> list[str]:
        """Return what the console has logged as an error since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def accessibility_faults(self) -> list[str]:
        """Return what axe-core finds serious or critical in the page as it stands."""
        source = resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
        self.run(source)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((result) => done(result.violations))"
        )
        return [
            f"{fault['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]

    def _command(self, name: str, **parameters: object) -> None:
        """A command of the Chrome DevTools Protocol."""
        self.driver.execute_cdp_cmd(name, parameters)
