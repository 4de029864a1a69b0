from calls import run
from svix.api import ApplicationCreateOptions, ApplicationIn, Svix, SvixOptions


def create(url: str, name: str, key: str | None) -> str:
    client = Svix("testsk_idem.eu", SvixOptions(server_url=url))
    options = ApplicationCreateOptions(idempotency_key=key)
    return client.application.create(ApplicationIn(name=name), options).id


run(create)
