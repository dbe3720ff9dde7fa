"""Replacement for Mailpit if its image can't be pulled: an SMTP server on port 1025, and on port 8025 the two endpoints
of Mailpit's API that `compose_journey.py` calls.

    python deploy/compose/standin_mailbox.py [SMTP_PORT HTTP_PORT]
    python deploy/compose/standin_mailbox.py readyz

Given two ports, it binds them on loopback only. `readyz` is the health check: exit code 0 if port 8025 responds.
"""

import asyncio
import contextlib
import email
import email.policy
import json
import sys
import urllib.request

mails: list[dict[str, object]] = []


async def handle_smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    def reply(line: str) -> None:
        writer.write(f"{line}\r\n".encode())

    reply("220 mailbox")
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while not (line := await reader.readuntil(b"\n")).upper().startswith(b"QUIT"):
            if not line.upper().startswith(b"DATA"):
                reply("250 mailbox")
                continue
            reply("354 go on")
            raw = (await reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
            message = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
            body = message.get_body(("plain",))
            text = body.get_content() if body is not None else ""
            to = [{"Address": str(message["To"])}]
            mails.insert(0, {"ID": str(len(mails)), "To": to, "Subject": str(message["Subject"]), "Text": text})
            reply("250 taken")
        reply("221 bye")
    writer.close()


async def handle_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        resources = {f"/api/v1/message/{mail['ID']}": mail for mail in mails}
        resources["/api/v1/messages"] = {"messages": mails}
        body = json.dumps(resources.get(path, {})).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
    writer.close()


async def main() -> None:
    host, ports = ("127.0.0.1", sys.argv[1:]) if len(sys.argv) == 3 else (None, ["1025", "8025"])
    servers = [
        await asyncio.start_server(handler, host, int(port))
        for handler, port in zip((handle_smtp, handle_http), ports, strict=True)
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if sys.argv[1:] == ["readyz"]:
    urllib.request.urlopen("http://127.0.0.1:8025/api/v1/messages", timeout=2).close()
else:
    asyncio.run(main())
