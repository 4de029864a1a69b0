/// The end of a request without a fault.
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
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::FinalFailure,
        Self::RetriableFailure,
        Self::Retry,
        Self::Replay,
    ];

    /// The status of the handler's answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Success | Self::Retry | Self::Replay => 201,
            Self::FinalFailure => 422,
            Self::RetriableFailure => 500,
        }
    }

    /// The kind of the earlier request, if this kind needs one.
    pub fn earlier(self) -> Option<Self> {
        match self {
            Self::Retry => Some(Self::RetriableFailure),
            Self::Replay => Some(Self::Success),
            Self::Success | Self::FinalFailure | Self::RetriableFailure => None,
        }
    }
}
