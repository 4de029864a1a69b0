//! The provider in a process of its own, so that it survives the service: `cargo run -p rides --bin provider`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use provider::Faults;
use tokio::net::TcpListener;

const HELP: &str = "\
--listen ADDRESS      where to listen; port 0 takes a free one [127.0.0.1:3001]
--lose-answers N      drop the connection of every Nth request, after charging
--forget              forget every key at once, so that a repeated request charges again
--delay-ms N          charge so many milliseconds after a request, and answer as many after that";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (listen, faults) = flags().unwrap_or_else(|error| {
        eprintln!("{error}\n\n{HELP}");
        std::process::exit(2);
    });
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, provider::router(faults)).await?;
    Ok(())
}

fn flags() -> Result<(SocketAddr, Faults), lexopt::Error> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 3001));
    let mut faults = Faults::default();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => listen = arguments.value()?.parse()?,
            Long("lose-answers") => faults.lose_answers = Some(arguments.value()?.parse()?),
            Long("forget") => faults.forget = true,
            Long("delay-ms") => {
                faults.delay = Duration::from_millis(arguments.value()?.parse()?);
            }
            Long("help") | Short('h') => {
                println!("{HELP}");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected()),
        }
    }
    Ok((listen, faults))
}
