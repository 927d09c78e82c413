"""An MCP server as MCP Studio is one: the official SDK, streamable HTTP through uvicorn, /api/health beside it.

    python studio.py HOST PORT [--needs MODULE]

SIGUSR1 makes it print 10 MiB to stdout, in numbered lines.
"""

import importlib
import signal
import sys
import threading

import uvicorn
from mcp.server import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse

if "--needs" in sys.argv:
    importlib.import_module(sys.argv[sys.argv.index("--needs") + 1])

server = MCPServer("studio")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.custom_route("/api/health", methods=["GET"])
async def health(_: Request) -> JSONResponse:
    return JSONResponse({"status": "healthy"})


def flood(*_) -> None:
    def work() -> None:
        for number in range(10 * 1024 * 1024 // 64):
            sys.stdout.write(f"flood {number:08d} ".ljust(63, "x") + "\n")
        sys.stdout.write("flood over\n")
        sys.stdout.flush()

    threading.Thread(target=work).start()


signal.signal(signal.SIGUSR1, flood)
host, port = sys.argv[1], int(sys.argv[2])
uvicorn.run(server.streamable_http_app(host=host), host=host, port=port)
