//! What a key holds: a run with its steps, or a record.

use std::collections::HashMap;

use redis::{RedisResult, Value};

use idem_core::store::{Found, Identity, Row, Run, StepRow, Timestamp, Unreadable};

/// The answer of a script.
pub(crate) struct Reply {
    pub(crate) code: String,
    pub(crate) hash: Hash,
}

/// The fields of a key, and the server's time when it read them.
pub(crate) struct Hash {
    pub(crate) now: i64,
    fields: HashMap<Vec<u8>, Vec<u8>>,
}

impl Reply {
    pub(crate) fn read(value: Value) -> RedisResult<Self> {
        let (code, now, flat): (String, i64, Vec<Vec<u8>>) = redis::from_redis_value(value)?;
        let mut fields = HashMap::new();
        let mut flat = flat.into_iter();
        while let (Some(field), Some(value)) = (flat.next(), flat.next()) {
            fields.insert(field, value);
        }
        Ok(Self {
            code,
            hash: Hash { now, fields },
        })
    }
}

impl Hash {
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn is_run(&self) -> bool {
        self.fields
            .get(&b"state"[..])
            .is_some_and(|state| state == b"run")
    }

    pub(crate) fn text(&self, field: &'static str) -> Result<&str, Unreadable> {
        let value = self.fields.get(field.as_bytes());
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        text.ok_or(Unreadable::new(field))
    }

    pub(crate) fn number<N: std::str::FromStr>(
        &self,
        field: &'static str,
    ) -> Result<N, Unreadable> {
        let number = self.text(field)?.parse();
        number.map_err(|_not_a_number| Unreadable::new(field))
    }

    fn bytes(&self, field: &'static str) -> Result<Vec<u8>, Unreadable> {
        let value = self.fields.get(field.as_bytes()).cloned();
        value.ok_or(Unreadable::new(field))
    }

    /// The record, or the run in the form of one.
    pub(crate) fn found(&self, identity: &Identity) -> Result<Found, Unreadable> {
        if self.is_run() {
            return self.run(identity.as_bytes())?.found(identity);
        }
        let row = Row {
            state: self.number("state")?,
            attempts: self.number("attempts")?,
            status: self.number("status")?,
            fingerprint: self.bytes("fingerprint")?,
            response: self.fields.get(&b"response"[..]).cloned(),
            settled_at: self.number("at")?,
            expires_at: self.number("expires_at")?,
        };
        Ok(Found {
            record: row.decode(identity)?,
            now: Timestamp(self.now),
        })
    }

    pub(crate) fn run(&self, identity: &[u8]) -> Result<Run, Unreadable> {
        Ok(Run {
            identity: identity.to_vec(),
            operation: self.text("operation")?.to_owned(),
            fingerprint: self.bytes("fingerprint")?,
            epoch: self.number("epoch")?,
            holder: self.bytes("holder")?,
            attempts: self.number("attempts")?,
            claimed_at: self.number("at")?,
            leased_until: self.number("leased_until")?,
            expires_at: self.number("expires_at")?,
            now: self.now,
        })
    }

    /// The steps of a run, in the order of their times.
    pub(crate) fn steps(&self) -> Result<Vec<StepRow>, Unreadable> {
        let steps = self.fields.iter().filter_map(|(field, value)| {
            let name = field.strip_prefix(b"s:")?;
            Some(self.step(name, value).ok_or(Unreadable::new("step")))
        });
        let mut steps: Vec<StepRow> = steps.collect::<Result<_, _>>()?;
        steps.sort_by_key(|step| step.recorded_at);
        Ok(steps)
    }

    fn step(&self, name: &[u8], value: &[u8]) -> Option<StepRow> {
        let mut parts = value.splitn(3, |byte| *byte == b' ');
        let (kind, _epoch, result) = (parts.next()?, parts.next()?, parts.next()?);
        let result = match result.split_first()? {
            (b'0', []) => None,
            (b'1', result) => Some(result.to_vec()),
            _ => return None,
        };
        let time = self.fields.get(&[b"t:", name].concat())?;
        Some(StepRow {
            name: String::from_utf8(name.to_vec()).ok()?,
            kind: std::str::from_utf8(kind).ok()?.parse().ok()?,
            result,
            recorded_at: std::str::from_utf8(time).ok()?.parse().ok()?,
        })
    }
}

/// The stored form of a step's result.
pub(crate) fn result(result: Option<&[u8]>) -> Vec<u8> {
    match result {
        None => b"0".to_vec(),
        Some(result) => [b"1", result].concat(),
    }
}
