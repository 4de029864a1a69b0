//! The constant with the handler's policy. It holds only the options that were given: the library has the defaults.

use proc_macro2::TokenStream;
use quote::quote;

use crate::choice::{Isolation, KeyRule, Replay};
use crate::model::Policy;
use crate::place::Private;
use crate::value::Duration;

pub(crate) fn expand(policy: &Policy, private: &Private) -> TokenStream {
    let duration = |duration: &Duration| {
        let seconds = duration.seconds;
        quote!(#private::Duration::from_secs(#seconds))
    };
    let ttl = duration(&policy.ttl);
    let wait = policy
        .wait
        .as_ref()
        .map(duration)
        .map(|wait| quote!(.with_wait(#wait)));
    let deadline = policy
        .deadline
        .as_ref()
        .map(duration)
        .map(|deadline| quote!(.with_deadline(#deadline)));
    let replay = policy
        .replay
        .map(replay)
        .map(|replay| quote!(.with_replay(#private::Replay::#replay)));
    let key = policy
        .key
        .map(key)
        .map(|key| quote!(.with_key(#private::KeyRule::#key)));
    let isolation = policy
        .isolation
        .map(isolation)
        .map(|isolation| quote!(.with_isolation(#private::Isolation::#isolation)));
    let operation = policy
        .operation
        .as_ref()
        .map(|operation| quote!(.with_operation(#operation)));
    quote!(#private::Policy::new(#ttl) #wait #deadline #replay #key #isolation #operation)
}

fn replay(replay: Replay) -> TokenStream {
    match replay {
        Replay::Success => quote!(Success),
        Replay::Final => quote!(Final),
        Replay::All => quote!(All),
    }
}

fn key(key: KeyRule) -> TokenStream {
    match key {
        KeyRule::Required => quote!(Required),
        KeyRule::Optional => quote!(Optional),
    }
}

fn isolation(isolation: Isolation) -> TokenStream {
    match isolation {
        Isolation::ReadCommitted => quote!(ReadCommitted),
        Isolation::RepeatableRead => quote!(RepeatableRead),
        Isolation::Serializable => quote!(Serializable),
    }
}
