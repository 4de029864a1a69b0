//! Notices that an engine has replaced another one of its type.
//!
//! An application's data has one value of a type, so a second engine replaces the first one in
//! silence, and writes go to the wrong database. The services of an application accumulate. So each
//! engine comes with a service without a route, which is registered when the application is built.
//! It finds out then whether its engine was replaced.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::{Rc, Weak};

use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::web::Data;
use idem_core::Provider;
use idem_core::adapter;

/// It is in the application's data with a provider, and is replaced together with it.
pub(crate) struct Installed<P> {
    provider: Data<P>,
    has_replaced: Rc<Cell<bool>>,
}

impl<P: Provider> Installed<P> {
    pub(crate) fn new(provider: Data<P>) -> (Self, Registration<P>) {
        let has_replaced = Rc::default();
        let registration = Registration {
            provider: Data::clone(&provider),
            installed: Rc::downgrade(&has_replaced),
        };
        let installed = Self {
            provider,
            has_replaced,
        };
        (installed, registration)
    }

    /// Whether `provider`, which a request has found, has replaced the provider of another engine.
    /// It can also come from a scope within, as plain data.
    pub(crate) fn is_doubtful(&self, provider: &Data<P>) -> bool {
        self.has_replaced.get() && ptr::eq(provider.get_ref(), self.provider.get_ref())
    }
}

/// The service that comes with an engine. It is registered by the application or the scope that the
/// engine was given to.
pub(crate) struct Registration<P> {
    provider: Data<P>,
    installed: Weak<Cell<bool>>,
}

impl<P: Provider> HttpServiceFactory for Registration<P> {
    fn register(self, config: &mut AppService) {
        let place = Place {
            application: config.default_service(),
            config: ptr::from_mut(config).addr(),
            provider: TypeId::of::<P>(),
        };
        let engine = adapter::address(self.provider.engine());
        REPLACED.with_borrow_mut(|replaced| match self.installed.upgrade() {
            None => replaced.push((place, engine)),
            Some(has_replaced) => {
                let here = replaced.extract_if(.., |(other, _)| *other == place);
                let others = here.filter(|(_, other)| *other != engine).count();
                has_replaced.set(others > 0);
            }
        });
    }
}

/// The application or scope that registers its services.
struct Place {
    /// The default service is the application's own, and holding it keeps it apart from later ones.
    application: Rc<dyn Any>,
    /// A scope registers its services while the application or scope around it does, so the
    /// addresses of their configurations differ.
    config: usize,
    provider: TypeId,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.application, &other.application)
            && (self.config, self.provider) == (other.config, other.provider)
    }
}

thread_local! {
    /// The engines that were replaced, each until its successor in the same place is registered.
    static REPLACED: RefCell<Vec<(Place, usize)>> = const { RefCell::new(Vec::new()) };
}
