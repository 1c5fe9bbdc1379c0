"""A mail server for tests. It says what it got as lines of JSON, as a mail program would show it.

Options are one argument of JSON:
  tls            none, starttls or implicit; with cert and key, PEM files
  auth           mechanisms: PLAIN, LOGIN, XOAUTH2; absent: no login is offered, and none is needed
  user, password, token   what a login must have

Each line on standard input replaces the rules, an object:
  rcpt           {address: answer}
  mail, content  the answer to every MAIL, to every mail
  drop           {"RCPT" | "MAIL" | "CONTENT": number}: so many of these end the connection without an answer
  hang           RCPT, MAIL or CONTENT: no answer, ever
  delay          seconds before a mail is taken
  token          another one is valid now
It is acknowledged by {"rules": true}. It ends when standard input ends.
"""

import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys

try:
    from aiosmtpd.smtp import SMTP, AuthResult
except ImportError:
    sys.exit("aiosmtpd is missing: `tests/run.sh` installs it, and PATH must begin with target/venv/bin")

options = json.loads(sys.argv[1])
rules = {}


def say(**what):
    print(json.dumps(what), flush=True)


def shown(part):
    return part.get_content() if part else None


def read(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    parts = list(message.walk())
    return {
        "headers": [[name, str(value)] for name, value in message.items()],
        "subject": str(message["subject"]),
        "type": message.get_content_type(),
        "text": shown(message.get_body(("plain",))),
        "html": shown(message.get_body(("html",))),
        "defects": [repr(defect) for part in parts for defect in part.defects]
        + [f"{name}: {defect!r}" for name, value in message.items() for defect in value.defects],
        "longestLine": max(len(line) for line in content.split(b"\r\n")),
        "size": len(content),
    }


class Handler:
    async def at(self, step, server, usual, answer=None):
        if rules.get("hang") == step:
            await asyncio.sleep(3600)
        drops = rules.get("drop", {})
        if drops.get(step, 0) > 0:
            drops[step] -= 1
            server.transport.abort()
            await asyncio.sleep(3600)
        return answer or usual

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        answer = await self.at("MAIL", server, "250 fine", rules.get("mail"))
        if answer.startswith("2"):
            envelope.mail_from = address
        return answer

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        answer = await self.at("RCPT", server, "250 fine", rules.get("rcpt", {}).get(address))
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):
        answer = await self.at("CONTENT", server, "250 taken", rules.get("content"))
        await asyncio.sleep(rules.get("delay", 0))
        if answer.startswith("2"):
            encrypted = session.ssl is not None or options["tls"] == "implicit"
            say(mail={"from": envelope.mail_from, "to": envelope.rcpt_tos, "encrypted": encrypted, **read(envelope.content)})
        return answer

    async def handle_QUIT(self, server, session, envelope):
        say(quit=True)
        return "221 bye"

    def authenticate(self, server, session, envelope, mechanism, data):
        say(login=mechanism)
        good = (data.login.decode(), data.password.decode()) == (options.get("user"), options.get("password"))
        return AuthResult(success=good, handled=False)

    async def auth_XOAUTH2(self, server, args):
        import base64

        text = base64.b64decode(args[1]).decode()
        token = rules.get("token", options.get("token"))
        good = text == f"user={options.get('user')}\x01auth=Bearer {token}\x01\x01"
        say(login="XOAUTH2", good=good)
        if not good:
            await server.challenge_auth('{"status":"400"}')
            return AuthResult(success=False, handled=False, message="535 5.7.3 Authentication unsuccessful")
        return AuthResult(success=True)


class Server(SMTP):
    def connection_made(self, transport):
        if self.transport is None:
            say(connected=True)
        super().connection_made(transport)

    async def push(self, status):
        # As servers do whose words are not English.
        await super().push(status.encode("latin-1") if isinstance(status, str) else status)


async def main():
    logging.disable(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    context = None
    if options["tls"] != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options["cert"], options["key"])
    mechanisms = options.get("auth", [])
    starttls = options["tls"] == "starttls"

    def protocol():
        handler = Handler()
        return Server(
            handler,
            loop=loop,
            tls_context=context if starttls else None,
            auth_required=bool(mechanisms),
            auth_require_tls=starttls or not mechanisms,
            auth_exclude_mechanism={"PLAIN", "LOGIN", "XOAUTH2"} - set(mechanisms),
            authenticator=handler.authenticate,
        )

    wrapped = context if options["tls"] == "implicit" else None
    server = await loop.create_server(protocol, "127.0.0.1", options.get("port", 0), ssl=wrapped)
    say(port=server.sockets[0].getsockname()[1])
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        rules.clear()
        rules.update(json.loads(line))
        say(rules=True)


asyncio.run(main())
