//! Building blocks that gateways share. No gateway's name stands in here.

pub mod rsa;

pub mod chain;

pub mod aead;

pub mod xml;

pub mod form;

pub mod sorted_fields;

pub mod ecb;

pub mod hex;
