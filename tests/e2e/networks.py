"""Networks of real processes that more than one test uses."""

from typing import Final

HELLO: Final = """\
[network]
name = "hello"

[[node]]
name = "O=Alice,L=London,C=GB"
apps = ["samples.hello"]

[[node]]
name = "O=Bob,L=Paris,C=FR"
apps = ["samples.hello"]
"""

EMBEDDED: Final = """\
[network]
name = "embedded"

[[node]]
name = "O=Alice,L=London,C=GB"
apps = ["tests.e2e.flows"]

[[node]]
name = "O=Bob,L=Paris,C=FR"
apps = ["tests.e2e.flows"]
"""
