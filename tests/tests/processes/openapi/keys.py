"""Two more checks of schemathesis: the document is valid, and each recorded answer is asked for again, as a repetition
and as another request.

These answers have to be as the document says, too. The whole run has to meet each kind of answer that needs no second
client: otherwise it would prove nothing.
"""

import requests
import schemathesis
from schemathesis.specs.openapi import checks

CONFORMANCE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
EXPECTED = {"201", "replay", "key-missing", "key-malformed", "key-reused"}


@schemathesis.hook
def after_load_schema(ctx, schema):
    schema.validate()


@schemathesis.check
class Keys:
    def __init__(self):
        self.seen = set()

    def after_response(self, ctx, response, case):
        contract = case.operation.definition.raw.get("x-idempotency")
        if contract is None:
            return
        self.note(response, contract)
        if "idempotency-expires" not in response.headers or "idempotency-replayed" in response.headers:
            return
        again = send(response.request)
        case.validate_response(again, checks=CONFORMANCE)
        assert (again.status_code, again.content) == (response.status_code, response.content)
        assert again.headers["idempotency-replayed"] == "true"
        self.seen.add("replay")
        other = response.request.copy()
        other.url += "?other"
        other = send(other)
        case.validate_response(other, checks=CONFORMANCE)
        assert other.status_code == 422
        self.note(other, contract)

    def note(self, response, contract):
        self.seen.add(str(response.status_code))
        if "application/problem+json" in response.headers.get("content-type", ""):
            base, kind = contract["problems"], response.json().get("type", "")
            if kind.startswith(base):
                self.seen.add(kind.removeprefix(base))

    def after_run(self, ctx):
        assert EXPECTED <= self.seen, f"never answered: {EXPECTED - self.seen}"


def send(request):
    with requests.Session() as session:
        return session.send(request)
