/// How a request ends without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// With an effect.
    Success,
    /// With a failure that is recorded for good.
    FinalFailure,
    /// With a failure that may be retried.
    RetriableFailure,
    /// With an effect, after an attempt that failed.
    Retry,
    /// With the answer to an earlier request.
    Replay,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::FinalFailure,
        Self::RetriableFailure,
        Self::Retry,
        Self::Replay,
    ];

    /// What the handler answers.
    pub fn status(self) -> u16 {
        match self {
            Self::Success | Self::Retry | Self::Replay => 201,
            Self::FinalFailure => 422,
            Self::RetriableFailure => 500,
        }
    }

    /// How the request before it ends, if there has to be one.
    pub fn earlier(self) -> Option<Self> {
        match self {
            Self::Retry => Some(Self::RetriableFailure),
            Self::Replay => Some(Self::Success),
            Self::Success | Self::FinalFailure | Self::RetriableFailure => None,
        }
    }
}
