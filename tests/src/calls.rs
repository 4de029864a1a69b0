//! Handlers and their calls, without a database.

use idem_core::{Attempt, Recovered, StepConnection, StepKey, Steps};

use crate::control::{Control, Running, Visit};
use crate::scene::{Act, Body, Failed, Reply, RideError, Scene};

impl Control {
    /// Enters a handler. Returns its scene.
    pub fn visit(&self, attempt: &Attempt) -> (Scene, Running<'_>) {
        self.enter(Visit {
            key: attempt.key().map(str::to_owned),
            scope: attempt.scope().map(str::to_owned),
            number: attempt.number(),
            downstream: ["psp", "mail"].map(|service| attempt.downstream_key(service)),
        })
    }

    /// A scene's reply, with the body of [`Body::Effect`].
    pub fn completed(&self, mut reply: Reply, attempt: &Attempt, label: &str) -> Reply {
        if matches!(reply.body, Body::Effect) {
            let (entry, attempt) = (self.entries(), attempt.number());
            let json = format!(r#"{{"label":"{label}","attempt":{attempt},"entry":{entry}}}"#);
            reply.body = Body::Bytes(json.into());
        }
        reply
    }

    /// A call to another service: it plays a scene. Returns the number of the entry.
    ///
    /// # Errors
    ///
    /// A scene's reply of 400 or more.
    pub async fn call(&self, key: StepKey, attempt: &Attempt) -> Result<usize, RideError> {
        let visit = Visit {
            key: Some(key.to_string()),
            scope: Some(key.epoch().to_string()),
            number: attempt.number(),
            ..Visit::default()
        };
        let (scene, _running) = self.enter(visit);
        for act in &scene.acts {
            match act {
                Act::Wait => self.wait_at_gate().await,
                Act::Panic => panic!("the scene says so"),
                _ => {}
            }
        }
        self.entry(scene.reply)
    }

    /// One call to a service that takes no key. If it may have happened, the service is asked: the next scene
    /// answers 200 if it has happened, and 404 if it has not.
    ///
    /// # Errors
    ///
    /// A scene's reply of 400 or more to the call, or the step's own error.
    pub async fn sms<C: StepConnection>(
        &self,
        steps: &mut Steps<C>,
        attempt: &Attempt,
    ) -> Result<Reply, RideError> {
        let sent = steps
            .call_once(
                "sms",
                async |key| self.call(key, attempt).await,
                async |key| {
                    Ok(match self.call(key, attempt).await {
                        Ok(entry) => Recovered::Found(entry),
                        Err(RideError::Failed(failed)) if failed.0.status == 404 => {
                            Recovered::Absent
                        }
                        Err(_) => Recovered::Unknown,
                    })
                },
            )
            .await?;
        Ok(Reply::bytes(201, sent.to_string()))
    }

    /// The number of the entry of a step, if it succeeded.
    pub(crate) fn entry(&self, reply: Reply) -> Result<usize, RideError> {
        if reply.status < 400 {
            Ok(self.entries())
        } else {
            Err(RideError::Failed(Failed(reply)))
        }
    }
}
