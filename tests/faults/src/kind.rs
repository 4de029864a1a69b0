/// How a request ends without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// With an effect.
    Success,
    /// With a failure that is recorded for good.
    FinalFailure,
    /// With a failure that may be retried.
    RetriableFailure,
    /// With the answer to an earlier request.
    Replay,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Success,
        Self::FinalFailure,
        Self::RetriableFailure,
        Self::Replay,
    ];

    /// What the handler answers.
    pub fn status(self) -> u16 {
        match self {
            Self::Success | Self::Replay => 201,
            Self::FinalFailure => 422,
            Self::RetriableFailure => 500,
        }
    }
}
