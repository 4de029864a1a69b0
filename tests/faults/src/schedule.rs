//! One attempt of a ride that goes from point to point, and the rules that say where its next move leads and
//! what it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use anyhow::{Result, ensure};
use futures_util::future::LocalBoxFuture;
use idem_tests::Answer;

use crate::model::Ending;
use crate::ride::{Gate, Middle, Ride, Rows, Service, Stop};

/// One attempt.
pub struct Live {
    /// The request.
    pub future: LocalBoxFuture<'static, Answer>,
    /// Where its handler waits.
    pub gate: Rc<Gate>,
    /// What it knows.
    pub view: View,
}

/// What an attempt knows.
#[derive(Debug, Clone)]
pub struct View {
    /// Where it waits; nowhere before its first poll.
    pub at: Option<Stop>,
    /// The body of its request.
    pub body: u8,
    /// The end of its handler.
    pub ending: Ending,
    /// The number of its claim, in the life of its run.
    epoch: i64,
    life: usize,
    attempt: i64,
    /// The steps that were recorded at its claim.
    recorded: BTreeSet<String>,
    is_intended: bool,
}

/// Where an attempt has come.
#[derive(Debug)]
pub enum Reached {
    /// To a point.
    Stop(Stop),
    /// To its end.
    Answer(Answer),
}

impl View {
    /// A request with this body whose handler ends so.
    pub fn new(body: u8, ending: Ending) -> Self {
        Self {
            at: None,
            body,
            ending,
            epoch: 0,
            life: 0,
            attempt: 0,
            recorded: BTreeSet::new(),
            is_intended: false,
        }
    }

    /// The life of the run that it has claimed.
    pub fn life(&self) -> usize {
        self.life
    }
}

impl Live {
    /// Polls the attempt until it reaches a point or its end; at most so many times.
    pub async fn go(&mut self, polls: &mut usize) -> Option<Reached> {
        if self.gate.at().is_some() {
            self.gate.open();
        }
        poll_fn(|context| {
            if *polls == 0 {
                return Poll::Ready(None);
            }
            *polls -= 1;
            if let Poll::Ready(answer) = self.future.as_mut().poll(context) {
                return Poll::Ready(Some(Reached::Answer(answer)));
            }
            match self.gate.at() {
                Some(stop) => Poll::Ready(Some(Reached::Stop(stop))),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// What the next move of an attempt leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It waits.
    At(Stop),
    /// It is answered with its own status, and recorded.
    Recorded(u16),
    /// It is answered with its own status, and not recorded.
    Failed(u16),
    /// It is answered with the record.
    Replayed,
    /// It is answered with this problem.
    Problem(&'static str),
}

impl Next {
    /// Whether the attempt came there. `first` is the recorded answer, if it is known.
    pub fn is(&self, reached: &Reached, first: Option<&Answer>) -> bool {
        match (reached, self) {
            (Reached::Stop(stop), Self::At(expected)) => stop == expected,
            (Reached::Answer(answer), Self::Recorded(status) | Self::Failed(status)) => {
                answer.status == *status && !answer.is_replay() && !answer.text().contains('#')
            }
            (Reached::Answer(answer), Self::Replayed) => {
                let is_same =
                    |first: &Answer| (first.status, &first.body) == (answer.status, &answer.body);
                answer.is_replay() && first.is_none_or(is_same)
            }
            (Reached::Answer(answer), Self::Problem(kind)) => {
                answer.text().contains(&format!("#{kind}\""))
            }
            (Reached::Stop(_), _) | (_, Self::At(_)) => false,
        }
    }
}

/// The state of an identity, and the rows that there have to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct Expected {
    /// The number of the holder.
    pub epoch: Option<i64>,
    /// Whether the lease is not over.
    pub is_leased: bool,
    /// The epochs of the recorded steps.
    pub steps: BTreeMap<String, i64>,
    /// The epoch of a `call_once` without a result.
    pub intent: Option<i64>,
    /// Whether there is a record.
    pub is_settled: bool,
    /// The attempt that has written the row of a step.
    pub legs: BTreeMap<String, i64>,
    /// Whether an attempt waits in its transaction.
    pub is_locked: bool,
    /// The body that the key is bound to.
    pub body: u8,
    /// Whether the record or the run is past its time to live.
    pub is_expired: bool,
    /// How many runs or records of the identity began from nothing.
    pub life: usize,
    attempts: i64,
}

impl Expected {
    fn record(&mut self, step: &str, epoch: i64) {
        self.steps.insert(step.to_owned(), epoch);
        self.is_leased = true;
    }

    fn commit(&mut self, step: &str, view: &View) {
        self.record(step, view.epoch);
        self.legs.insert(step.to_owned(), view.attempt);
        self.is_locked = false;
    }

    /// Whether there is a record or a run that binds the key.
    pub fn binds(&self) -> bool {
        let is_over = self.is_expired && !self.is_leased;
        (self.is_settled || self.epoch.is_some()) && !is_over
    }

    /// What is left after a deletion of the run, its steps, and the record.
    pub fn forget_rows(&mut self) {
        *self = Self {
            life: self.life,
            legs: std::mem::take(&mut self.legs),
            ..Self::default()
        };
    }

    /// What a late attempt is answered, whose own answer this is.
    fn late(&self, view: &View, own: Next) -> Next {
        if !self.is_settled || self.is_expired {
            own
        } else if self.body == view.body {
            Next::Replayed
        } else {
            Next::Problem("key-reused")
        }
    }

    fn claim(&mut self, view: &mut View) -> Next {
        if self.binds() {
            if self.body != view.body {
                return Next::Problem("key-reused");
            }
            if self.is_settled {
                return Next::Replayed;
            }
            if self.is_leased || self.is_locked {
                return Next::Problem("in-flight");
            }
            self.attempts += 1;
        } else {
            *self = Self {
                epoch: self.epoch,
                life: self.life + 1,
                body: view.body,
                attempts: 1,
                ..Self::default()
            };
        }
        let epoch = self.epoch.unwrap_or(0) + 1;
        *view = View {
            epoch,
            life: self.life,
            attempt: self.attempts,
            recorded: self.steps.keys().cloned().collect(),
            is_intended: self.intent.is_some(),
            ..view.clone()
        };
        self.epoch = Some(epoch);
        self.is_leased = true;
        Next::At(Stop::Claimed)
    }

    /// Makes the next move of an attempt, whose handler waits at each point that `stops` says.
    pub fn go(
        &mut self,
        view: &mut View,
        ride: &Ride,
        middle: Middle,
        stops: fn(Stop) -> bool,
    ) -> Next {
        let holds = (self.epoch, self.life) == (Some(view.epoch), view.life);
        let has = |view: &View, step: &str| view.recorded.contains(step);
        let in_flight = Next::Problem("in-flight");
        match view.at {
            None => self.claim(view),
            Some(Stop::Claimed) if has(view, "ride") => Next::At(Stop::Ridden),
            Some(Stop::Charged) if has(view, "paid") => Next::At(Stop::Paid),
            Some(Stop::Claimed | Stop::Sent | Stop::Charged) if !holds => {
                self.late(view, in_flight)
            }
            Some(at @ (Stop::Claimed | Stop::Charged)) => {
                let (step, inside, after) = match at {
                    Stop::Claimed => ("ride", Stop::InRide, Stop::Ridden),
                    _ => ("paid", Stop::InPaid, Stop::Paid),
                };
                if stops(inside) {
                    self.is_locked = true;
                    return Next::At(inside);
                }
                self.commit(step, view);
                Next::At(after)
            }
            Some(Stop::InRide) => {
                self.commit("ride", view);
                Next::At(Stop::Ridden)
            }
            Some(Stop::InPaid) => {
                self.commit("paid", view);
                Next::At(Stop::Paid)
            }
            Some(Stop::Ridden) if has(view, "charge") && !view.is_intended => {
                Next::At(Stop::Charged)
            }
            Some(Stop::Ridden) => match middle {
                Middle::Call => Next::At(Stop::Sent),
                Middle::CallOnce(Service::Forgets) if view.is_intended => {
                    self.is_leased &= !holds;
                    self.late(view, Next::Problem("step-uncertain"))
                }
                Middle::CallOnce(_) if !holds => self.late(view, in_flight),
                Middle::CallOnce(_) if !view.is_intended => {
                    self.record("charge", view.epoch);
                    self.intent = Some(view.epoch);
                    Next::At(Stop::Calling)
                }
                Middle::CallOnce(_) => {
                    self.is_leased = true;
                    if ride.charges() == 0 {
                        return Next::At(Stop::Calling);
                    }
                    self.intent = None;
                    Next::At(Stop::Charged)
                }
            },
            Some(Stop::Calling) if ride.refuses(view.epoch) => {
                self.late(view, Next::Problem("try-again"))
            }
            Some(Stop::Calling) => Next::At(Stop::Sent),
            Some(Stop::Sent) => {
                // A result takes the place of the intent, whose epoch stays.
                let epoch = self.intent.take().unwrap_or(view.epoch);
                self.record("charge", epoch);
                Next::At(Stop::Charged)
            }
            Some(Stop::Paid) => self.end(view, holds),
        }
    }

    fn end(&mut self, view: &View, holds: bool) -> Next {
        let own = match view.ending {
            Ending::Success => Next::Recorded(201),
            Ending::FinalFailure => Next::Recorded(422),
            Ending::RetriableFailure => Next::Failed(500),
            Ending::Panic => Next::Problem("handler-panicked"),
        };
        match own {
            Next::Recorded(_) if !holds => self.late(view, Next::Problem("try-again")),
            Next::Recorded(_) => {
                *self = Self {
                    is_settled: true,
                    legs: std::mem::take(&mut self.legs),
                    body: self.body,
                    life: self.life,
                    ..Self::default()
                };
                own
            }
            own if !holds => self.late(view, own),
            own => {
                self.is_leased = false;
                own
            }
        }
    }

    /// Compares the rows.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    pub fn check(&self, rows: &Rows) -> Result<()> {
        for ((step, _), attempt) in &rows.legs {
            let is_known = self.legs.get(step) == Some(attempt);
            let is_late = *attempt < self.attempts || self.is_settled;
            ensure!(
                is_known || !is_late,
                "T5: {attempt} has written {step}, after {} had claimed or it was settled",
                self.attempts
            );
        }
        let legs = rows
            .legs
            .iter()
            .map(|((step, _), attempt)| (step.clone(), *attempt));
        let seen = Self {
            epoch: rows.epoch,
            is_leased: rows.is_leased,
            steps: rows.steps.clone(),
            intent: rows.intent,
            is_settled: rows.records > 0,
            legs: legs.collect(),
            ..self.clone()
        };
        ensure!(seen == *self, "the rows are {seen:?}, expected {self:?}");
        Ok(())
    }
}
