//! RSA public keys: read and validated by `rsa`, verified with by `aws-lc-rs`.
