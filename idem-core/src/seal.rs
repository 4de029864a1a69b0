//! Sealed records (rule R12): recorded responses that only the client's own key and a pepper open.
//!
//! Without the feature `seal` there is no value of [`Seal`]. Then sealed records are not opened.

use http::StatusCode;

#[cfg(feature = "seal")]
pub use self::cipher::Seal;
use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::record::State;

/// The version of the stored form.
pub(crate) const FORMAT: u8 = 2;

/// What a sealed response is bound to besides its key. The times are not a part of it, as the database
/// sets them when it writes.
#[cfg_attr(
    not(feature = "seal"),
    allow(dead_code, reason = "only the cipher reads it")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) state: State,
    pub(crate) status: StatusCode,
    pub(crate) fingerprint: &'a Fingerprint,
}

#[cfg(not(feature = "seal"))]
#[derive(Debug, Clone)]
pub(crate) enum Seal {}

#[cfg(not(feature = "seal"))]
impl Seal {
    pub(crate) fn seal(
        &self,
        _: &crate::key::IdempotencyKey,
        _: Bound<'_>,
        _: Vec<u8>,
    ) -> Result<Vec<u8>, crate::store::BoxError> {
        match *self {}
    }

    pub(crate) fn open(
        &self,
        _: &crate::key::IdempotencyKey,
        _: Bound<'_>,
        _: &[u8],
    ) -> Result<Vec<u8>, crate::record::Unreadable> {
        match *self {}
    }
}

#[cfg(feature = "seal")]
mod cipher {
    use std::sync::Arc;

    use aes_gcm::Aes256Gcm;
    use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
    use hkdf::HkdfExtract;
    use sha2::Sha256;

    use super::{Bound, FORMAT};
    use crate::config::ConfigError;
    use crate::identity::Identity;
    use crate::key::IdempotencyKey;
    use crate::record::Unreadable;
    use crate::store::BoxError;

    const INFO: &[u8] = b"idem/seal/1";

    const NONCE: usize = 12;

    /// Format, the pepper's number, nonce.
    const HEAD: usize = 5 + NONCE;

    /// The least length of a pepper.
    const SHORTEST: usize = 16;

    /// The peppers of sealed records ([rule R12]), for [`Config::with_seal`](crate::Config::with_seal).
    ///
    /// A recorded response is encrypted with a key that is derived from a pepper, a secret of the
    /// application, and from the client's idempotency key, of which the database has only a digest.
    ///
    /// ```
    /// # use idem_core::{Config, ConfigError, Seal};
    /// # fn config(old: &[u8], new: &[u8]) -> Result<Config, ConfigError> {
    /// let seal = Seal::try_new(2, new)?.try_with_previous(1, old)?;
    /// Ok(Config::new().with_seal(seal))
    /// # }
    /// ```
    ///
    /// [rule R12]: crate::_documentation::contract#r-first-request-and-replay
    #[derive(Clone)]
    pub struct Seal {
        /// The first one seals. All of them open.
        peppers: Vec<(u32, Arc<[u8]>)>,
        only_opens: bool,
    }

    impl Seal {
        /// Seals with this pepper: at least 16 bytes, best 32 random ones, that only the application has.
        /// Its number is stored with each record, and tells which pepper opens it.
        ///
        /// # Errors
        ///
        /// [`ConfigError::ShortPepper`] if the pepper has less than 16 bytes.
        pub fn try_new(number: u32, pepper: &[u8]) -> Result<Self, ConfigError> {
            let seal = Self {
                peppers: Vec::new(),
                only_opens: false,
            };
            seal.try_with_previous(number, pepper)
        }

        /// Also opens what was sealed with this pepper: during a rotation, the previous one, for one TTL
        /// after the change; before the change, the next one.
        ///
        /// # Errors
        ///
        /// [`ConfigError::ShortPepper`] if the pepper has less than 16 bytes, and
        /// [`ConfigError::SamePepper`] if the number is in use.
        pub fn try_with_previous(
            mut self,
            number: u32,
            pepper: &[u8],
        ) -> Result<Self, ConfigError> {
            if pepper.len() < SHORTEST {
                return Err(ConfigError::ShortPepper(number));
            }
            if self.peppers.iter().any(|(other, _)| *other == number) {
                return Err(ConfigError::SamePepper(number));
            }
            self.peppers.push((number, pepper.into()));
            Ok(self)
        }

        /// Opens, and seals nothing: for the first of the two deployments that switch sealing on, and for the
        /// TTL after it was switched off.
        #[must_use]
        pub fn only_opening(self) -> Self {
            Self {
                only_opens: true,
                ..self
            }
        }

        /// Encrypts the stored form of a response. It is returned as it is where nothing is sealed.
        pub(crate) fn seal(
            &self,
            key: &IdempotencyKey,
            bound: Bound<'_>,
            response: Vec<u8>,
        ) -> Result<Vec<u8>, BoxError> {
            if self.only_opens {
                return Ok(response);
            }
            let mut nonce = [0; NONCE];
            // A key is used again when its request runs again, so the nonce is random.
            getrandom::fill(&mut nonce)?;
            self.seal_with(nonce, key, bound, response)
        }

        fn seal_with(
            &self,
            nonce: [u8; NONCE],
            key: &IdempotencyKey,
            bound: Bound<'_>,
            mut response: Vec<u8>,
        ) -> Result<Vec<u8>, BoxError> {
            let (number, pepper) = &self.peppers[0];
            cipher(pepper, key, bound.identity)
                .encrypt_in_place(&nonce.into(), &associated(*number, bound), &mut response)
                .map_err(|_| "the response is too long to be sealed")?;
            let number = number.to_be_bytes();
            Ok([&[FORMAT][..], &number, &nonce, &response].concat())
        }

        /// Decrypts a sealed response.
        pub(crate) fn open(
            &self,
            key: &IdempotencyKey,
            bound: Bound<'_>,
            sealed: &[u8],
        ) -> Result<Vec<u8>, Unreadable> {
            let refused = Unreadable("sealed response can't be opened");
            let (head, sealed) = sealed.split_at_checked(HEAD).ok_or(refused)?;
            let (number, nonce) = head[1..].split_at(4);
            let number = u32::from_be_bytes(number.try_into().map_err(|_| refused)?);
            let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| refused)?;
            let mut peppers = self.peppers.iter();
            let (_, pepper) = peppers
                .find(|(other, _)| *other == number)
                .ok_or(Unreadable("response is sealed with an unknown pepper"))?;
            let mut response = sealed.to_vec();
            cipher(pepper, key, bound.identity)
                .decrypt_in_place(&nonce.into(), &associated(number, bound), &mut response)
                .map_err(|_| refused)?;
            Ok(response)
        }
    }

    impl std::fmt::Debug for Seal {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let numbers = self.peppers.iter().map(|(number, _)| number);
            f.debug_list().entries(numbers).finish()
        }
    }

    /// The cipher of one identity: the database has neither the pepper nor the key.
    fn cipher(pepper: &[u8], key: &IdempotencyKey, identity: &Identity) -> Aes256Gcm {
        let mut extract = HkdfExtract::<Sha256>::new(Some(identity.as_bytes()));
        extract.input_ikm(&(pepper.len() as u64).to_be_bytes());
        extract.input_ikm(pepper);
        extract.input_ikm(key.as_str().as_bytes());
        let (_, hkdf) = extract.finalize();
        let mut bytes = [0; 32];
        hkdf.expand(INFO, &mut bytes)
            .expect("HKDF makes up to 8160 bytes");
        Aes256Gcm::new(&bytes.into())
    }

    /// The data that is authenticated besides the response.
    fn associated(number: u32, bound: Bound<'_>) -> Vec<u8> {
        let Bound {
            identity,
            state,
            status,
            fingerprint,
        } = bound;
        [
            &[FORMAT][..],
            &number.to_be_bytes(),
            identity.as_bytes(),
            &state.code().to_be_bytes(),
            &status.as_u16().to_be_bytes(),
            &fingerprint.to_bytes(),
        ]
        .concat()
    }

    #[cfg(test)]
    mod tests {
        use http::StatusCode;
        use http::header::{HeaderValue, LOCATION};
        use proptest::prelude::*;
        use proptest::sample::Index;

        use super::*;
        use crate::digest::hex;
        use crate::fingerprint::Fingerprint;
        use crate::record::{Record, State};
        use crate::response::Recorded;
        use crate::store::Row;

        const PEPPER: &[u8] = b"a pepper of thirty-two bytes ...";

        const NUMBER: u32 = 0x0102_0304;

        fn seal() -> Seal {
            Seal::try_new(NUMBER, PEPPER).unwrap()
        }

        fn key(text: &str) -> IdempotencyKey {
            IdempotencyKey::parse(text.as_bytes()).unwrap()
        }

        fn fingerprint(first: u8) -> Fingerprint {
            let bytes: Vec<u8> = (0..65).map(|byte| byte + first).collect();
            Fingerprint::from_bytes(&[&[1], &bytes[1..]].concat()).unwrap()
        }

        fn identity(last: u8) -> Identity {
            let mut bytes = [0x2a; 32];
            bytes[31] = last;
            Identity::from_bytes(bytes)
        }

        fn recorded(body: Vec<u8>) -> Recorded {
            Recorded {
                headers: vec![(LOCATION, HeaderValue::from_static("/payments/1"))],
                body: body.into(),
            }
        }

        fn sealed_with(seal: &Seal, recorded: &Recorded) -> Vec<u8> {
            let bound = Bound {
                identity: &identity(1),
                state: State::Succeeded,
                status: StatusCode::CREATED,
                fingerprint: &fingerprint(0),
            };
            let encoding = recorded.encode(&identity(1), StatusCode::CREATED);
            seal.seal(&key("8e03978e-40d5"), bound, encoding).unwrap()
        }

        /// A row as it is found, and the request for it.
        #[derive(Clone)]
        struct Case {
            key: IdempotencyKey,
            identity: Identity,
            row: Row,
        }

        impl Case {
            fn new(response: Vec<u8>) -> Self {
                Self {
                    key: key("8e03978e-40d5"),
                    identity: identity(1),
                    row: Row {
                        state: 1,
                        attempts: 1,
                        status: 201,
                        fingerprint: fingerprint(0).to_bytes().to_vec(),
                        response: Some(response),
                        settled_at: 0,
                        expires_at: 1,
                    },
                }
            }

            fn opened(&self, seal: &Seal) -> Result<Record, Unreadable> {
                let mut record = self.row.clone().decode(&self.identity)?;
                record.open(&self.identity, &self.key, Some(seal))?;
                Ok(record)
            }
        }

        /// The expected form was made by Python's `cryptography`.
        #[test]
        fn r12_the_sealed_form_is_the_documented_one() {
            let (identity, fingerprint) = (identity(1), fingerprint(0));
            let bound = Bound {
                identity: &identity,
                state: State::FailedFinal,
                status: StatusCode::UNPROCESSABLE_ENTITY,
                fingerprint: &fingerprint,
            };
            let key = key("8e03978e-40d5");
            let sealed = seal().seal_with(*b"twelve bytes", &key, bound, b"response".to_vec());
            assert_eq!(hex(&sealed.unwrap()), SEALED);
        }

        const SEALED: &str =
            "02010203047477656c7665206279746573c10d15db30838277f20b273a0f3867033881affae8d975b2";

        #[test]
        fn r12_a_record_opens_for_its_own_key_and_columns_only() {
            let case = Case::new(sealed_with(&seal(), &recorded(b"secret".to_vec())));
            let record = case.opened(&seal()).unwrap();
            assert_eq!(
                record.response.readable(),
                Some(&recorded(b"secret".to_vec()))
            );
            let changes: [fn(&mut Case); 5] = [
                |case| case.key = key("8e03978e-40d6"),
                |case| case.identity = identity(2),
                |case| case.row.state = 2,
                |case| case.row.status = 200,
                |case| case.row.fingerprint = fingerprint(1).to_bytes().to_vec(),
            ];
            for change in changes {
                let mut other = case.clone();
                change(&mut other);
                let refused = Unreadable("sealed response can't be opened");
                assert_eq!(other.opened(&seal()), Err(refused));
            }
            let mut record = case.row.decode(&case.identity).unwrap();
            assert!(record.open(&case.identity, &case.key, None).is_err());
            assert_eq!(record.response.readable(), None);
        }

        #[test]
        fn r12_each_record_has_a_nonce_of_its_own() {
            let recorded = recorded(b"secret".to_vec());
            let (one, other) = (
                sealed_with(&seal(), &recorded),
                sealed_with(&seal(), &recorded),
            );
            assert_ne!(one[5..HEAD], other[5..HEAD]);
            assert_ne!(one[HEAD..], other[HEAD..]);
        }

        #[test]
        fn r12_peppers_rotate() {
            let recorded = recorded(b"secret".to_vec());
            let old = Case::new(sealed_with(&seal(), &recorded));
            let next = || Seal::try_new(2, b"another pepper with many bytes").unwrap();
            let unknown = Unreadable("response is sealed with an unknown pepper");
            assert_eq!(old.opened(&next()), Err(unknown));
            let both = next().try_with_previous(NUMBER, PEPPER).unwrap();
            assert!(old.opened(&both).is_ok());
            let new = Case::new(sealed_with(&both, &recorded));
            assert!(new.opened(&next()).is_ok());
            assert_eq!(new.opened(&seal()), Err(unknown));

            let only_opening = both.only_opening();
            assert!(old.opened(&only_opening).is_ok());
            let plain = sealed_with(&only_opening, &recorded);
            assert_eq!(plain, recorded.encode(&identity(1), StatusCode::CREATED));
            // What was recorded before is still read.
            assert!(Case::new(plain).opened(&next()).is_ok());
        }

        #[test]
        fn r12_a_pepper_that_protects_little_is_refused() {
            let short = Seal::try_new(1, b"fifteen bytes..").unwrap_err();
            assert_eq!(short, ConfigError::ShortPepper(1));
            let same = seal().try_with_previous(NUMBER, PEPPER).unwrap_err();
            assert_eq!(same, ConfigError::SamePepper(NUMBER));
            assert_eq!(format!("{:?}", seal()), format!("[{NUMBER}]"));
        }

        proptest! {
            #[test]
            fn r12_every_response_opens_and_no_changed_byte_does(
                body in proptest::collection::vec(any::<u8>(), 0..100),
                at in any::<Index>(),
                flip in 1_u8..,
                keep in any::<Index>(),
            ) {
                let recorded = recorded(body);
                let sealed = sealed_with(&seal(), &recorded);
                let plain = recorded.encode(&identity(1), StatusCode::CREATED);
                prop_assert_eq!(sealed.len(), plain.len() + 33);
                let opened = Case::new(sealed.clone()).opened(&seal()).unwrap();
                prop_assert_eq!(opened.response.readable(), Some(&recorded));

                let cut = sealed[..keep.index(sealed.len())].to_vec();
                prop_assert!(Case::new(cut).opened(&seal()).is_err());
                let mut changed = sealed;
                *at.get_mut(&mut changed) ^= flip;
                prop_assert!(Case::new(changed).opened(&seal()).is_err());
            }
        }
    }
}
