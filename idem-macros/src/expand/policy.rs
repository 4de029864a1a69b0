//! The constant that holds the handler's policy: only what was written is in it, the library has the defaults.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::Private;
use crate::model::Policy;
use crate::options::Choice;
use crate::value::Duration;

pub(crate) fn expand(policy: &Policy, private: &Private) -> TokenStream {
    let duration = |duration: &Duration| {
        let seconds = duration.seconds;
        quote!(#private::Duration::from_secs(#seconds))
    };
    let choice = |choice: &Choice| format_ident!("{}", choice.variant);
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
        .map(choice)
        .map(|replay| quote!(.with_replay(#private::Replay::#replay)));
    let key = policy
        .key
        .map(choice)
        .map(|key| quote!(.with_key(#private::KeyRule::#key)));
    let isolation = policy
        .isolation
        .map(choice)
        .map(|isolation| quote!(.with_isolation(#private::Isolation::#isolation)));
    let operation = policy
        .operation
        .as_ref()
        .map(|operation| quote!(.with_operation(#operation)));
    quote!(#private::Policy::new(#ttl) #wait #deadline #replay #key #isolation #operation)
}
