//! Whence a callback comes: networks of a channel, and proxies that are believed.

use std::io::{Read, Write};
use std::net::TcpStream;

use callgate_trigger::message::Message;

use super::client::{http1_bytes, notice, parse, place, success};
use crate::house::House;
use crate::reload::logged;
use crate::start::{refused, says};

/// Posts with further header lines.
fn post(house: &House, message: &Message, more: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(place(&house.public)).expect("a connection");
    let bytes = http1_bytes(message, &format!("connection: close\r\n{more}"));
    stream.write_all(&bytes).expect("bytes are sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse(&String::from_utf8_lossy(&answer))
}

fn foreign() -> (u16, String) {
    (403, String::new())
}

async fn counted(house: &House) -> u64 {
    house
        .metric(
            "callgate_callbacks_total{channel=\"alipay-main\",outcome=\"refused\",\
             code=\"inbound.network\"}",
        )
        .await
}

#[tokio::test]
async fn only_the_networks_of_a_channel_may_call_it() {
    for (listen, networks, expected) in [
        ("127.0.0.1:0", "[\"127.0.0.0/8\"]", success()),
        ("127.0.0.1:0", "[\"192.0.2.0/24\", \"127.0.0.1\"]", success()),
        ("127.0.0.1:0", "[\"192.0.2.0/24\", \"::/0\"]", foreign()),
        ("[::1]:0", "[\"::1\", \"192.0.2.0/24\"]", success()),
        ("[::1]:0", "[\"0.0.0.0/0\", \"2001:db8::/32\"]", foreign()),
    ] {
        let listen = format!("public.listen={listen}");
        let flag = format!("channels.alipay-main.networks={networks}");
        let Some(house) = House::start_set(&[&listen, &flag]) else { return };
        assert_eq!(post(&house, &notice(), ""), expected, "{networks}");
        assert_eq!(counted(&house).await, u64::from(expected == foreign()));
        let line = "not from a network of its channel";
        if expected == foreign() {
            logged(&house, line).await;
        } else {
            assert!(!house.log().contains(line), "{networks}");
        }
    }
}

#[tokio::test]
async fn a_stranger_is_turned_away_before_its_body_is_read() {
    let flag = "channels.alipay-main.networks=[\"192.0.2.0/24\"]";
    let Some(house) = House::start_set(&[flag]) else { return };
    let mut stream = TcpStream::connect(place(&house.public)).expect("a connection");
    let head = "POST /callback/alipay-main HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("a head is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, though no body was sent");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // Its other channels are open to everybody.
    let other = super::client::notice_of(callgate_trigger::channel::Channel::WechatV2Main);
    assert_eq!(post(&house, &other, "").0, 200);
}

#[tokio::test]
async fn who_is_no_trusted_proxy_cannot_speak_for_others() {
    let networks = "channels.alipay-main.networks=[\"192.0.2.0/24\", \"2001:db8::/32\"]";
    let lies = [
        "x-forwarded-for: 192.0.2.7\r\n",
        "x-forwarded-for: 2001:db8::7\r\n",
        "forwarded: for=192.0.2.7\r\n",
        "x-real-ip: 192.0.2.7\r\n",
        "cf-connecting-ip: 192.0.2.7\r\n",
    ];
    for trusted in ["[]", "[\"10.0.0.0/8\", \"::1\"]"] {
        let trusted = format!("public.trusted_proxies={trusted}");
        let Some(house) = House::start_set(&[networks, &trusted]) else { return };
        for lie in lies {
            assert_eq!(post(&house, &notice(), lie), foreign(), "{lie}");
        }
        assert_eq!(counted(&house).await, 5);
        logged(&house, "client=127.0.0.1").await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_for_whom_it_asks() {
    let networks = "channels.alipay-main.networks=[\"192.0.2.0/24\", \"2001:db8::/32\"]";
    let trusted = "public.trusted_proxies=[\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    let Some(house) = House::start_set(&[networks, trusted]) else { return };
    for (line, expected) in [
        ("x-forwarded-for: 192.0.2.7", success()),
        ("x-forwarded-for: 2001:db8::7", success()),
        ("x-forwarded-for: 192.0.2.7, 10.1.1.1", success()),
        // Written by the client, left of what the proxy adds.
        ("x-forwarded-for: 192.0.2.7, 203.0.113.9", foreign()),
        ("x-forwarded-for: 192.0.2.7\r\nx-forwarded-for: 203.0.113.9", foreign()),
        ("x-forwarded-for: 203.0.113.9", foreign()),
        ("x-forwarded-for: 2001:db9::7", foreign()),
        ("x-forwarded-for: rubbish", foreign()),
        // Not what this proxy writes.
        ("forwarded: for=192.0.2.7", foreign()),
        ("accept: */*", foreign()),
    ] {
        assert_eq!(post(&house, &notice(), &format!("{line}\r\n")), expected, "{line}");
    }
    logged(&house, "client=203.0.113.9").await;
    let by = "public.forwarded_by=forwarded";
    let Some(house) = House::start_set(&[networks, trusted, by]) else { return };
    for (line, expected) in [
        ("forwarded: for=192.0.2.7;proto=https", success()),
        ("forwarded: for=\"[2001:db8::7]:4711\"", success()),
        ("forwarded: for=192.0.2.7, for=203.0.113.9", foreign()),
        ("x-forwarded-for: 192.0.2.7", foreign()),
    ] {
        assert_eq!(post(&house, &notice(), &format!("{line}\r\n")), expected, "{line}");
    }
}

#[test]
fn a_network_that_is_none_stops_the_start() {
    for (flag, words) in [
        ("channels.alipay-main.networks=[\"10.0.0.1/8\"]", ["alipay-main.networks", "10.0.0.0/8"]),
        ("channels.alipay-main.networks=[\"example.com\"]", ["networks", "example.com"]),
        ("public.trusted_proxies=[\"10.0.0.0/33\"]", ["public.trusted_proxies", "10.0.0.0/33"]),
        ("public.forwarded_by=x-real-ip", ["public.forwarded_by", "x-forwarded-for"]),
        ("private.trusted_proxies=[\"10.0.0.0/8\"]", ["private.trusted_proxies", "public"]),
        ("public.http2.streams_max=0", ["public.http2.streams_max", "1 to"]),
    ] {
        says(&refused("", &[flag]), &words);
    }
}
