//! Packages from outside: what is let in, what is refused, and in which words.

mod any;
mod configuration;
mod file;
mod keys;
mod package;
mod reading;
mod verdict;
