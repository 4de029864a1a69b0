from calls import run
from stripe import StripeClient


def create(url: str, name: str, key: str | None) -> str:
    client = StripeClient("sk_test_idem", base_addresses={"api": url}, max_network_retries=2)
    options = {"idempotency_key": key} if key else {}
    charge = {"amount": 500, "currency": "eur", "description": name}
    return client.v1.charges.create(charge, options).id


run(create)
