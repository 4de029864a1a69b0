//! The constant with the handler's policy. It holds only the options that were given: the library has the defaults.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use crate::choice::{Isolation, Replay};
use crate::model::{Policy, Record, Target};
use crate::place::Private;
use crate::value::Duration;

pub(crate) fn expand(policy: &Policy, target: &Target, private: &Private) -> TokenStream {
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
    let respond_within = policy
        .respond_within
        .as_ref()
        .map(duration)
        .map(|limit| quote!(.with_respond_within(#limit)));
    let deadline = policy
        .deadline
        .as_ref()
        .map(duration)
        .map(|deadline| quote!(.with_deadline(#deadline)));
    let lease = policy
        .lease
        .as_ref()
        .map(duration)
        .map(|lease| quote!(.with_lease(#lease)));
    let replay = policy
        .replay
        .map(replay)
        .map(|replay| quote!(.with_replay(#private::Replay::#replay)));
    let target =
        self::target(target).map(|target| quote!(.with_target(#private::BoundTarget::#target)));
    let isolation = policy
        .isolation
        .map(isolation)
        .map(|isolation| quote!(.with_isolation(#private::Isolation::#isolation)));
    let operation = policy
        .operation
        .as_ref()
        .map(|operation| quote!(.with_operation(#operation)));
    let record = match &policy.record {
        Record::Default => None,
        Record::WithCookies(names) => Some(quote!(.with_recorded_cookies(&[#(#names),*]))),
        Record::Head => Some(quote!(.with_head_only())),
    };
    let response_limit = policy
        .response_limit
        .map(Literal::u64_unsuffixed)
        .map(|bytes| quote!(.with_response_limit(#bytes)));
    quote!(
        #private::Policy::new(#ttl) #wait #respond_within #deadline #lease #replay #target #isolation #operation #record #response_limit
    )
}

fn replay(replay: Replay) -> TokenStream {
    match replay {
        Replay::Success => quote!(Success),
        Replay::Final => quote!(Final),
        Replay::All => quote!(All),
    }
}

fn target(target: &Target) -> Option<TokenStream> {
    Some(match target {
        Target::Exact => return None,
        Target::SortedQuery => quote!(SortedQuery),
        Target::QueryExcept(names) => quote!(QueryExcept(&[#(#names),*])),
        Target::NoQuery => quote!(NoQuery),
        Target::Nothing => quote!(Nothing),
    })
}

fn isolation(isolation: Isolation) -> TokenStream {
    match isolation {
        Isolation::ReadCommitted => quote!(ReadCommitted),
        Isolation::RepeatableRead => quote!(RepeatableRead),
        Isolation::Serializable => quote!(Serializable),
    }
}
