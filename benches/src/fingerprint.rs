//! The cost of binding a request to its key.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use idem_core::Content;
use idem_core::adapter::{Fingerprint, RequestParts, canonical};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::business::NewPayment;
use crate::plan::Pace;
use crate::race::median;
use crate::report::Table;

const MEBIBYTE: usize = 1024 * 1024;

/// The results.
pub(crate) struct Cost {
    /// The speed of the canonical digest of many objects to that of SHA-256 over their JSON.
    pub(crate) ratio: f64,
    /// The section of the report.
    pub(crate) text: String,
}

/// Measures bodies of three kinds.
pub(crate) fn run(pace: Pace) -> Result<Cost> {
    let small = NewPayment::of(1);
    let string = "a long text, ".repeat(MEBIBYTE / 13);
    let objects: Vec<NewPayment> = (0..).map(NewPayment::of).take(MEBIBYTE / 231).collect();
    let small = Body::measure("ten fields", &small, pace)?;
    let string = Body::measure("one string", &string, pace)?;
    let objects = Body::measure("objects of ten fields", &objects, pace)?;

    let mut table = Table::new(&[
        "body",
        "bytes",
        "canonical / SHA-256",
        "both digests / SHA-256",
        "canonical",
        "both digests",
        "SHA-256",
        "allocations",
    ]);
    for body in [&small, &string, &objects] {
        table.row(body.row());
    }
    Ok(Cost {
        ratio: body_ratio(&objects),
        text: format!("{INTRODUCTION}\n{table}"),
    })
}

const INTRODUCTION: &str = "Speeds as ratios to plain SHA-256 over the same bytes of JSON, then \
     times. \"Canonical\" is the encoding of the deserialized body and its digest; \"both\" adds \
     the digest of the raw bytes: what a request pays. Allocations are those of both.\n";

fn body_ratio(body: &Body) -> f64 {
    body.plain / body.canonical
}

/// Nanoseconds for one body.
struct Body {
    name: &'static str,
    bytes: usize,
    canonical: f64,
    both: f64,
    plain: f64,
    allocations: u64,
}

impl Body {
    fn measure<T: Serialize>(name: &'static str, value: &T, pace: Pace) -> Result<Self> {
        let json = serde_json::to_vec(value)?;
        let canonical = || {
            let encoding = canonical::encode(black_box(value)).expect("it has an encoding");
            black_box(Sha256::digest(&encoding));
        };
        let both = || {
            let content = Content::of(black_box(value)).expect("it has an encoding");
            let asked = RequestParts {
                method: "POST",
                path: "/payments",
                query: None,
                raw: Some(black_box(&json)),
            };
            black_box(Fingerprint::new(asked, &content, None));
        };
        let plain = || {
            black_box(Sha256::digest(black_box(&json)));
        };
        let (mut canonicals, mut boths, mut plains) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pace.rounds {
            canonicals.push(nanoseconds(pace.slice / 2, canonical));
            boths.push(nanoseconds(pace.slice / 2, both));
            plains.push(nanoseconds(pace.slice / 2, plain));
        }
        Ok(Self {
            name,
            bytes: json.len(),
            canonical: median(&canonicals),
            both: median(&boths),
            plain: median(&plains),
            allocations: allocation_counter::measure(both).count_total,
        })
    }

    fn row(&self) -> [String; 8] {
        [
            self.name.to_owned(),
            self.bytes.to_string(),
            format!("{:.2}", body_ratio(self)),
            format!("{:.2}", self.plain / self.both),
            self.time(self.canonical),
            self.time(self.both),
            self.time(self.plain),
            self.allocations.to_string(),
        ]
    }

    fn time(&self, nanoseconds: f64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a mebibyte")]
        let speed = self.bytes as f64 / nanoseconds;
        if nanoseconds < 100_000.0 {
            format!("{nanoseconds:.0} ns")
        } else {
            format!("{speed:.2} GB/s")
        }
    }
}

/// The time of one call, measured for this long.
fn nanoseconds(length: Duration, work: impl Fn()) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < length {
        for _ in 0..8 {
            work();
        }
        count += 8;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}
