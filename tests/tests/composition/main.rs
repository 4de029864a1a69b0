//! What stands around a handler, and in it, and leaves both the attribute and the handler working.
//!
//! Every handler here is on a router. Where more than compiling is promised, a test sends requests.
#![deny(warnings)]
// What is generated has to stand up to these as well.
#![warn(unused_lifetimes, unused_qualifications)]

mod actix;
mod adopting;
mod arguments;
mod attributes;
mod before_handler;
mod bodies;
mod engines;
mod layers;
mod mistakes;
mod multipart;
mod names;
mod options;
mod rejections;
mod releases;
mod scopes;
mod service;
mod task;
