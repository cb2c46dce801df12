"""A mailbox that speaks just enough SMTP (RFC 5321) for Alertmanager to deliver to it, without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import re
from collections import deque

MESSAGE_LIMIT = 1024 * 1024
_COMMAND_SECONDS = 60
_ADDRESS = re.compile(r"(?:FROM|TO):\s*<([^<>\s]+@[^<>\s]+)>", re.IGNORECASE)


class Mailbox:
    """Keeps the newest messages."""

    def __init__(self, kept: int = 200) -> None:
        self.messages: deque[dict[str, object]] = deque(maxlen=kept)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One SMTP session, as the callback of `asyncio.start_server`."""
        try:
            await self._session(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        sender, recipients, greeted = "", list[str](), False
        await say("220 alerts.lab ESMTP stand-in of the lab")
        while True:
            raw = await asyncio.wait_for(reader.readuntil(b"\r\n"), _COMMAND_SECONDS)
            line = raw.decode("utf-8", "replace").strip()
            verb = line.partition(" ")[0].upper()
            address = _ADDRESS.search(line)
            if verb in {"EHLO", "HELO"}:
                greeted, sender, recipients = True, "", []
                if verb == "EHLO":
                    await say("250-alerts.lab")
                await say(f"250 SIZE {MESSAGE_LIMIT}")
            elif verb == "QUIT":
                await say("221 bye")
                return
            elif verb in {"NOOP", "RSET"}:
                sender, recipients = ("", []) if verb == "RSET" else (sender, recipients)
                await say("250 ok")
            elif not greeted:
                await say("503 say EHLO first")
            elif verb == "MAIL" and address:
                sender, recipients = address[1], []
                await say("250 ok")
            elif verb == "RCPT" and address and sender:
                recipients.append(address[1])
                await say("250 ok")
            elif verb == "DATA" and recipients:
                await say("354 end with a dot")
                content = await self._read_message(reader)
                if content is None:
                    await say("552 too large")
                    return
                self._keep(sender, recipients, content)
                sender, recipients = "", []
                await say("250 kept")
            elif verb in {"MAIL", "RCPT", "DATA"}:
                await say("503 bad sequence or address")
            else:
                await say("502 not known")

    async def _read_message(self, reader: asyncio.StreamReader) -> bytes | None:
        content = bytearray()
        while True:
            line = await asyncio.wait_for(reader.readuntil(b"\r\n"), _COMMAND_SECONDS)
            if line == b".\r\n":
                return bytes(content)
            content += line[1:] if line.startswith(b".") else line
            if len(content) > MESSAGE_LIMIT:
                return None

    def _keep(self, sender: str, recipients: list[str], content: bytes) -> None:
        message = email.message_from_bytes(content, policy=email.policy.default)
        body = message.get_body(("plain", "html"))
        self.messages.append(
            {
                "from": sender,
                "to": recipients,
                "subject": str(message.get("subject", "")),
                "body": body.get_content() if body else "",
            }
        )
