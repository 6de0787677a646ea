"""Answers over HTTP: the API and the web page."""
