"""The pages that a permitted person sees; mounted into a web application by an adapter."""

from whodid.viewer.http import Host, Request, Response
from whodid.viewer.pages import Viewer

__all__ = ["Host", "Request", "Response", "Viewer"]
