from calls import run
from modern_treasury import ModernTreasury


def create(url: str, name: str, key: str | None) -> str:
    client = ModernTreasury(organization_id="idem", api_key="test", base_url=url)
    options = {"idempotency_key": key} if key else {}
    return client.counterparties.create(name=name, **options).id


run(create)
