//! The invariants, decided only from the answers to clients and the rows of the database.

use std::collections::HashMap;
use std::fmt::{self, Display};

use idem_core::State;
use idem_core::store::Identity;
use idem_tests::{Answer, Database, Domain as _};

/// The result of one request for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// The answer.
    Answer(Answer),
    /// No answer, or not a complete one.
    Nothing,
}

/// A short form.
impl Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Answer(answer) = self else {
            return f.write_str("nothing");
        };
        let replay = if answer.is_replay() { "replay of " } else { "" };
        write!(f, "{replay}{} {}", answer.status, answer.text())
    }
}

impl Answered {
    /// Whether it is a handler's answer that is recorded.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::Answer(answer) if is_lasting(answer))
    }
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Option<Answer>> for Answered {
    fn from(answer: Option<Answer>) -> Self {
        answer.map_or(Self::Nothing, Self::Answer)
    }
}

/// All facts that can be seen about one identity, once everything is quiet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The results of its requests, in the order of their ends.
    pub answered: Vec<Answered>,
    /// The number of its committed effects.
    pub effects: u64,
    /// The record's state, if there is a record.
    pub record: Option<State>,
    /// The label that its answers must contain; other labels are another identity's.
    pub label: String,
    /// Whether the answer to the only request with a fault says that it left nothing.
    pub is_denied: bool,
}

/// The place of a service's effects.
#[derive(Debug, Clone, Copy)]
pub struct Ledger {
    /// The table of the effects.
    pub table: &'static str,
    /// The column with the label.
    pub label: &'static str,
}

/// All effects and records of a database, read without idem once everything is quiet.
#[derive(Debug)]
pub struct Facts {
    effects: HashMap<String, i64>,
    states: HashMap<String, i64>,
}

impl Facts {
    /// Reads effects and records.
    pub async fn read<D: Database>(connection: &mut D::Connection, ledger: Ledger) -> Self {
        let Ledger { table, label } = ledger;
        let effects = format!("SELECT {label}, count(*) FROM {table} GROUP BY {label}");
        Self {
            effects: connection.numbers(&effects).await.expect("a ledger"),
            states: connection.numbers(D::STATES).await.expect("records"),
        }
    }

    /// The effects and the record of one identity, together with the answers to its clients.
    pub fn evidence(
        &self,
        identity: &Identity,
        label: String,
        answered: Vec<Answered>,
        is_denied: bool,
    ) -> Evidence {
        let effects = self.effects.get(&label).copied().unwrap_or_default();
        let state = self.states.get(&format!("{identity:?}"));
        Evidence {
            answered,
            effects: effects.try_into().expect("not negative"),
            record: state.map(|state| match state {
                1 => State::Succeeded,
                2 => State::FailedFinal,
                3 => State::FailedRetriable,
                _ => State::Ended,
            }),
            label,
            is_denied,
        }
    }
}

impl Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            effects,
            record,
            label,
            ..
        } = self;
        write!(
            f,
            "{label} has {effects} effects and the record {record:?}; its clients got"
        )?;
        answered
            .iter()
            .try_for_each(|answered| write!(f, "\n  {answered}"))
    }
}

impl Evidence {
    /// Whether a client was answered with a success.
    pub fn is_acknowledged(&self) -> bool {
        let succeeded = |end: &Answered| matches!(end, Answered::Answer(end) if end.status == 201);
        self.answered.iter().any(succeeded)
    }
}

/// A violation of an invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// I1: more than one effect.
    SecondEffect,
    /// I2: an effect without a record of a success, or the record without the effect.
    HalfDone,
    /// I3: a success was answered, but the database does not have it.
    Lost,
    /// I4: two lasting answers differ.
    Differs,
    /// I7: the answer belongs to another identity.
    Foreign,
    /// I8: the answer says that nothing was done, but there is an effect.
    Denied,
    /// T2 and T4: a second effect of a `commit` step or of a `call_once`.
    SecondStep,
    /// T3: a second charge at a provider that keeps keys, or under another key.
    SecondCharge,
    /// T5: an attempt wrote after another one had taken over.
    Late,
    /// T9: a run that is finished is still there.
    Left,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecondEffect => "I1: a second effect",
            Self::HalfDone => "I2: effect and record differ",
            Self::Lost => "I3: a success that a client got is lost",
            Self::Differs => "I4: a replay differs",
            Self::Foreign => "I7: another identity's answer",
            Self::Denied => "I8: an effect of a request that was refused",
            Self::SecondStep => "T2, T4: a second effect of one step",
            Self::SecondCharge => "T3: a second charge",
            Self::Late => "T5: a write after another attempt had taken over",
            Self::Left => "T9: a run beside its record",
        })
    }
}

/// The violations of an identity. Handlers succeed with 201 and a body that contains the label as a
/// string. They fail for good with 422.
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let Evidence {
        answered,
        effects,
        record,
        label,
        is_denied,
    } = evidence;
    let answers = answered.iter().filter_map(|answered| match answered {
        Answered::Answer(answer) => Some(answer),
        Answered::Nothing => None,
    });
    let answers: Vec<&Answer> = answers.collect();
    let lasting = answers.iter().filter(|answer| is_lasting(answer));
    let lasting: Vec<_> = lasting.collect();
    let successes = lasting.iter().filter(|answer| answer.status == 201);
    let successes: Vec<_> = successes.collect();
    let succeeded = *record == Some(State::Succeeded);
    let wrong = [
        (Violation::SecondEffect, *effects > 1),
        (Violation::HalfDone, (*effects > 0) != succeeded),
        (
            Violation::Lost,
            !successes.is_empty() && (*effects == 0 || !succeeded),
        ),
        (
            Violation::Differs,
            lasting.iter().any(|answer| {
                (answer.status, &answer.body) != (lasting[0].status, &lasting[0].body)
            }),
        ),
        (
            Violation::Foreign,
            successes
                .iter()
                .any(|answer| !answer.text().contains(&format!("\"{label}\""))),
        ),
        (
            Violation::Denied,
            *effects > 0
                && answers.len() == answered.len()
                && (answers.iter().all(|answer| denies(answer))
                    // All other answers are replays: the denied attempt must have had the effect.
                    || *is_denied
                        && answers.iter().all(|answer| denies(answer) || answer.is_replay())),
        ),
    ];
    let wrong = wrong.into_iter().filter(|(_, wrong)| *wrong);
    wrong.map(|(violation, _)| violation).collect()
}

/// Whether an answer is a handler's that is recorded. Every later answer is then its replay.
pub(crate) fn is_lasting(answer: &Answer) -> bool {
    let is_problem = || answer.header("content-type") == Some("application/problem+json");
    answer.status == 201 || answer.status == 422 && !is_problem()
}

/// Whether an answer says that its request left nothing. `outcome-unknown` does not say that.
pub(crate) fn denies(answer: &Answer) -> bool {
    let kind = || answer.json()["type"].as_str().unwrap_or("").to_owned();
    matches!(answer.status, 400..=500)
        || answer.status == 503 && !kind().ends_with("outcome-unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answered {
        Answered::Answer(Answer {
            status,
            headers: Vec::new(),
            body: body.to_owned().into(),
        })
    }

    fn success() -> Answered {
        answer(201, r#"{"label":"k","attempt":1}"#)
    }

    fn replay() -> Answered {
        let Answered::Answer(mut answer) = success() else {
            return Answered::Nothing;
        };
        let marked = ("idempotency-replayed".to_owned(), b"true".to_vec());
        answer.headers.push(marked);
        answer.into()
    }

    fn refused(kind: &str) -> Answered {
        answer(503, &format!(r#"{{"type":"https://example.com/#{kind}"}}"#))
    }

    fn evidence(answered: &[Answered], effects: u64, record: Option<State>) -> Evidence {
        Evidence {
            answered: answered.to_vec(),
            effects,
            record,
            label: "k".to_owned(),
            is_denied: matches!(answered.first(), Some(Answered::Answer(first)) if denies(first)),
        }
    }

    #[test]
    fn what_is_right_is_right() {
        let (nothing, retriable) = (None, Some(State::FailedRetriable));
        for right in [
            evidence(&[], 0, nothing),
            evidence(&[Answered::Nothing], 0, nothing),
            evidence(&[Answered::Nothing], 1, Some(State::Succeeded)),
            evidence(&[success(), success()], 1, Some(State::Succeeded)),
            evidence(
                &[refused("try-again"), success()],
                1,
                Some(State::Succeeded),
            ),
            evidence(&[refused("outcome-unknown")], 1, Some(State::Succeeded)),
            evidence(
                &[refused("outcome-unknown"), replay()],
                1,
                Some(State::Succeeded),
            ),
            evidence(&[replay()], 1, Some(State::Succeeded)),
            evidence(&[refused("outcome-unknown")], 0, nothing),
            evidence(&[answer(500, "")], 0, retriable),
            evidence(&[answer(422, "")], 0, Some(State::FailedFinal)),
        ] {
            assert_eq!(check(&right), [], "{right:?}");
        }
    }

    #[test]
    fn every_violation_is_found() {
        let succeeded = Some(State::Succeeded);
        let other = answer(201, r#"{"label":"k","attempt":2}"#);
        let foreign = answer(201, r#"{"label":"other"}"#);
        for (wrong, expected) in [
            (
                evidence(&[success()], 2, succeeded),
                Violation::SecondEffect,
            ),
            (evidence(&[Answered::Nothing], 1, None), Violation::HalfDone),
            (
                evidence(&[Answered::Nothing], 0, succeeded),
                Violation::HalfDone,
            ),
            (evidence(&[success()], 0, None), Violation::Lost),
            (
                evidence(&[success(), other], 1, succeeded),
                Violation::Differs,
            ),
            (evidence(&[foreign], 1, succeeded), Violation::Foreign),
            (
                evidence(&[refused("try-again")], 1, succeeded),
                Violation::Denied,
            ),
            (
                evidence(&[refused("try-again"), replay()], 1, succeeded),
                Violation::Denied,
            ),
        ] {
            assert!(check(&wrong).contains(&expected), "{wrong:?}");
        }
    }
}
