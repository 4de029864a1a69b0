//! A client that pays once: `payer SERVICE ID`. Tests kill it, and start it again with the same words.

use std::io::Write as _;

use anyhow::Context as _;
use idem_client::Client;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let service = arguments.next().context("the address of the service")?;
    let id = arguments.next().context("the id of the payment")?;
    let client = Client::new(reqwest::Client::builder(), "faults.example/test")?;
    let intent = client.once("pay", &id);
    let note = intent.key().to_string();
    let request = intent.post(format!("http://{service}/payments"));
    let request = request.bearer_auth("acme");
    let payment = json!({ "from": "alice", "to": "bob", "amount": 1, "note": note });
    let answer = request.json(&payment).send().await?;
    let replayed = if answer.replayed { "replayed" } else { "new" };
    let mut out = format!("{} {replayed}\n", answer.status().as_u16()).into_bytes();
    out.extend_from_slice(answer.response.body());
    std::io::stdout().write_all(&out)?;
    Ok(())
}
