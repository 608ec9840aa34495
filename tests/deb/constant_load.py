"""Requests that go on through the web server while something happens to the service."""

import json
from pathlib import Path
from typing import Any

from tests.deb.pbx import PbxHost


class Load:
    """Requests that go on through the web server while something happens to the service."""

    def __init__(self, host: PbxHost) -> None:
        self._host = host
        host.copy_in(Path(__file__).with_name("load.py"), "/root/load.py")
        host.run("rm -f /root/stop")
        url = "http://127.0.0.1/pbx/api/index/check"
        self._process = host.start("python3", "-I", "/root/load.py", url, host.key, "/root/stop")

    def end(self) -> dict[str, Any]:
        """Stop asking; {"asked": N, "failed": […]}."""
        self._host.run("touch /root/stop")
        printed, _ = self._process.communicate(timeout=90)
        result: dict[str, Any] = json.loads(printed)
        print("requests under way meanwhile:", result)
        return result
