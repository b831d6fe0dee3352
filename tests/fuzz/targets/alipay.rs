//! Alipay: the body of a callback.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    callgate_fuzz::alipay(input);
});
