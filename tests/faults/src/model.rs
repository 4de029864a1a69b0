//! A short model of the engine: the record of an identity, the effect of a request on it, and the
//! orders of the requests that explain their answers.

use std::collections::{BTreeMap, BTreeSet};

use idem_core::State;
use idem_tests::Answer;

use crate::checker::Answered;

/// The end of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With an effect.
    Success,
    /// With a failure that is recorded for good.
    FinalFailure,
    /// With a failure that may be retried.
    RetriableFailure,
    /// With a panic.
    Panic,
}

/// A request, with the fields that the model needs.
#[derive(Debug, Clone)]
pub struct Request {
    number: usize,
    intent: u8,
    ending: Ending,
    is_harmed: bool,
    /// Another request for the identity is harmed at the same time.
    is_beside_harm: bool,
    is_lost: bool,
}

/// The parts of an answer that the model compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    status: u16,
    replayed: bool,
    /// The body, or the type of a problem.
    text: String,
}

/// The record of an identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    Nothing,
    Settled { intent: u8, answer: Seen },
    Retriable { intent: u8, attempts: u32 },
}

/// The record, and the answers of all requests that had their turn but were not answered yet; no
/// answer for a lost request.
type World = (Known, BTreeMap<usize, Option<Seen>>);

/// All possible histories of one identity, given the answers to its requests.
///
/// Each request has one turn, at any time between its beginning and its answer. A lost request has
/// its turn later, or never. The remaining worlds are those in which every answer was right.
#[derive(Debug)]
pub struct Explained {
    /// The label of its effect.
    pub label: String,
    /// The results of its requests.
    pub answered: Vec<Answered>,
    pending: BTreeMap<usize, Request>,
    worlds: BTreeSet<World>,
}

impl Request {
    /// The request with this number and this `intent`. If its handler is entered, it ends by
    /// `ending`. A harmed request may suffer from its store, or be dropped.
    pub fn new(number: usize, intent: u8, ending: Ending, is_harmed: bool) -> Self {
        Self {
            number,
            intent,
            ending,
            is_harmed,
            is_beside_harm: false,
            is_lost: false,
        }
    }

    /// The body of its handler's answer.
    pub fn body(&self, label: &str, attempt: u32) -> String {
        let number = self.number;
        format!(r#"{{"label":"{label}","attempt":{attempt},"request":{number}}}"#)
    }

    fn own(&self, status: u16, label: &str, attempt: u32) -> Seen {
        Seen {
            status,
            replayed: false,
            text: self.body(label, attempt),
        }
    }
}

impl Seen {
    fn problem(status: u16, kind: &str) -> Self {
        Self {
            status,
            replayed: false,
            text: kind.to_owned(),
        }
    }
}

impl From<&Answer> for Seen {
    fn from(answer: &Answer) -> Self {
        let is_problem = answer.header("content-type") == Some("application/problem+json");
        let text = if is_problem {
            let json = answer.json();
            let kind = json["type"].as_str().unwrap_or_default();
            kind.rsplit(['/', '#'])
                .next()
                .unwrap_or_default()
                .to_owned()
        } else {
            answer.text()
        };
        Self {
            status: answer.status,
            replayed: answer.header("idempotency-replayed") == Some("true"),
            text,
        }
    }
}

impl Known {
    /// The number of the attempt of a request without harm, or its answer.
    fn admit(&self, request: &Request) -> Result<u32, Seen> {
        match self {
            Self::Nothing => Ok(1),
            Self::Settled { intent, .. } | Self::Retriable { intent, .. }
                if *intent != request.intent =>
            {
                Err(Seen::problem(422, "key-reused"))
            }
            Self::Settled { answer, .. } => Err(Seen {
                replayed: true,
                ..answer.clone()
            }),
            Self::Retriable { attempts, .. } => Ok(attempts + 1),
        }
    }

    /// All possible outcomes of a request, with its answer in each.
    fn outcomes(&self, label: &str, request: &Request) -> Vec<(Self, Seen)> {
        let intent = request.intent;
        let retriable = |attempts| Self::Retriable { intent, attempts };
        let settled = |answer: Seen| {
            let next = Self::Settled {
                intent,
                answer: answer.clone(),
            };
            (next, answer)
        };
        let admitted = self.admit(request);
        let (next, answer) = match (&admitted, request.ending) {
            (Err(answer), _) => (self.clone(), answer.clone()),
            (Ok(attempt), Ending::Success) => settled(request.own(201, label, *attempt)),
            (Ok(attempt), Ending::FinalFailure) => settled(request.own(422, label, *attempt)),
            (Ok(attempt), Ending::RetriableFailure) => {
                (retriable(*attempt), request.own(500, label, *attempt))
            }
            (Ok(attempt), Ending::Panic) => {
                (retriable(*attempt), Seen::problem(500, "handler-panicked"))
            }
        };
        let mut outcomes = vec![(next.clone(), answer.clone())];
        // The record of a retriable failure is written if possible. For an attempt that was broken
        // off, the engine tries for only a quarter of a second.
        let unwritten = matches!(next, Self::Retriable { .. })
            && (request.is_harmed || request.ending == Ending::Panic);
        if unwritten {
            outcomes.push((self.clone(), answer));
        }
        // The duplicates that wait for a request share its answer if it does not reach the store.
        if request.is_harmed || request.is_beside_harm {
            outcomes.push((self.clone(), Seen::problem(503, "unavailable")));
        }
        if request.is_harmed {
            let failed = admitted.ok().map(retriable);
            for kept in failed.into_iter().chain([self.clone()]) {
                outcomes.push((kept.clone(), Seen::problem(503, "try-again")));
                outcomes.push((kept, Seen::problem(503, "outcome-unknown")));
            }
            outcomes.push((next, Seen::problem(503, "outcome-unknown")));
        }
        outcomes
    }
}

impl Explained {
    /// An identity without a record.
    pub fn new(label: String) -> Self {
        Self {
            label,
            answered: Vec::new(),
            pending: BTreeMap::new(),
            worlds: BTreeSet::from([(Known::Nothing, BTreeMap::new())]),
        }
    }

    /// Begins a request.
    pub fn begin(&mut self, mut request: Request) {
        for other in self.pending.values_mut() {
            other.is_beside_harm |= request.is_harmed;
            request.is_beside_harm |= other.is_harmed;
        }
        self.pending.insert(request.number, request);
    }

    /// Adds the answer to a request.
    ///
    /// # Panics
    ///
    /// If no order of the requests explains the answer.
    pub fn answer(&mut self, number: usize, answer: Answer) {
        let seen = Seen::from(&answer);
        self.answered.push(Answered::Answer(answer));
        let reached = self.reached();
        let worlds = reached.iter().cloned().filter_map(|(known, mut done)| {
            let is_right = done.remove(&number).flatten().as_ref() == Some(&seen);
            is_right.then_some((known, done))
        });
        self.worlds = worlds.collect();
        assert!(
            !self.worlds.is_empty(),
            "nothing explains {seen:?} as the answer to {:?} next to {:?}; the model allows one of {reached:?}",
            self.pending.get(&number),
            self.pending
        );
        self.pending.remove(&number);
    }

    /// Marks a request that will never be answered.
    pub fn lose(&mut self, number: usize) {
        self.answered.push(Answered::Nothing);
        if let Some(request) = self.pending.get_mut(&number) {
            request.is_harmed = true;
            request.is_lost = true;
        }
        let worlds = std::mem::take(&mut self.worlds).into_iter();
        let forget = |(known, mut done): World| {
            done.entry(number).and_modify(|seen| *seen = None);
            (known, done)
        };
        self.worlds = worlds.map(forget).collect();
    }

    /// Forgets the lost requests: they can have no effect any more.
    pub fn rest(&mut self) {
        self.pending.clear();
        let worlds = std::mem::take(&mut self.worlds).into_iter();
        self.worlds = worlds.map(|(known, _)| (known, BTreeMap::new())).collect();
    }

    /// The expected record and the expected number of effects, if they are known.
    pub fn expected(&self) -> Option<(Option<State>, u64)> {
        let mut worlds = self.worlds.iter();
        let (Some((known, _)), None) = (worlds.next(), worlds.next()) else {
            return None;
        };
        self.pending.is_empty().then_some(match known {
            Known::Nothing => (None, 0),
            Known::Settled { answer, .. } if answer.status == 201 => (Some(State::Succeeded), 1),
            Known::Settled { .. } => (Some(State::FailedFinal), 0),
            Known::Retriable { .. } => (Some(State::FailedRetriable), 0),
        })
    }

    /// Every world that is reachable by the turns of pending requests.
    fn reached(&self) -> BTreeSet<World> {
        let mut reached = self.worlds.clone();
        let mut next: Vec<World> = reached.iter().cloned().collect();
        while let Some((known, done)) = next.pop() {
            let waiting = self.pending.iter();
            for (number, request) in waiting.filter(|(number, _)| !done.contains_key(number)) {
                for (known, seen) in known.outcomes(&self.label, request) {
                    let mut done = done.clone();
                    done.insert(*number, (!request.is_lost).then_some(seen));
                    if reached.insert((known.clone(), done.clone())) {
                        next.push((known, done));
                    }
                }
            }
        }
        reached
    }
}
