"""``python -m flows.observe.probe PORT``: exit 0 where the process on this machine's PORT is well, 1 with a line where not."""

import sys
from http.client import HTTPConnection, HTTPException

_SECONDS = 4


def probe(port: int, host: str = "127.0.0.1") -> str | None:
    """Ask ``/healthz`` directly, whatever proxy the environment names; None where the process is well, else why not."""
    connection = HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        return f"{host}:{port}: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"{host}:{port}: {answer.status} {body}"


if __name__ == "__main__":
    sys.exit(probe(int(sys.argv[1])))
