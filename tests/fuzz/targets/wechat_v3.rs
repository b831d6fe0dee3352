//! WeChat Pay v3: a whole callback, headers and body.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    callgate_fuzz::wechat_v3(input);
});
