/**
 * Pays an invoice once: `node pay.ts SERVICE INVOICE AMOUNT [SECONDS]`, with Node 22.18 or later.
 *
 * Kill it at any time and run it again in the same words: the invoice is paid once, and each run prints the same
 * payment.
 */

import { keyOf, once, Refused, Unfinished } from "./once.ts";

const [service, invoice = "", amount, seconds = "60"] = process.argv.slice(2);
// In an application these come from the stored invoice, which is due until it is paid: that is the stored intent.
const payment = { from: "alice", to: "bob", amount: Number(amount) };

try {
  const answer = await once(`${service}/payments`, {
    key: await keyOf("orders.example/prod", "pay-invoice", invoice),
    body: JSON.stringify(payment),
    headers: { authorization: "Bearer acme", "content-type": "application/json" },
    within: Number(seconds) * 1000,
  });
  // Any status: a 4xx is the application's own "no".
  console.log(answer.status, answer.body);
} catch (error) {
  if (error instanceof Unfinished) {
    console.log(`unfinished: ${error.message}; the invoice stays due`);
    process.exitCode = 75;
  } else if (error instanceof Refused) {
    console.log(`refused: ${error.problem}; new key: ${error.safeNewKey ? "yes" : "no"}`);
    process.exitCode = 65;
  } else {
    throw error;
  }
}
