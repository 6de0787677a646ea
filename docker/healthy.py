"""Whether the service in this container takes questions: exit code 0 if it does, 1 if not."""

import http.client
import sys

TIMEOUT = 4  # seconds; the image's HEALTHCHECK gives 5

connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=TIMEOUT)
try:
    connection.request("GET", "/readyz")
    sys.exit(connection.getresponse().status != http.client.OK)
except (OSError, http.client.HTTPException):
    sys.exit(1)
