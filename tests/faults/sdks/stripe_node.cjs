// As calls.py, for Stripe's SDK for Node.

const Stripe = require("stripe");

async function create({ url, name, key }) {
  const { protocol, hostname, port } = new URL(url);
  const client = new Stripe("sk_test_idem", { protocol: protocol.slice(0, -1), host: hostname, port });
  const charge = { amount: 500, currency: "eur", description: name };
  return (await client.charges.create(charge, key ? { idempotencyKey: key } : {})).id;
}

const calls = require("node:fs").readFileSync(0, "utf8").trim().split("\n").map((line) => JSON.parse(line));
for (const call of calls) {
  const print = (outcome) => console.log(JSON.stringify({ name: call.name, ...outcome }));
  create(call).then(
    (id) => print({ id }),
    (error) => print({ error: error.constructor.name }),
  );
}
