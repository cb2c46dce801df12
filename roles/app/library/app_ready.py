#!/usr/bin/python
"""Module ``app_ready``: wait until every one of several HTTP addresses answers 200."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: app_ready
author: SDLC agents appliance
short_description: Wait until services say that they are ready
description:
  - Asks all addresses at the same time, again and again, until each answers 200.
  - Fails with the last answer of those that do not, which names the dependency that they miss.
  - Changes nothing, so it runs in check mode too.
options:
  urls:
    description: Name of a service to the list of its addresses.
    type: dict
    required: true
  timeout:
    description: Seconds after which to give up.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Wait for two services
  app_ready:
    urls:
      api: ["http://10.0.0.2:9090/health", "http://10.0.0.2:9090/ready"]
      worker: ["http://10.0.0.3:9090/ready"]
"""

RETURN = r"""
seconds:
  description: How long it took.
  type: float
  returned: always
"""

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def problem(url: str) -> str | None:
    """What is wrong with the answer of *url*; None when it is 200."""
    try:
        with OPENER.open(url, timeout=5) as answer:
            return None if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(500).decode(errors='replace')}"
    except (OSError, urllib.error.URLError) as error:
        return str(error)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "urls": {"type": "dict", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    parameters: dict[str, Any] = module.params
    started = time.monotonic()
    waiting = [(name, url) for name, urls in parameters["urls"].items() for url in urls]
    with ThreadPoolExecutor(max_workers=16) as pool:
        while True:
            answers = list(zip(waiting, pool.map(lambda item: problem(item[1]), waiting), strict=True))
            waiting = [item for item, answer in answers if answer is not None]
            elapsed = round(time.monotonic() - started, 2)
            if not waiting:
                module.exit_json(changed=False, seconds=elapsed)
            if elapsed > parameters["timeout"]:
                lines = [f"{name} {url}: {answer}" for (name, url), answer in answers if answer is not None]
                module.fail_json(
                    msg=f"Not ready after {elapsed} seconds. "
                    + "; ".join(lines)
                    + ". See `docker logs` of each on this host.",
                )
            time.sleep(1)


if __name__ == "__main__":
    main()
