"""The Ansible role of docs/operations.md, its tasks run in a container as Ansible runs them.

Of Ansible it has what the role uses: three modules, `when`, `register`, `changed_when` and
`failed_when`.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from jinja2 import Environment

from tests.deb.container import ROOT, CommandFailed, Container

Result = dict[str, Any]


class Role:
    """The role with its variables."""

    def __init__(self, host: Container, variables: Mapping[str, str]) -> None:
        page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        found = re.search(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        assert found
        self._tasks = yaml.safe_load(found[1])
        self._host = host
        self._variables: dict[str, Any] = dict(variables)
        self._jinja = Environment()
        self._jinja.tests["changed"] = lambda result: result["changed"]

    def run(self) -> list[str]:
        """Run the tasks; returns the names of those that changed something."""
        changed = []
        for task in self._tasks:
            if "when" in task and not self._holds(task["when"]):
                continue
            module = next(name for name in task if name.startswith("ansible.builtin."))
            result = getattr(self, f"_{module.rpartition('.')[2]}")(self._filled(task[module]))
            if "register" in task:
                self._variables[task["register"]] = result
            if "changed_when" in task:
                result["changed"] = self._holds(task["changed_when"])
            failed = self._holds(task["failed_when"]) if "failed_when" in task else result["rc"]
            assert not failed, f"{task['name']}: {result}"
            changed += [task["name"]] if result["changed"] else []
        return changed

    def _holds(self, expression: Any) -> bool:
        return bool(self._jinja.compile_expression(str(expression).lower())(**self._variables))

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        return self._jinja.from_string(str(value)).render(**self._variables)

    def _apt(self, values: Mapping[str, str]) -> Result:
        version = "dpkg-query -W -f '${Version}' evolvex-api 2> /dev/null || true"
        before = self._host.run(version)
        self._host.run(f"apt-get -qq install --yes --no-install-recommends {values['deb']}")
        return {"rc": 0, "changed": self._host.run(version) != before}

    def _copy(self, values: Mapping[str, str]) -> Result:
        path, content = values["dest"], values["content"]
        same = self._host.succeeds(f"test -e {path}") and self._host.read(path) == content.strip()
        if not same:
            self._host.write(path, content, values["mode"])
            owner = f"{values.get('owner', 'root')}:{values.get('group', 'root')}"
            self._host.run(f"chown {owner} {path}")
        return {"rc": 0, "changed": not same}

    def _command(self, values: Mapping[str, Any]) -> Result:
        try:
            printed = self._host.run(f"{shlex.join(values['argv'])} 2>&1; echo $?")
        except CommandFailed as error:
            return {"rc": 1, "stdout": str(error), "changed": True}
        stdout, _, code = printed.rpartition("\n")
        return {"rc": int(code or stdout), "stdout": stdout, "changed": True}
