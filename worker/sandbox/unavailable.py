"""The one way in which a sandbox fails."""


class ServiceUnavailable(Exception):  # noqa: N818 -- it names the state of the service
    """A service cannot be had; the text says why and how to get one. Exit code 2."""
