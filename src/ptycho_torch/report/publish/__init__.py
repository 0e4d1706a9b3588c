"""Publish: the whole study on one page that opens in any browser, without a server."""

from ptycho_torch.report.publish.page import publish_page

__all__ = ["publish_page"]
