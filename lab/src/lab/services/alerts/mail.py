"""A mailbox that speaks just enough SMTP (RFC 5321) for Alertmanager to deliver to it.

Mail is taken after STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954) only, where it was given a certificate
and a password; a test may do without either.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import email
import email.policy
import hmac
import re
import ssl
from collections import deque

USER = "alertmanager"
MESSAGE_LIMIT = 1024 * 1024
_COMMAND_SECONDS = 60
_ADDRESS = re.compile(r"(?:FROM|TO):\s*<([^<>\s]+@[^<>\s]+)>", re.IGNORECASE)


class Mailbox:
    """Keeps the newest messages."""

    def __init__(self, tls: ssl.SSLContext | None = None, password: str = "", kept: int = 200) -> None:
        self.messages: deque[dict[str, object]] = deque(maxlen=kept)
        self.tls = tls
        self.password = password

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One SMTP session, as the callback of `asyncio.start_server`."""
        try:
            await _Session(self, reader, writer).serve()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def is_user(self, encoded: str) -> bool:
        """Whether an AUTH PLAIN response carries user `alertmanager` and the password."""
        try:
            given = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, f"\0{USER}\0{self.password}".encode())

    def keep(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Store one message."""
        message = email.message_from_bytes(content, policy=email.policy.default)
        body = message.get_body(("plain", "html"))
        self.messages.append(
            {
                "from": sender,
                "to": recipients,
                "subject": str(message.get("subject", "")),
                "body": body.get_content().replace("\r\n", "\n") if body else "",
            }
        )


class _Session:
    def __init__(self, box: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._box = box
        self._reader = reader
        self._writer = writer
        self._encrypted = box.tls is None
        self._authenticated = box.password == ""
        self._greeted = False
        self._sender = ""
        self._recipients: list[str] = []

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()

    async def _line(self) -> bytes:
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n"), _COMMAND_SECONDS)

    def _reset(self) -> None:
        self._sender, self._recipients = "", []

    async def serve(self) -> None:
        await self._say("220 alerts.lab ESMTP stand-in of the lab")
        while True:
            line = (await self._line()).decode("utf-8", "replace").strip()
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if verb == "QUIT":
                await self._say("221 bye")
                return
            if verb in {"EHLO", "HELO"}:
                await self._greet(verb)
            elif verb in {"NOOP", "RSET"}:
                if verb == "RSET":
                    self._reset()
                await self._say("250 ok")
            else:
                await self._guarded(verb, rest)

    async def _guarded(self, verb: str, rest: str) -> None:
        """What wants a greeting, encryption and a password first."""
        if not self._greeted:
            await self._say("503 say EHLO first")
        elif verb == "STARTTLS" and not self._encrypted:
            await self._start_tls()
        elif not self._encrypted:
            await self._say("530 Must issue a STARTTLS command first")
        elif verb == "AUTH" and not self._authenticated:
            await self._authenticate(rest)
        elif not self._authenticated:
            await self._say("530 5.7.0 Authentication required")
        else:
            await self._mail(verb, rest)

    async def _greet(self, verb: str) -> None:
        self._greeted = True
        self._reset()
        if verb == "EHLO":
            await self._say("250-alerts.lab")
            if not self._encrypted:
                await self._say("250-STARTTLS")
            elif not self._authenticated:
                await self._say("250-AUTH PLAIN")
        await self._say(f"250 SIZE {MESSAGE_LIMIT}")

    async def _start_tls(self) -> None:
        await self._say("220 go ahead")
        assert self._box.tls is not None
        await self._writer.start_tls(self._box.tls)
        self._encrypted, self._greeted = True, False

    async def _authenticate(self, rest: str) -> None:
        mechanism, _, encoded = rest.partition(" ")
        if mechanism.upper() != "PLAIN":
            await self._say("504 only PLAIN is known")
            return
        if not encoded:
            await self._say("334 ")
            encoded = (await self._line()).decode("ascii", "replace").strip()
        self._authenticated = self._box.is_user(encoded)
        await self._say("235 welcome" if self._authenticated else "535 wrong user or password")

    async def _mail(self, verb: str, rest: str) -> None:
        address = _ADDRESS.match(rest)
        if verb == "MAIL" and address:
            self._reset()
            self._sender = address[1]
            await self._say("250 ok")
        elif verb == "RCPT" and address and self._sender:
            self._recipients.append(address[1])
            await self._say("250 ok")
        elif verb == "DATA" and self._recipients:
            await self._say("354 end with a dot")
            content = await self._content()
            if len(content) > MESSAGE_LIMIT:
                await self._say("552 too large")
                return
            self._box.keep(self._sender, self._recipients, content)
            self._reset()
            await self._say("250 kept")
        elif verb in {"MAIL", "RCPT", "DATA"}:
            await self._say("503 bad sequence or address")
        else:
            await self._say("502 not known")

    async def _content(self) -> bytes:
        """The message up to the lone dot; of one that is too large, only so much that it shows."""
        content = bytearray()
        while (line := await self._line()) != b".\r\n":
            if len(content) <= MESSAGE_LIMIT:
                content += line[1:] if line.startswith(b".") else line
        return bytes(content)
