"""Publish: the whole study on one page that opens in any browser, without a server."""
