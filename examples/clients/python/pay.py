"""Pays an invoice once: `python3 pay.py SERVICE INVOICE AMOUNT [SECONDS]`.

Kill it at any time and run it again in the same words: the invoice is paid once, and each run prints the same payment.
"""

import json
import sys

from once import Refused, Unfinished, key_of, once


def main() -> int:
    service, invoice, amount, *seconds = sys.argv[1:]
    # In an application these come from the stored invoice, which is due until it is paid: that is the stored intent.
    payment = {"from": "alice", "to": "bob", "amount": int(amount)}
    headers = {"authorization": "Bearer acme", "content-type": "application/json"}
    try:
        answer = once(
            f"{service}/payments",
            key_of("orders.example/prod", "pay-invoice", invoice),
            json.dumps(payment).encode(),
            headers,
            within=float(seconds[0]) if seconds else 60,
        )
    except Unfinished as unknown:
        print(f"unfinished: {unknown}; the invoice stays due")
        return 75
    except Refused as refused:
        print(f"refused: {refused.name}; new key: {'yes' if refused.safe_new_key else 'no'}")
        return 65
    # Any status: a 4xx is the application's own "no".
    print(answer.status, answer.body.decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
