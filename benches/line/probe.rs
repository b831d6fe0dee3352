//! What the machine itself can do, measured in the same run.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::floor::door::Door;

/// Milliseconds of one write and fsync: median and p99.
pub(crate) fn fsync(folder: &Path) -> [f64; 2] {
    let path = folder.join("fsync");
    let mut file = fs::File::create(&path).unwrap();
    let page = [7u8; 4096];
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            // Some room to write in again and again, as a log that is begun anew.
            file.seek(std::io::SeekFrom::Start(4096 * (round % 256))).unwrap();
            let started = Instant::now();
            file.write_all(&page).unwrap();
            file.sync_data().unwrap();
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    fs::remove_file(path).unwrap();
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

/// Microseconds of one RSA-2048 verification of a text as long as a callback.
pub(crate) fn rsa_us(keys: &Path) -> f64 {
    let pem = fs::read_to_string(keys.join("wechat-v3-public.key.pem")).unwrap();
    let solid: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(solid).unwrap()).unwrap();
    let text = vec![b'x'; 1200];
    let mut signature = vec![0; pair.public_key().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &text, &mut signature).unwrap();
    let door = Door::open(keys);
    let started = Instant::now();
    for _ in 0..ROUNDS * 10 {
        assert!(door.signed(&[&text], &signature));
    }
    started.elapsed().as_secs_f64() * 1e6 / (ROUNDS * 10) as f64
}

const ROUNDS: u64 = 1000;
