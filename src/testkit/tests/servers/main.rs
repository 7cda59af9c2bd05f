//! Whole servers in one process, one subject in each module: federations of them, their rooms, their clients.
//!
//! One program for all, since each program of tests is compiled and linked with the whole of the server. `cargo test -p
//! testkit --test servers keys::` runs one module.

mod class_files;
mod classes;
mod dehydrated;
mod erasure;
mod federation;
mod forks;
mod guests;
mod history;
mod hostile;
mod keys;
mod media;
mod outsiders;
mod posts;
mod presence;
mod push_gateway;
mod push_mails;
mod replicas;
mod rules;
mod sliding;
mod staff;
mod to_device;
mod vouching;
