"""Compile the daemons' filters beside their components: the last step of an installation."""

from __future__ import annotations

from pysc.cabi import filters
from pysc.gofer import confinement as gofer
from pysc.netstackd import confinement as netstackd
from pysc.sentry import confinement as sentry
from pysc.supervisor import lockdown


def main() -> None:
    """Write each ``filter.bpf``."""
    filters.export("gofer", gofer.ALLOWED, gofer.RULES)
    filters.export("netstackd", netstackd.ALLOWED, netstackd.RULES)
    filters.export("sentry", sentry.ALLOWED, sentry.RULES)
    filters.export_refusing("supervisor", lockdown.REFUSED)


if __name__ == "__main__":
    main()
